"""``notebooks/personas.ipynb``: run by papermill as a user runs it, without a key or a model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "personas.ipynb"


def shown_by(notebook: Path) -> str:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(one.get("text/html", "")) for one in data)


def recalled(shown: str, persona: str) -> str:
    """The row of the table that says what ``persona`` recalls."""
    found = re.search(rf"<tr><td>{persona}</td><td [^>]*>(.*?)</td></tr>", shown)
    assert found
    return found[1]


def check(shown: str) -> None:
    assert "Trisha fra regnskap" in shown
    assert "did you mean @trisha?" in shown
    assert "lei seg" in recalled(shown, "interpreter")
    assert "lei seg" not in recalled(shown, "trisha") + recalled(shown, "analyst")
    assert "12 400" in recalled(shown, "trisha")
    assert "12 400" not in recalled(shown, "interpreter")
    assert "There is no usable persona &#x27;stranger&#x27;" in shown
    assert "trisha may not change what is shared" in shown


def test_what_is_saved_in_it_holds() -> None:
    check(shown_by(NOTEBOOK))


@pytest.mark.slow
def test_papermill_runs_it_with_a_persona_of_your_own(aiki_home: Path, tmp_path: Path) -> None:
    (aiki_home / "personas").mkdir()
    (aiki_home / "personas" / "kari.toml").write_text(
        'name = "kari"\ntitle = "Kari"\nsystem = "You are Kari."\n[memory]\nread = ["trisha"]\n',
        "utf-8",
    )
    out = tmp_path / "out.ipynb"
    words = [sys.executable, "-m", "papermill", "--no-progress-bar", str(NOTEBOOK), str(out)]
    done = subprocess.run(
        [*words, "-p", "home", str(aiki_home)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shown = shown_by(out)
    check(shown)
    assert recalled(shown, "kari").startswith("trisha: Vi skylder")
    assert not (aiki_home / "memory").exists(), "your own memories are not touched"
