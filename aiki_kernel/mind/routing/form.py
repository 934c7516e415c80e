"""How far a message's form is from that of the labelled ones: choices, numbers, code, length.

What was learned of questions with four answers to choose from says nothing about word problems,
even on the same subject, and embeddings see the subject. The measures see the form: the distance
is Mahalanobis' over the standardised measures. Nearly all labelled messages (99 of 100, seen by
folds that they are not in) are within :attr:`Form.near`; half as far again, nothing learned counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CLIP = 6.0  # standard deviations beyond which a measure counts no further
_RIDGE = 0.1  # of a measure's variance, so that those that never vary do no harm
_WITHIN = 0.99
_REACH = 1.5  # times the near distance, where nothing learned counts any more
_FOLDS = 3


@dataclass(frozen=True)
class Form:
    """``center`` and ``scale`` (d,) standardise, ``precision`` is (d, d)."""

    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    precision: NDArray[np.float64]
    near: float

    @classmethod
    def fit(cls, measures: NDArray[np.float64]) -> Form:
        """The form of ``measures`` (n, d)."""
        held = np.zeros(len(measures))
        folds = np.random.default_rng(0).permutation(len(measures)) % _FOLDS
        for fold in range(_FOLDS):
            inside, outside = measures[folds != fold], measures[folds == fold]
            held[folds == fold] = cls._of(inside, 1.0).distance(outside)
        # Labels that are all alike say little about what is unlike them: d is the mean distance
        # of a message from its own kind, and no less than twice that is far.
        least = 2.0 * measures.shape[1]
        return cls._of(measures, max(least, float(np.quantile(held, _WITHIN))))

    def distance(self, measures: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared distances (n,)."""
        z = self._standard(measures)
        found: NDArray[np.float64] = ((z @ self.precision) * z).sum(1)
        return found

    def weight(self, measures: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much learned parts count, (n,): 1 within :attr:`near`, 0 far outside."""
        beyond = self.distance(measures) / max(self.near, 1e-9) - 1.0
        return np.clip(1.0 - beyond / (_REACH - 1.0), 0.0, 1.0)

    @classmethod
    def _of(cls, measures: NDArray[np.float64], near: float) -> Form:
        made = cls(measures.mean(0), measures.std(0) + 1e-9, np.zeros((0, 0)), near)
        z = made._standard(measures)
        spread = z.T @ z / max(1, len(z)) + _RIDGE * np.eye(z.shape[1])
        precision: NDArray[np.float64] = np.linalg.inv(spread).astype(np.float64)
        return cls(made.center, made.scale, precision, near)

    def _standard(self, measures: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip((measures - self.center) / self.scale, -_CLIP, _CLIP)
