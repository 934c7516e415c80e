"""Said before: which of two memories is the other once more.

The vectors only propose; what decides is the text, because two vectors of "the budget is 300" and
"the budget is 400" are as good as equal. Two texts are one when they have the same words that
matter, the same numbers, the same names and as much negation, and do not speak of different days.
An assistant's answer restates when older memories, together with the question, already hold all
that it says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiki_kernel.memory.curation_gate import hollow
from aiki_kernel.memory.curation_text import names, sentences, without_speaker, words
from aiki_kernel.memory.curation_words import (
    FILLER,
    FUNCTION,
    NEGATION,
    RELATIVE,
    REPEATING,
    SOCIAL,
)
from aiki_kernel.memory.lexical import Lexicon
from aiki_kernel.memory.records import Record

_ALIKE = 0.86  # of the words that matter (Jaccard)
_AGAIN = re.compile(
    r"\b(?:as|like) i (?:said|mentioned|told|wrote)|\bjust to repeat|\bi already (?:said|told)|"
    r"^again\b|\bsom (?:sagt|nevnt|jeg (?:sa|nevnte|fortalte))|\bjeg gjentar|\bigjen:|"
    r"\bjeg har (?:allerede )?(?:sagt|nevnt|fortalt)",
    re.IGNORECASE,
)
_ADDRESSED = re.compile(r"\b([^\W\d_]+)[,!]?\s+[A-ZÆØÅ][\w’'-]*(?=[\s,.!?]|$)")
_LONG = 9  # words that matter: nobody says so many twice by chance
_NOVEL = 0.12  # share of an answer's words that may be its own
NEAR = {"multilingual-e5-small": 0.93, "wordllama": 0.75}
"""Least cosine of two texts that may be one, by embedder: E5 keeps all texts close together."""
NEAR_ELSE = 0.85


@dataclass(frozen=True)
class Gist:
    """What of a text counts when it is compared."""

    spoken: tuple[str, ...]
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
        told = _unaddressed(_spelt_out(" ".join(parts or [text])))
        spoken = words(told)
        counted = [
            word
            for word in spoken
            if word not in REPEATING
            and (word not in SOCIAL | FILLER | FUNCTION or word in NEGATION)
        ]
        return cls(
            tuple(spoken),
            tuple(counted),
            # Word by word: a text without its small words no longer shows its language.
            frozenset(ids[0] for word in counted for ids in lexicon.words(word)),
            frozenset(word for word in spoken if any(sign.isdigit() for sign in word)),
            frozenset(part for name in names(told) for part in name.split()),
            sum(word in NEGATION for word in spoken),
            any(part.rstrip("\"'”») ").endswith("?") for part in parts),
            any(word in RELATIVE for word in spoken) and not _AGAIN.search(text),
            record.created_at[:10],
        )


def alike(one: Gist, other: Gist) -> bool:
    """Whether two memories say the same."""
    if one.numbers != other.numbers or one.negations % 2 != other.negations % 2:
        return False
    if not one.plain or not other.plain:
        return one.spoken == other.spoken
    same = one.plain == other.plain
    if one.bound and one.day != other.day and not (same and len(one.plain) >= _LONG):
        return False  # "I ran today" is news on another day; a paragraph word for word is not
    if same:
        return True
    if one.asks != other.asks and min(len(one.plain), len(other.plain)) < _LONG:
        return False
    if len(one.stems) < 3 or len(other.stems) < 3:
        return len(one.stems) > 1 and one.stems == other.stems
    if one.names != other.names and not _explained(one, other):
        return False
    return len(one.stems & other.stems) >= _ALIKE * len(one.stems | other.stems)


def restates(answer: Gist, known: Sequence[Gist], question: Gist | None) -> bool:
    """Whether an answer holds nothing that one of ``known`` memories and the question do not."""
    if len(answer.stems) < 2 or answer.asks:
        return False
    asked = question.stems if question else frozenset()
    asked_numbers = question.numbers if question else frozenset()
    least = 2 if question else 3
    for old in known:
        own = answer.stems - asked
        if len(answer.stems & old.stems) < least or not (
            own & old.stems or answer.stems <= old.stems
        ):
            continue
        if len(own - old.stems) > _NOVEL * len(answer.stems):
            continue
        if not answer.numbers <= old.numbers | asked_numbers:
            continue
        if answer.negations % 2 == old.negations % 2:
            return True
    return False


def _unaddressed(text: str) -> str:
    """``text`` without the names of whom it is said to: "Thanks Anna, that helps"."""
    return _ADDRESSED.sub(lambda m: m[1] if m[1].lower() in SOCIAL else m[0], text)


def _spelt_out(text: str) -> str:
    """English contractions in full: "isn't" is "is not"."""
    plain = text.replace("’", "'")
    plain = re.sub(r"\b(can|won|shan)'t\b", r"\1 not", plain, flags=re.IGNORECASE)
    plain = re.sub(r"\bcannot\b", "can not", plain, flags=re.IGNORECASE)
    plain = re.sub(r"n't\b", " not", plain, flags=re.IGNORECASE)
    return re.sub(r"(?<=\w)'(?:m|re|ve|ll|d|s)\b", "", plain, flags=re.IGNORECASE)


def _explained(one: Gist, other: Gist) -> bool:
    """Whether names differ only because capitals were dropped: the words are there all the same."""
    return (one.names ^ other.names) <= set(one.plain) & set(other.plain)


def least_cosine(embedder: str) -> float:
    """From which cosine on two texts are compared at all."""
    return NEAR.get(embedder, NEAR_ELSE)
