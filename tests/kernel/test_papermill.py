"""papermill over notebooks of prose: parameters, help, logs, a second run, exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from fault_server import TEXT, FaultServer
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.slow


def notebook_file(folder: Path, *cells: str, tag_first: bool = True) -> Path:
    """A notebook whose first cell declares parameters."""
    made = [new_code_cell(source) for source in cells]
    if tag_first:
        made[0].metadata["tags"] = ["parameters"]
    kernelspec = {"name": "aiki", "display_name": "AIKI", "language": "aiki"}
    book = new_notebook(cells=made, metadata={"kernelspec": kernelspec})
    path = folder / "in.ipynb"
    nbformat.write(book, path)
    return path


def papermill(*words: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papermill", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def answers(path: Path) -> list[dict[str, Any]]:
    """Every display of a notebook that carries Markdown."""
    book = nbformat.read(path, as_version=4)
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    return [o for o in outputs if "text/markdown" in o.get("data", {})]


DECLARED = "%%python\ntopic = 'dogs'  # what to write about\nlines: int = 3"


def test_parameters_help_log_and_a_second_run(
    tmp_path: Path, in_environment: dict[str, str], server: FaultServer
) -> None:
    first = notebook_file(
        tmp_path, DECLARED, "papermill_description=Asking\nWrite {lines} lines on {topic}?"
    )
    out, again = tmp_path / "out.ipynb", tmp_path / "again.ipynb"

    ran = papermill(first, out, "-p", "topic", "cats", "--log-output")
    assert ran.returncode == 0, ran.stderr
    assert TEXT in ran.stderr + ran.stdout
    (answer,) = answers(out)
    assert answer["data"]["text/plain"] == TEXT
    assert answer["metadata"]["aiki"]["model"] == "ok"
    said = server.requests[-1].body["messages"][-1]["content"]
    assert said.endswith("Write 3 lines on cats?")
    assert "papermill_description" not in said

    ran = papermill(out, again, "-p", "topic", "birds", "-p", "lines", "4")
    assert ran.returncode == 0, ran.stderr
    said = server.requests[-1].body["messages"][-1]["content"]
    assert said.endswith("Write 4 lines on birds?")
    assert "Asking" in ran.stderr  # the progress bar, which a log takes the place of

    shown = papermill("--help-notebook", first)
    assert shown.returncode == 0, shown.stderr
    assert "topic" in shown.stdout
    assert "what to write about" in shown.stdout
    assert "lines: int" in shown.stdout


def test_language_python_and_engine(
    tmp_path: Path, in_environment: dict[str, str], server: FaultServer
) -> None:
    first = notebook_file(tmp_path, "%%python\ntopic = 'dogs'", "Write on {topic}.")
    out = tmp_path / "out.ipynb"
    ran = papermill(first, out, "-p", "topic", "mice", "--language", "python", "--engine", "aiki")
    assert ran.returncode == 0, ran.stderr
    said = server.requests[-1].body["messages"][-1]["content"]
    assert said.endswith("Write on mice.")


def test_an_error_fails_the_run(tmp_path: Path, in_environment: dict[str, str]) -> None:
    first = notebook_file(tmp_path, "%%aiki --model test/401\nhello", "never", tag_first=False)
    out = tmp_path / "out.ipynb"
    ran = papermill(first, out)
    assert ran.returncode != 0
    assert "refused the key" in ran.stderr
    book = json.loads(out.read_text())
    kinds = [output["output_type"] for cell in book["cells"] for output in cell.get("outputs", [])]
    assert "error" in kinds


def test_injected_python_comment_alone_is_python() -> None:
    from papermill.translators import papermill_translators

    found = papermill_translators.find_translator("aiki", "whatever")
    assert found.codify({"a": 1}).startswith("%%python\n")
    assert found.codify({"a": 1}).endswith("a = 1\n")
