"""What a cell is, as a table; and the line of Python that a message becomes."""

from __future__ import annotations

import pytest

from aiki_kernel.kernel.cells import classify, message_text, transform

TABLE = [
    ("tell me a story", "message"),
    ("what's up?", "message"),
    ("zip?", "message"),
    ("Hva er dette?", "message"),
    ("  indented prose", "message"),
    (">>> print(1)", "message"),
    ("x = 1", "message"),
    ("% of people like it", "message"),
    ("? why", "message"),
    ("?what is this", "message"),
    ("# A heading\nand text", "message"),
    ("# Parameters\nof the model, please explain them", "message"),
    ("# Parameters\nx = 1\n", "python"),
    ("%%python\nx = 1", "python"),
    ("\n%%python  \nx = 1", "python"),
    ("%%python3\nx = 1", "ipython"),
    ("%aiki_model local", "ipython"),
    ("%time sum(range(3))", "ipython"),
    ("%aiki_model local\n%aiki_cost", "ipython"),
    ("%aiki_model local\nx = 1", "ipython"),
    ("%aiki_model local\nTell me a story", "message"),
    ("%%time\nsum(range(3))", "ipython"),
    ("%%time\nTell me a story", "message"),
    ("%%time\n%%python\nx = 1", "ipython"),
    ("%%bash\nls", "ipython"),
    ("%%html\n<b>hi there</b>", "ipython"),
    ("!ls", "ipython"),
    ("?zip", "ipython"),
    ("??zip", "ipython"),
    ("%%aiki\nhello", "message"),
    ("%%aiki --model local\nhello", "message"),
    ("# keep\nhello", "message"),
    ("# keep\n%%aiki --seed 3\nhello", "message"),
    ("# keep\n%aiki_model local\nTell me a story", "message"),
    ("# keep\n%%python\nx = 1", "python"),
    ("# keep\n%%bash\nls", "ipython"),
    ("# keep", "empty"),
    ("", "empty"),
    (" \n\n", "empty"),
    ("papermill_description=ask", "empty"),
]


@pytest.mark.parametrize(("source", "kind"), TABLE)
def test_kind(source: str, kind: str) -> None:
    assert classify(source).kind == kind


def run(source: str) -> str:
    return "".join(transform(source.splitlines(keepends=True)))


def test_a_message_becomes_one_call_with_its_text_as_it_is() -> None:
    text = "  In [3]: keep 'this'\n\tand \"that\" \\n?"
    assert run(text) == f"await get_ipython().kernel.chat({text!r})\n"


def test_python_loses_its_first_line_only() -> None:
    assert run("%%python\nif x:\n    y\n") == "if x:\n    y\n"
    assert run("%%python") == "\n"


def test_options_and_magics_go_with_the_message() -> None:
    assert run("%%aiki --model m\nhello") == (
        "await get_ipython().kernel.chat('hello', options='--model m')\n"
    )
    assert run("%aiki_model m\nhello there") == (
        "%aiki_model m\nawait get_ipython().kernel.chat('hello there')\n"
    )


def test_keep_is_an_option_and_never_sent() -> None:
    chat = "await get_ipython().kernel.chat"
    for line in ("# keep", "#Keep "):
        assert run(f"{line}\nhello") == f"{chat}('hello', options='--keep')\n"
    assert run("# keep\n%%aiki --seed 3\nhello") == f"{chat}('hello', options='--keep --seed 3')\n"
    assert run("# keep\n%aiki_model m\nhello there") == (
        f"%aiki_model m\n{chat}('hello there', options='--keep')\n"
    )
    assert run("# keep\n%%python\nx = 1\n") == "x = 1\n"
    assert "take the line out" in classify("# keep\n%%bash\nls").problem


def test_what_cannot_be_is_refused_in_one_line() -> None:
    assert "takes no words" in classify("%%python -c\nx").problem
    assert "measures Python" in classify("%%timeit\nTell me a story").problem
    assert run("%%python -c\nx").startswith("get_ipython().kernel.refuse(")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("papermill_description=ask\nHello", "Hello"),
        ("# papermill_description=ask\nHello\n", "Hello"),
        ("Hello\npapermill_description=ask", "Hello"),
        ("Hello papermill_description=ask", "Hello"),
        ("\n\n  code\n", "  code"),
    ],
)
def test_the_progress_mark_of_papermill_is_not_sent(source: str, text: str) -> None:
    assert message_text(source) == text
