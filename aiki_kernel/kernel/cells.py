"""What a cell is: a message, Python, or something for IPython. Pure text, no state.

The rule, in the order in which it is asked:

========================================  ===========================================
first line                                the cell is
========================================  ===========================================
``%%python``                              Python; the line goes
``%%aiki [options]``                      a message with options
``# keep``                                what the rest is; a message's answer is pinned
``# Parameters`` over valid Python        Python (papermill's ``--language python``)
``%%name``                                a cell magic; Python magics keep Python bodies
``%name ...`` lines, then prose           the magics, then a message
``!command``, ``?name``                   IPython's
anything else                             a message; a trailing ``?`` is prose
========================================  ===========================================

:func:`transform` turns a message into one line of Python that asks the kernel to answer.
It stands first among IPython's cleanup transforms, because the stock ones eat indentation
and prompts (``>>>``) out of prose. IPython keeps the raw cell for its history.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["message", "python", "ipython", "empty"]

_PYTHON = re.compile(r"%%python[ \t]*$")
_PYTHON_WORDS = re.compile(r"%%python[ \t]+\S")
_AIKI = re.compile(r"%%aiki(?:[ \t]+(?P<options>.*))?$")
_CELL_MAGIC = re.compile(r"%%[A-Za-z_][\w.]*")
_LINE_MAGIC = re.compile(r"%[A-Za-z_][\w.]*")
_HELP = re.compile(r"\?{1,2}[\w.%*]+[ \t]*$")
_PARAMETERS = re.compile(r"#[ \t]*Parameters[ \t]*$")
_KEEP = re.compile(r"#[ \t]*keep[ \t]*(?:\r?\n|$)", re.IGNORECASE)
_DESCRIPTION = re.compile(r"papermill_description=\S*")

# Cell magics whose body is Python and is compiled, not run as a cell.
_PYTHON_BODIES = {"time", "timeit", "prun", "capture", "debug"}


@dataclass(frozen=True)
class Cell:
    """A classified cell. ``body`` is the message or the code; ``before`` are magic lines to
    run first; ``options`` are the words of ``%%aiki``; ``problem`` refuses the cell."""

    kind: Kind
    body: str
    options: str = ""
    before: str = ""
    problem: str = ""
    header: int = 0
    """Characters of the cell that stand before ``body``; 0 when nothing was taken off."""


def classify(source: str) -> Cell:
    """Say what ``source`` is."""
    lead = len(source) - len(source.lstrip())
    text = source[lead:]
    if not text:
        return Cell("empty", "")
    first, newline, rest = text.partition("\n")
    first = first.rstrip("\r")
    header = lead + len(first) + len(newline)
    keep = _KEEP.match(text)
    if keep:
        return _kept(source, lead + keep.end())
    if _PYTHON.match(first):
        return Cell("python", rest, header=header)
    if _PYTHON_WORDS.match(first):
        return Cell(
            "python",
            rest,
            problem="%%python takes no words: the cell shares this kernel's names; "
            "use %%script python for a process of its own.",
            header=header,
        )
    aiki = _AIKI.match(first)
    if aiki:
        return _message(rest, header, options=aiki["options"] or "")
    if _PARAMETERS.match(first) and is_python(text):
        return Cell("python", source)
    magic = _CELL_MAGIC.match(first)
    if magic:
        return _cell_magic(source, magic[0][2:], rest)
    if _LINE_MAGIC.match(first):
        return _line_magics(source)
    if first[0] == "!" or _HELP.match(first):
        return Cell("ipython", source)
    made = _message(source, 0)
    return made if made.body else Cell("empty", "")


def _kept(source: str, header: int) -> Cell:
    """A cell under ``# keep``, which ends at ``header``."""
    under = classify(source[header:])
    if under.kind == "message":
        options = f"--keep {under.options}".rstrip()
        return replace(under, options=options, header=under.header + header)
    if under.kind == "python":
        return replace(under, header=under.header + header)
    if under.kind == "empty":
        return under
    return replace(
        under,
        problem="# keep keeps the answer of a message, and this cell has none: take the line out.",
    )


def _message(text: str, header: int, *, options: str = "", before: str = "") -> Cell:
    """A message whose text begins ``header`` characters into the cell; ``# keep`` is an option."""
    lead = len(text) - len(text.lstrip())
    keep = _KEEP.match(text, lead)
    if keep:
        options = f"--keep {options}".rstrip()
        header, text = header + keep.end(), text[keep.end() :]
    return Cell("message", message_text(text), options=options, before=before, header=header)


def _cell_magic(source: str, name: str, rest: str) -> Cell:
    if name not in _PYTHON_BODIES or not rest.strip() or _PYTHON.match(rest.split("\n")[0]):
        return Cell("ipython", source)
    if is_python(rest):
        return Cell("ipython", source)
    if name == "time":
        return _message(rest, source.index("\n") + 1)
    return Cell(
        "ipython",
        source,
        problem=f"%%{name} measures Python, not a message: leave the line out; "
        "the time of every stage stands under the answer.",
    )


def _line_magics(source: str) -> Cell:
    lines = source.splitlines(keepends=True)
    count = 0
    while count < len(lines) and (not lines[count].strip() or _LINE_MAGIC.match(lines[count])):
        count += 1
    before, rest = "".join(lines[:count]), "".join(lines[count:])
    if not rest.strip() or is_python(rest) or _has_escapes(rest):
        return Cell("ipython", source)
    return _message(rest, len(before), before=before)


def _has_escapes(code: str) -> bool:
    """Whether a line is IPython's own syntax, so that the whole may still be code."""
    return any(line.lstrip().startswith(("%", "!")) for line in code.splitlines())


def is_python(code: str) -> bool:
    """Whether ``code`` compiles as Python (top-level ``await`` allowed)."""
    try:
        compile(code, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def awaits_more(body: str) -> bool:
    """Whether whoever types ``body`` under ``%%python`` in a console is likely to go on: it is
    valid, shows nothing, and no empty line ends it."""
    if not body:
        return True
    try:
        last = ast.parse(body).body[-1:]
    except SyntaxError:
        return False  # IPython knows better what is missing
    return not body.endswith("\n") and not (last and isinstance(last[0], ast.Expr))


def message_text(source: str) -> str:
    """The message in ``source``: without papermill's progress mark and outer blank lines."""
    if "papermill_description=" in source:
        kept = []
        for line in source.splitlines():
            bare = _DESCRIPTION.sub("", line)
            if bare == line or bare.strip(" \t#"):
                kept.append(bare.rstrip() if bare != line else line)
        source = "\n".join(kept)
    return source.strip("\r\n").rstrip()


def transform(lines: list[str]) -> list[str]:
    """The cell as Python lines: an IPython cleanup transform without side effects."""
    cell = classify("".join(lines))
    if cell.problem:
        return [f"get_ipython().kernel.refuse({cell.problem!r})\n"]
    if cell.kind == "python" and cell.header:
        return cell.body.splitlines(keepends=True) or ["\n"]
    if cell.kind != "message":
        return ["\n"] if cell.kind == "empty" and lines else lines
    options = f", options={cell.options!r}" if cell.options else ""
    call = f"await get_ipython().kernel.chat({cell.body!r}{options})\n"
    return [*cell.before.splitlines(keepends=True), call]
