"""The words of ``words.toml``, and how they are found in a message."""

from __future__ import annotations

import functools
import re
import tomllib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

_TOKEN = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


def tokens(text: str) -> list[str]:
    """The words of ``text`` in lower case; digits and signs are none."""
    return _TOKEN.findall(text.lower())


@dataclass(frozen=True)
class WordList:
    """Words, beginnings of words (``*``) and phrases that stand for one thing."""

    words: frozenset[str]
    stems: tuple[str, ...]
    phrases: tuple[str, ...]

    @classmethod
    def of(cls, entries: Sequence[str]) -> WordList:
        """Sort the entries of a list in ``words.toml`` by what they are."""
        single = [entry for entry in entries if " " not in entry]
        return cls(
            frozenset(entry for entry in single if not entry.endswith("*")),
            tuple(entry[:-1] for entry in single if entry.endswith("*")),
            tuple(f" {entry} " for entry in entries if " " in entry),
        )

    def first(self, words: Sequence[str], joined: str) -> str:
        """The first entry found, as it stands in the message; "" when there is none."""
        for word in words:
            if word in self.words or word.startswith(self.stems or ("\0",)):
                return word
        return next((phrase.strip() for phrase in self.phrases if phrase in joined), "")


@dataclass(frozen=True)
class Rule:
    """Adds ``add`` to a message's complexity when one of its words is there."""

    name: str
    add: float
    words: WordList


@dataclass(frozen=True)
class Rules:
    """All of ``[rules]``; see the file for what the numbers mean."""

    start: float
    short_words: int
    per_doubling: float
    rules: tuple[Rule, ...]


@functools.cache
def rules() -> Rules:
    """The keyword rules."""
    data = _read()["rules"]
    found = tuple(Rule(r["name"], r["add"], WordList.of(r["words"])) for r in data["rule"])
    return Rules(data["start"], data["short_words"], data["per_doubling"], found)


class Counter:
    """Counts each list of ``[counts]`` in a message, in one pass over its words."""

    def __init__(self, lists: Mapping[str, Sequence[str]]) -> None:
        self.names = tuple(lists)
        self.digest = f"{zlib.crc32(repr(sorted(lists.items())).encode()):08x}"
        self._word: dict[str, int] = {}
        self._stems: dict[str, list[tuple[str, int]]] = {}
        self._phrases: list[tuple[str, int]] = []
        for place, entries in enumerate(lists.values()):
            sorted_ = WordList.of(entries)
            self._word.update(dict.fromkeys(sorted_.words, place))
            self._phrases += [(phrase, place) for phrase in sorted_.phrases]
            for stem in sorted_.stems:
                self._stems.setdefault(stem[:3], []).append((stem, place))

    def count(self, words: Sequence[str]) -> list[int]:
        """How often each list's words occur, in the order of :attr:`names`."""
        out = [0] * len(self.names)
        for word in words:
            place = self._place(word)
            if place >= 0:
                out[place] += 1
        joined = f" {' '.join(words)} "
        for phrase, place in self._phrases:
            out[place] += joined.count(phrase)
        return out

    def _place(self, word: str) -> int:
        known = self._word.get(word)
        if known is not None:
            return known
        for stem, place in self._stems.get(word[:3], ()):
            if word.startswith(stem):
                return place
        return -1


@functools.cache
def counter() -> Counter:
    """The lists that the learned router counts."""
    return Counter(_read()["counts"])


@functools.cache
def prior() -> Mapping[str, tuple[float, float]]:
    """Tier -> expected quality of the easiest and of the hardest message."""
    return {tier: (ends[0], ends[1]) for tier, ends in _read()["prior"].items()}


@functools.cache
def same() -> frozenset[str]:
    """Words by which two questions may differ and still be the same one."""
    return frozenset(_read()["same"]["words"])


@functools.cache
def refusals() -> tuple[str, ...]:
    """How an answer begins that refuses, in lower case."""
    return tuple(_read()["refusal"]["begins"])


@functools.cache
def _read() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("words.toml").read_text("utf-8")
    return tomllib.loads(text)
