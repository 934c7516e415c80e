"""How hard a message is, and what quality to expect of each tier: by length, rules, labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aiki_kernel.mind.routing import lexicon

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aiki_kernel.mind.routing.learned import Learned

_LONG = 512.0  # words at which length alone says 1

CHEAP_SIDE = ("cheap", "local")
"""Tiers whose labels teach the cheap side; the smart tier's teach the other."""


@dataclass(frozen=True)
class Judgement:
    """``complexity`` is 0..1; ``quality`` the chance of a right answer by tier."""

    complexity: float
    quality: Mapping[str, float]
    reasons: tuple[str, ...]


class Judge(Protocol):
    """One way to judge a message. ``vector`` is its embedding, where there is one."""

    @property
    def name(self) -> str: ...

    def judge(self, text: str, vector: NDArray[np.float32] | None = None) -> Judgement: ...


class Length:
    """The longer, the harder: the baseline that a better router has to beat."""

    name = "length"

    def judge(self, text: str, vector: NDArray[np.float32] | None = None) -> Judgement:
        """1 word is 0, 512 and more are 1, each doubling adds the same."""
        words = len(text.split())
        complexity = min(1.0, math.log2(max(1, words)) / math.log2(_LONG))
        return Judgement(complexity, expected(complexity), (f"{words} words",))


class Rules:
    """Keywords in English and Norwegian, from ``words.toml``."""

    name = "rules"

    def judge(self, text: str, vector: NDArray[np.float32] | None = None) -> Judgement:
        """Each rule that fires adds its part; length adds a little."""
        rules = lexicon.rules()
        words = lexicon.tokens(text)
        joined = f" {' '.join(words)} "
        complexity = rules.start
        reasons = []
        for rule in rules.rules:
            found = rule.words.first(words, joined)
            if found:
                complexity += rule.add
                reasons.append(f"{rule.name} ({found}) {rule.add:+.2f}")
        length = len(text.split())
        if length > rules.short_words:
            more = rules.per_doubling * math.log2(length / rules.short_words)
            complexity += more
            reasons.append(f"{length} words {more:+.2f}")
        complexity = min(1.0, max(0.0, complexity))
        return Judgement(complexity, expected(complexity), tuple(reasons or ["no rule fires"]))


class LearnedJudge:
    """What was learned from labelled messages; see ``learned``."""

    name = "learned"

    def __init__(self, learned: Learned) -> None:
        self.learned = learned

    def judge(self, text: str, vector: NDArray[np.float32] | None = None) -> Judgement:
        """Complexity is the chance that the cheap model fails."""
        from aiki_kernel.mind.routing.components import Inputs

        about = self.learned.about
        inputs = Inputs.of([text], None if vector is None else vector[None])
        found = self.learned.estimate(inputs)
        weak, strong = float(found.weak[0]), float(found.strong[0])
        prior = lexicon.prior()
        local = prior["local"][0] / prior["cheap"][0]
        quality = {
            "smart": strong,
            "standard": (weak + strong) / 2,
            "cheap": weak,
            "local": weak if about.cheap_is_local else weak * local,
        }
        near = float(found.nearness[0])
        reasons = [f"learned from {about.labels} labels ({about.source})"]
        if about.embedder and vector is None:
            reasons.append("without its embedding: measures and words only")
        if near < 1.0:
            reasons.append(f"far from all labels: length counts more (nearness {near:.2f})")
        return Judgement(1.0 - weak, quality, tuple(reasons))


def expected(complexity: float) -> dict[str, float]:
    """Quality by tier where no label says better."""
    return {
        tier: easy + (hard - easy) * complexity for tier, (easy, hard) in lexicon.prior().items()
    }
