"""How good a router is, from questions that both models have answered.

A router gives each question a score; the questions with the highest go to the strong
model. Over all shares of strong calls that is a curve from the weak model's quality to
the strong one's. PGR is the part of that gap which is recovered; APGR the area under it
(random: 0.5); CPT(x) the share of strong calls that recovers x per cent. From RouteLLM,
arXiv 2406.18665. Equal scores are taken in random order: their expectation is computed,
so that the order of a file decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Curve:
    """Quality against the share of strong calls; both (n + 1,), from none to all."""

    share: NDArray[np.float64]
    quality: NDArray[np.float64]

    @property
    def weak(self) -> float:
        return float(self.quality[0])

    @property
    def strong(self) -> float:
        return float(self.quality[-1])

    @property
    def gap(self) -> float:
        return self.strong - self.weak

    def apgr(self) -> float | None:
        """Area of the recovered gap; None when the models do not differ."""
        if not self.gap:
            return None
        pgr = (self.quality - self.weak) / self.gap
        return float((pgr[1:] + pgr[:-1]).mean() / 2)

    def share_for(self, quality: float) -> float | None:
        """The least share of strong calls that reaches ``quality``; None when none does."""
        reached = np.flatnonzero(self.quality >= quality - 1e-12)
        return float(self.share[reached[0]]) if len(reached) else None

    def cpt(self, percent: float) -> float | None:
        """The least share of strong calls that recovers ``percent`` of the gap."""
        return self.share_for(self.weak + self.gap * percent / 100)


def curve(
    score: NDArray[np.float64], weak: NDArray[np.float64], strong: NDArray[np.float64]
) -> Curve:
    """The curve of ``score`` over questions; all three (n,), quality in 0..1."""
    order = np.argsort(-score, kind="stable")
    gain = (strong - weak)[order]
    _, tied, count = np.unique(-score[order], return_inverse=True, return_counts=True)
    gain = (np.bincount(tied, weights=gain) / count)[tied]
    n = len(score)
    total = np.concatenate([[0.0], np.cumsum(gain)])
    return Curve(np.arange(n + 1) / n, (weak.sum() + total) / n)


def summary(made: Curve, *, of_strong: float = 0.95) -> dict[str, Any]:
    """APGR, CPT(50), CPT(80) and the share of strong calls for ``of_strong`` of the strong
    model's score; shares in 0..1, None where it is not reached."""
    return {
        "apgr": made.apgr(),
        "cpt50": made.cpt(50),
        "cpt80": made.cpt(80),
        "strong_share_95": made.share_for(of_strong * made.strong),
    }
