"""``notebooks/memory.ipynb``: remembered, curated, asked and forgotten; run by papermill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "memory.ipynb"


def shown_by(notebook: Path) -> list[str]:
    """What each code cell shows, as HTML or plain text."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return [
        "".join(
            "".join(one.get("data", {}).get("text/html", one.get("text", "")))
            for one in cell["outputs"]
        )
        for cell in cells
        if cell["cell_type"] == "code"
    ]


def checked(shown: list[str]) -> None:
    """Every step says what the text around it says."""
    whole = "".join(shown)
    status = next(text for text in shown if "turned away" in text)
    for reason in ("greeting", "stock phrase", "said before", "recalled text restated"):
        assert reason in status
    assert "I live in Bergen.  [home=bergen, until 2026-06-01]" in whole
    assert "said 2 times" in whole
    where = next(text for text in shown if "score" in text)
    assert "Oslo" in where
    assert "Bergen" not in where
    asked = next(text for text in shown if "2026-05-01 to 2026-05-31" in text)
    assert "paint the boat" in asked
    assert "say --yes to do it" in whole
    assert "DELETE" in whole
    assert "Brought this memory back" in whole


def test_the_saved_outputs_are_of_this_notebook_and_of_no_machine() -> None:
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))
    checked(shown_by(NOTEBOOK))
    text = NOTEBOOK.read_text("utf-8")
    assert not [word for word in ("/root", "/home/", "/tmp/", '"error"') if word in text]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_papermill_runs_it_offline(tmp_path: Path, aiki_home: Path) -> None:
    out = tmp_path / "out.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "--no-progress-bar", str(NOTEBOOK), str(out)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    checked(shown_by(out))
