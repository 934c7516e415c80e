"""Citations of an answer: which memories it names, and which it made up.

A model is given small numbers, which it copies without error; people see the memories' ids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SHORT = 8
"""How much of an id is shown: what ``memory show`` takes."""

_ONE = r"(?:memory |minne |m|#|nr\.? ?)?(?:[0-9a-f]{6,8}(?:-[0-9a-f-]{4,27})?|\d{1,4})"
_CITED = re.compile(rf"\[({_ONE}(?:\s*(?:,|;|and|og)\s*{_ONE})*)\](?!\()", re.IGNORECASE)
_NAME = re.compile(r"[0-9a-f]{6,8}(?:-[0-9a-f-]{4,27})?|\d{1,4}", re.IGNORECASE)


@dataclass(frozen=True)
class Cited:
    """An answer whose citations were checked: ``ids`` it names, ``removed`` what it made up."""

    text: str
    ids: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def notes(self) -> list[str]:
        """Lines for the user."""
        if self.removed:
            made = ", ".join(f"[{name}]" for name in self.removed)
            plural = "s were" if len(self.removed) > 1 else " was"
            return [f"{len(self.removed)} citation{plural} removed, which no memory has: {made}."]
        return [] if self.ids else ["The answer cites no memory."]


def check(answer: str, given: Sequence[str]) -> Cited:
    """Put ids in the place of numbers (1 is the first of ``given``), and take out the others."""
    cited: list[str] = []
    removed: list[str] = []

    def one(name: str) -> str:
        found = _meant(name, given)
        if found is None:
            removed.append(name)
            return "[?]"
        cited.append(found)
        return f"[{found[:SHORT]}]"

    text = _CITED.sub(lambda m: "".join(map(one, _NAME.findall(m[1]))), answer)
    return Cited(text, tuple(dict.fromkeys(cited)), tuple(dict.fromkeys(removed)))


def _meant(name: str, given: Sequence[str]) -> str | None:
    if name.isdecimal() and len(name) <= 4:
        number = int(name)
        return given[number - 1] if 1 <= number <= len(given) else None
    found = [id for id in given if id.startswith(name.lower())]
    return found[0] if len(found) == 1 else None
