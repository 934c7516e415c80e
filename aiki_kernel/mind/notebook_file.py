"""What a saved notebook shows of its conversation: the order of its cells, and their answers.

A kernel does not see the file that it works for; the server names it (``JPY_SESSION_NAME``).
The file is read as plain JSON (nbformat 4), once and lazily, and never when it is larger than
:data:`MOST_BYTES`: an answer must not wait for a folder full of pictures. What it holds may
come from anybody. It is data here; whether an answer of it may speak in a conversation is
decided by :mod:`aiki_kernel.mind.resuming`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiki_kernel.errors import AikiError

MOST_BYTES = 32 * 1024 * 1024
_ABOVE = re.compile(r"%%aiki\b|%[A-Za-z_]|#[ \t]*[Kk][Ee][Ee][Pp][ \t]*$")
_MARKS = ("stopped", "cut off by an error")


class NotebookError(AikiError):
    """The notebook's file cannot be read; one line says why."""

    kind = "notebook"


@dataclass(frozen=True)
class Shown:
    """An answer as a cell shows it. ``text`` is None where only its facts were saved."""

    facts: Mapping[str, Any]
    text: str | None

    @property
    def turn_id(self) -> str:
        return str(self.facts.get("turn_id") or "")

    @property
    def session_id(self) -> str:
        return str(self.facts.get("session_id") or "")

    @property
    def created_at(self) -> str:
        return str(self.facts.get("created_at") or "")

    @property
    def whole(self) -> bool:
        """Whether the answer came to its end."""
        return self.facts.get("finish_reason") in ("stop", "length") and bool(self.text)


@dataclass(frozen=True)
class Cell:
    """A code cell. ``answer`` is the last one that it shows; ``empty`` that it shows nothing."""

    id: str
    source: str
    answer: Shown | None
    empty: bool

    @property
    def message(self) -> str:
        """The message as it was typed: without magics, options and ``# keep`` above it."""
        lines = self.source.strip("\r\n").splitlines()
        while lines and (not lines[0].strip() or _ABOVE.match(lines[0])):
            lines.pop(0)
        return "\n".join(lines).rstrip()


@dataclass(frozen=True)
class NotebookFile:
    """The code cells of a file, in order; ``saved_at`` in seconds since 1970."""

    path: Path
    cells: tuple[Cell, ...]
    saved_at: float

    @property
    def ids(self) -> list[str]:
        return [cell.id for cell in self.cells if cell.id]

    @property
    def answers(self) -> list[Shown]:
        return [cell.answer for cell in self.cells if cell.answer is not None]


def read(path: str | Path) -> NotebookFile:
    """The notebook at ``path``. Raises :class:`NotebookError`."""
    path = Path(path)
    try:
        info = path.stat()
        if info.st_size > MOST_BYTES:
            raise NotebookError(
                f"{path.name} is larger than {MOST_BYTES >> 20} MB and was not read: "
                "clear outputs that are not needed."
            )
        book = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotebookError(f"{path.name} is not at {path.parent} any more.") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is not a notebook"
        raise NotebookError(f"{path.name} could not be read ({reason}).") from None
    return NotebookFile(path, cells_of(book), info.st_mtime)


def cells_of(book: Any) -> tuple[Cell, ...]:
    """The code cells of a notebook that is in memory (nbformat 4 as a mapping)."""
    cells = book.get("cells") if isinstance(book, Mapping) else None
    if not isinstance(cells, list):
        return ()
    made = []
    for cell in cells:
        if isinstance(cell, Mapping) and cell.get("cell_type") == "code":
            outputs = cell.get("outputs")
            outputs = outputs if isinstance(outputs, list) else []
            shown = [one for one in map(_shown, outputs) if one is not None]
            made.append(
                Cell(
                    str(cell.get("id") or ""),
                    _text(cell.get("source")),
                    shown[-1] if shown else None,
                    empty=not outputs,
                )
            )
    return tuple(made)


def _shown(output: Any) -> Shown | None:
    """The answer in an output, if it is one."""
    if not isinstance(output, Mapping) or not isinstance(output.get("metadata"), Mapping):
        return None
    facts = output["metadata"].get("aiki")
    if not isinstance(facts, Mapping) or not facts.get("turn_id"):
        return None
    data = output.get("data")
    if not isinstance(data, Mapping) or "text/markdown" not in data:
        return Shown(facts, None)  # printed answers stand in another output, mixed with others
    text = _text(data.get("text/plain"))
    if facts.get("finish_reason") not in ("stop", "length"):
        for mark in _MARKS:
            text = text.removesuffix(f"[{mark}]")
        text = text.rstrip("\n")
    return Shown(facts, text)


def _text(value: Any) -> str:
    """nbformat writes a text whole or as a list of lines."""
    if isinstance(value, list):
        return "".join(str(line) for line in value)
    return value if isinstance(value, str) else ""
