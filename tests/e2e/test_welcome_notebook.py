"""The welcome notebook: as a file, and run by papermill with the model on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from aiki_kernel.models.weights import for_tests

ROOT = Path(__file__).resolve().parents[2]
WELCOME = ROOT / "notebooks/welcome.ipynb"
CARD = "local/smollm2-135m"


def test_it_names_kernel_and_language_and_has_one_cell_of_parameters() -> None:
    book = nbformat.read(WELCOME, as_version=4)
    nbformat.validate(book)
    assert book.metadata.kernelspec.name == "aiki"
    assert book.metadata.kernelspec.language == book.metadata.language_info.name == "aiki"
    tagged = [c for c in book.cells if "parameters" in c.metadata.get("tags", [])]
    assert [c.source.split("\n")[0] for c in tagged] == ["%%python"]


def test_what_is_saved_in_it_is_about_no_machine() -> None:
    text = WELCOME.read_text("utf-8")
    for word in ("/root", "/home/", "/tmp/", "papermill", '"error"'):
        assert word not in text.replace("papermill -p", "")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_papermill_runs_it_twice_with_another_name(aiki_home: Path, tmp_path: Path) -> None:
    models = aiki_home / "models"
    models.mkdir()
    weights = for_tests()
    for file in weights.parent.glob(f"{weights.name}*"):
        shutil.copyfile(file, models / file.name)
    shutil.copytree(ROOT / "kernelspec", tmp_path / "share/kernels/aiki")
    environment = {**os.environ, "JUPYTER_PATH": str(tmp_path / "share")}
    first, second = tmp_path / "first.ipynb", tmp_path / "second.ipynb"
    try:
        for source, target, name in ((WELCOME, first, "Kari"), (first, second, "Åse")):
            done = subprocess.run(
                [sys.executable, "-m", "papermill", source, target, "-p", "name", name],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-2000:]
            _check(nbformat.read(target, as_version=4), name)
    finally:
        subprocess.run(
            [sys.executable, "-m", "aiki_kernel.cli", "daemon", "stop"],
            env=environment,
            capture_output=True,
            check=False,
        )


def _check(book: Any, name: str) -> None:
    answers = [
        o for c in book.cells for o in c.get("outputs", []) if "aiki" in o.get("metadata", {})
    ]
    assert len(answers) == 3
    # A new conversation begins before the last question: what it knows, it recalled.
    assert any(f"I am {name}." in hit["text"] for hit in answers[-1].metadata["aiki"]["hits"])
    for answer in answers:
        assert answer.data["text/plain"].strip()
        told = answer.metadata["aiki"]
        assert told["finish_reason"] in ("stop", "length")
        assert told["cost"]["usd"] == 0
        assert told["remembered"]["ids"]
    # In a batch run the card is text, for the log.
    printed = [
        o.text for c in book.cells for o in c.get("outputs", []) if o.output_type == "stream"
    ]
    cards = [text for text in printed if text.startswith(CARD)]
    assert len(cards) == 3
    assert all("first token" in card and "free" in card for card in cards)
    found = next(c for c in book.cells if c.source == "%aiki_memory browse")
    assert f"I am {name}." in " ".join(found.outputs[0].data["text/plain"].split())
