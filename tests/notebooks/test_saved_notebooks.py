"""What is saved in every notebook of ours: whole, small, about no machine, and readable on GitHub.

GitHub shows no script and no styles, and takes classes away. What is left of an output must
still say something: words or figures, Markdown, or a picture.
"""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = (
    "benchmark",
    "health",
    "local_models",
    "memory",
    "personas",
    "routing",
    "welcome",
)
SILENT = {
    "parameters",
    "health-01",
    "health-02",
    "local-models-01",
    "local-models-02",
    "memory-01",
    "memory-02",
    "personas-01",
    "routing-01",
    "routing-02",
    "welcome-1",
}
"""Cells that assign, import and define, and so show nothing when they are run."""
SIZE = 150_000
MACHINE = re.compile(
    r"(?<![\w.~])/(?:root|home|tmp|work|opt|usr|var|Users|mnt)/|[A-Z]:\\|localhost:"
)


@pytest.fixture(params=NAMES)
def book(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(FOLDER / f"{request.param}.ipynb", as_version=4)


def _code(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def _outputs(book: Any) -> list[Any]:
    return [output for cell in _code(book) for output in cell.outputs]


def left_of(html: str) -> str:
    """Words, figures and pictures of ``html`` where no style, class or script comes through."""
    html = re.sub(r"(?s)<(style|script)\b.*?</\1>|<!--.*?-->", "", html)
    pictures = re.findall(r"<img\b[^>]*\bsrc=\"data:image/[^>]*>", html)
    said = re.findall(r"alt=\"([^\"]+)\"", " ".join(pictures))
    return unescape(" ".join([*said, re.sub(r"<[^>]+>", " ", html)])).strip()


def test_these_are_all() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)


def test_it_is_whole_and_was_run_once_from_the_top(book: Any) -> None:
    nbformat.validate(book)
    counts = [cell.execution_count for cell in _code(book)]
    assert counts == list(range(1, len(counts) + 1))
    for cell in _code(book):
        assert bool(cell.outputs) != (cell.id in SILENT), cell.source
    tagged = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    assert [cell.cell_type for cell in tagged] == ["code"]
    assert book.cells[0].cell_type == "markdown"
    assert book.cells[0].source.startswith("# ")


def test_no_output_is_an_error_or_a_warning(book: Any) -> None:
    for output in _outputs(book):
        assert output.output_type in ("display_data", "execute_result", "stream")
        assert output.get("name", "stdout") == "stdout"
        text = json.dumps(output)
        assert "Traceback (most recent call last)" not in text
        assert not re.search(r"\w+Warning:", text)


def test_it_is_an_example_and_nobodys_conversation(book: Any) -> None:
    """With these, the first answer of a newcomer told of a session that is not known here."""
    assert not [
        output
        for cell in book.cells
        for output in cell.get("outputs", [])
        if "aiki" in output.get("metadata", {})
    ]


def test_it_is_about_no_machine_and_small(book: Any, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["book"]
    text = (FOLDER / f"{name}.ipynb").read_text("utf-8")
    assert len(text.encode()) < SIZE
    assert MACHINE.findall(re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)) == []
    assert set(book.metadata) == {"kernelspec", "language_info"}
    for cell in book.cells:
        assert set(cell.metadata) <= {"tags", "aiki"}, cell.metadata
    assert set(book.metadata.kernelspec) == {"display_name", "language", "name"}


def test_what_github_shows_says_something(book: Any) -> None:
    for cell in _code(book):
        for output in cell.outputs:
            if output.output_type == "stream":
                assert output.text.strip()
                continue
            data = output.data
            others = [kind for kind in data if kind.startswith("image/") or kind == "text/markdown"]
            if others:
                assert all(str(data[kind]).strip() for kind in others)
            elif "text/html" in data:
                assert re.search(r"\w{2}", left_of(data["text/html"])), (cell.source, data)
            else:
                assert re.search(r"\w{2}", data["text/plain"]), (cell.source, data)
            assert not any("widget-view" in kind for kind in data), cell.source
