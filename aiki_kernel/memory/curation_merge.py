"""Said before: which of two memories is the other once more.

The vectors only propose; what decides is the text, because two vectors of "the budget is 300" and
"the budget is 400" are as good as equal. Two texts are one when they have the same words that
matter, the same numbers, the same names and as much negation, and do not speak of different days.
An assistant's answer restates when older memories, together with the question, already hold all
that it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiki_kernel.memory.curation_gate import hollow
from aiki_kernel.memory.curation_text import names, sentences, without_speaker, words
from aiki_kernel.memory.curation_words import (
    FILLER,
    NEGATION,
    RELATIVE,
    REPEATING,
    SOCIAL,
)
from aiki_kernel.memory.lexical import Lexicon
from aiki_kernel.memory.records import Record

_ALIKE = 0.86  # of the words that matter (Jaccard)
_NOVEL = 0.12  # share of an answer's words that may be its own
NEAR = {"multilingual-e5-small": 0.93, "wordllama": 0.75}
"""Least cosine of two texts that may be one, by embedder: E5 keeps all texts close together."""
NEAR_ELSE = 0.85


@dataclass(frozen=True)
class Gist:
    """What of a text counts when it is compared."""

    plain: tuple[str, ...]
    stems: frozenset[int]
    numbers: frozenset[str]
    names: frozenset[str]
    negations: int
    asks: bool
    bound: bool
    day: str

    @classmethod
    def of(cls, record: Record, lexicon: Lexicon) -> Gist:
        """The gist of what ``record`` says, without courtesies and "as I said"."""
        text = without_speaker(record.data, record.role)
        parts = [part for part in sentences(text) if not hollow(part, record.role)]
        told = " ".join(parts or [text])
        spoken = words(told)
        counted = [
            word
            for word in spoken
            if word not in REPEATING and (word not in SOCIAL or word in NEGATION)
        ]
        bare = " ".join(word for word in counted if word not in FILLER)
        return cls(
            tuple(counted),
            frozenset(ids[0] for ids in lexicon.words(bare)),
            frozenset(word for word in spoken if any(sign.isdigit() for sign in word)),
            frozenset(part for name in names(told) for part in name.split()),
            sum(word in NEGATION for word in spoken),
            told.rstrip("\"'”») ").endswith("?"),
            any(word in RELATIVE for word in spoken),
            record.created_at[:10],
        )


def alike(one: Gist, other: Gist) -> bool:
    """Whether two memories say the same."""
    if one.numbers != other.numbers or one.negations % 2 != other.negations % 2:
        return False
    if one.asks != other.asks or (one.bound and one.day != other.day):
        return False
    if one.plain == other.plain:
        return True
    if len(one.stems) < 3 or len(other.stems) < 3:
        return bool(one.stems) and one.stems == other.stems and len(one.stems) > 1
    if one.names != other.names and not _explained(one, other):
        return False
    return len(one.stems & other.stems) >= _ALIKE * len(one.stems | other.stems)


def restates(answer: Gist, known: Sequence[Gist], question: Gist | None) -> bool:
    """Whether an answer holds nothing that ``known`` memories and the question do not."""
    if not answer.stems or (answer.bound and not known):
        return False
    asked = question.stems if question else frozenset()
    asked_numbers = question.numbers if question else frozenset()
    for old in known:
        own = answer.stems - asked
        shared = answer.stems & old.stems
        if len(shared) < 2 or not (own & old.stems or answer.stems <= old.stems):
            continue
        novel = own - old.stems
        if len(novel) > _NOVEL * len(answer.stems):
            continue
        if not answer.numbers <= old.numbers | asked_numbers:
            continue
        if answer.negations % 2 != old.negations % 2:
            continue
        return True
    return False


def _explained(one: Gist, other: Gist) -> bool:
    """Whether names differ only because capitals were dropped: the words are there all the same."""
    return (one.names ^ other.names) <= set(one.plain) & set(other.plain)


def least_cosine(embedder: str) -> float:
    """From which cosine on two texts are compared at all."""
    return NEAR.get(embedder, NEAR_ELSE)
