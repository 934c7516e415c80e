"""Whether a stored insight fits a message: by meaning, and rather missed than wrong.

The same words in any order fit. Otherwise three things have to hold. Numbers and names of code
do not contradict each other (a 404 is no 502). The message is as near to the insight's
``applies_when`` as the question was that it was given for. And the chance that both ask the same,
a logistic regression over five measures of the pair, is at least ``consult.match``:

* the cosine of the embeddings of both questions;
* the agreement of their words, which counts *against* them: two questions that share nearly
  all their words and are not the same differ in the one that matters ("in Norway", "in
  Sweden"), while their cosine is the highest of all;
* the cosine of what is left of both without their common words;
* and how much of either that is.

Weights were fitted for an embedder on half of the pairs in ``tests/mind/insight_pairs.py``,
so that none of the pairs that only look alike passes; the tests say what the other half does.
An embedder that is not weighed here (a static one cannot tell such pairs apart) reuses the same
words only. A message that says too little
by itself ("why does this fail?") fits nothing but the very same problem with its context.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiki_kernel.mind import cascade
from aiki_kernel.mind.routing import lexicon

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aiki_kernel.mind.distil import Problem
    from aiki_kernel.mind.insight import Stored

Embed = Callable[[Sequence[str]], Awaitable["NDArray[np.float32]"]]
"""Embeddings (n, e) of n texts by the memory's own embedder."""

_WORD = re.compile(r"[^\W_]+")
_STEM = 5  # letters by which words count as common
_LEAST = 4  # words that a message needs to stand by itself
_LONGEST = 1500  # characters of a question whose meaning one embedding holds
_MARK = re.compile(
    r"\d+(?:[.,]\d+)*"  # numbers
    r"|\b[A-Z][a-z]+[A-Z]\w*|\b[a-z]+[A-Z]\w*"  # KeyError, getItem
    r"|\b\w+_\w+|\b\w+(?:\.\w+)+\b|\b\w+\(\)"  # max_tokens, os.path, sort()
)


@dataclass(frozen=True)
class Scale:
    """Weights of the measures of one embedder. ``applies`` is how much further than the
    question the message may be from ``applies_when``, in cosine."""

    start: float
    cosine: float
    agreement: float
    rest: float
    mine: float
    its: float
    applies: float

    def chance(self, pair: Pair) -> float:
        """That both questions ask the same, 0..1."""
        total = (
            self.start
            + self.cosine * pair.cosine
            + self.agreement * pair.agreement
            + self.rest * pair.rest
            + self.mine * pair.mine
            + self.its * pair.its
        )
        return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, total))))

    def least(self, needed: float) -> float:
        """The cosine of the questions below which the chance is under ``needed``, whatever else
        is measured: no other measure is above one, and agreement only takes away."""
        logit = math.log(needed / max(1.0 - needed, 1e-9))
        most = self.start + max(0.0, self.agreement) + self.rest + self.mine + self.its
        return (logit - most) / self.cosine


SCALES: Mapping[str, Scale] = {
    "multilingual-e5-small": Scale(-78.44, 58.77, -2.34, 24.9, 3.63, 0.75, 0.06),
}


@dataclass(frozen=True)
class Pair:
    """A message and a stored question, measured. ``applies`` is the message's cosine with
    ``applies_when`` less the question's own."""

    cosine: float
    agreement: float
    rest: float
    mine: float
    its: float
    applies: float = 0.0


async def best(
    message: str,
    problem: Problem,
    kept: Sequence[Stored],
    embed: Embed,
    embedder: str,
    needed: float,
) -> tuple[Stored, float] | None:
    """The insight that fits ``message`` (whose distilled form is ``problem``) best, and the
    chance that it does; None when none does. Raises what ``embed`` raises."""
    open_: list[Stored] = []
    for one in kept:
        if not one.valid() or contradicts(_told(problem.text), _told(one.problem)):
            continue
        if one.problem == problem.text:
            return one, 1.0
        if not stands_alone(message) or not stands_alone(one.question):
            continue
        if same_words(message, one.question):
            return one, 1.0
        if max(len(message), len(one.question)) <= _LONGEST:
            open_.append(one)
    scale = SCALES.get(embedder)
    if scale is None or not open_:
        return None
    near_ones = await _near(message, open_, embed, scale.least(needed))
    if not near_ones:
        return None
    found: tuple[Stored, float] | None = None
    for one, pair in zip(near_ones, await measure(message, near_ones, embed), strict=True):
        chance = scale.chance(pair)
        near = pair.applies >= -scale.applies
        if near and chance >= needed and (found is None or chance > found[1]):
            found = one, chance
    return found


async def _near(message: str, kept: Sequence[Stored], embed: Embed, least: float) -> list[Stored]:
    """Those whose question is near enough to be measured at all: most are not."""
    vectors = await embed([message, *(one.question for one in kept)])
    unit = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12)
    cosines = unit[1:] @ unit[0]
    return [one for one, cosine in zip(kept, cosines, strict=True) if cosine >= least]


async def measure(message: str, kept: Sequence[Stored], embed: Embed) -> list[Pair]:
    """The measures of ``message`` with each stored question."""
    texts = [message]
    for one in kept:
        mine, its = leftover(message, one.question), leftover(one.question, message)
        left = [" ".join(mine) or ".", " ".join(its) or "."]
        texts += [one.question, one.insight.applies_when, *left]
    vectors = await embed(texts)
    unit = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12)
    pairs = []
    for place, one in enumerate(kept):
        question, applies, mine_v, its_v = unit[1 + 4 * place : 5 + 4 * place]
        pairs.append(
            Pair(
                cosine=float(unit[0] @ question),
                agreement=cascade.agreement(message, one.question),
                rest=float(mine_v @ its_v),
                mine=len(leftover(message, one.question)) / max(1, len(_words(message))),
                its=len(leftover(one.question, message)) / max(1, len(_words(one.question))),
                applies=float(unit[0] @ applies - question @ applies),
            )
        )
    return pairs


def same_words(one: str, other: str) -> bool:
    """Whether both say the same but for articles, pronouns and order."""
    return _content(one) == _content(other)


def stands_alone(text: str) -> bool:
    """Whether a message says enough by itself to be compared without its context."""
    return len(_content(text)) >= _LEAST


def contradicts(one: str, other: str) -> bool:
    """Whether numbers or names of code differ in both directions."""
    mine, its = (set(_MARK.findall(text)) for text in (one, other))
    return bool(mine - its) and bool(its - mine)


def leftover(text: str, other: str) -> list[str]:
    """The words of ``text`` that ``other`` does not have, by their beginnings."""
    common = {word[:_STEM] for word in _words(other)}
    return [word for word in _words(text) if word[:_STEM] not in common]


def _told(problem: str) -> str:
    """A distilled problem without what was said before it."""
    return problem.partition("\n\nBefore this:\n")[0]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _content(text: str) -> frozenset[str]:
    return frozenset(_words(text)) - lexicon.same()
