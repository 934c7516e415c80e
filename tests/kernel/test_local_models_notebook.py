"""``notebooks/local_models.ipynb``: one question through every engine, run by papermill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from aiki_kernel.errors import ModelError
from aiki_kernel.models import llama_cpp
from aiki_kernel.models.weights import for_tests

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks/local_models.ipynb"


def peer() -> str:
    """The program of the third engine; without it that step of the notebook is left out."""
    try:
        return str(llama_cpp.fetch() / "llama-server")
    except ModelError:
        return ""


def test_what_is_saved_in_it_shows_what_mojo_buys() -> None:
    book = nbformat.read(NOTEBOOK, as_version=4)
    shown = "".join(
        output.data.get("text/plain", "")
        for cell in book.cells
        for output in cell.get("outputs", [])
        if output.output_type == "display_data"
    )
    assert 0 < shown.find("numpy Q4_1") < shown.find("mojo Q4_1")
    table = book.cells[-1].outputs[-1].data["text/markdown"]
    rows = [[part.strip(" *") for part in row.split("|")[1:-1]] for row in table.splitlines()[2:]]
    assert [row[0] for row in rows[:2]] == ["NumPy", "Mojo"]
    slow, fast = (float(row[2]) for row in rows[:2])
    assert fast > slow


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_papermill_runs_it_and_the_engines_agree(aiki_home: Path, tmp_path: Path) -> None:
    models = aiki_home / "models"
    models.mkdir()
    weights = for_tests()
    for file in weights.parent.glob(f"{weights.name}*"):
        shutil.copyfile(file, models / file.name)
    shutil.copytree(ROOT / "kernelspec", tmp_path / "share/kernels/aiki")
    environment = {**os.environ, "JUPYTER_PATH": str(tmp_path / "share")}
    out, program = tmp_path / "out.ipynb", peer()
    words = [sys.executable, "-m", "papermill", str(NOTEBOOK), str(out), "-p", "peer", program]
    try:
        done = subprocess.run(
            words,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=450,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    finally:
        subprocess.run(
            [sys.executable, "-m", "aiki_kernel.cli", "daemon", "stop"],
            env=environment,
            capture_output=True,
            check=False,
        )
    book = nbformat.read(out, as_version=4)
    told = [answer.metadata["aiki"] for answer in answers(book)]
    assert told[0]["engine"] == "numpy"
    assert told[1]["engine"] in ("mojo", "numpy")
    for one in told:
        assert one["quantisation"] == "Q4_1"
        assert one["tokens_per_second"] > 0
        assert one["latency_s"]["first_token"] > 0
        assert one["hit_ids"] == []
    # Greedy, from one prompt: the words may differ only where two tokens were as good.
    first, second = (answer.data["text/plain"] for answer in answers(book))
    assert first[:20] == second[:20]
    table = book.cells[-1].outputs[-1].data["text/markdown"]
    assert len(table.splitlines()) == (5 if program else 4)
    assert ("llama.cpp" in table) == bool(program)


def answers(book: Any) -> list[Any]:
    return [
        output
        for cell in book.cells
        for output in cell.get("outputs", [])
        if "aiki" in output.get("metadata", {})
    ]
