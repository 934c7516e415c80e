"""One learned number of a message: the parts, standardised, added up, and brought to scale.

What the parts predict of messages that they were not fitted on (three folds) gives each its
mean and spread, and the sum its scale: the slope and level of the label over the sum. With
few labels, and for a message far from every labelled one, the sum leans on length alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiki_kernel.mind.routing.components import KINDS, Component, Inputs, Neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOLDS = 3
_HALF = 150.0  # labels at which the learned parts weigh half of what they do with many
_FURTHEST = 3.0  # standard deviations that one part may go from its mean
_FAR = 0.005  # share of the labelled messages that count as far from the others


@dataclass(frozen=True)
class Scale:
    """From a sum of parts to the label's own scale: ``level + slope * sum``."""

    level: float
    slope: float

    def apply(self, total: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.level + self.slope * total


@dataclass(frozen=True)
class Blend:
    """Fitted on n labels. ``sign`` is +1 when a longer message has the higher label."""

    parts: Mapping[str, Component]
    spread: Mapping[str, tuple[float, float]]
    sign: float
    labels: int
    with_vectors: Scale
    without: Scale
    near: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def fit(cls, inputs: Inputs, y: NDArray[np.float64], sign: float) -> Blend:
        """Fit labels ``y`` (n,); embeddings are used when ``inputs`` has them."""
        names = [
            name
            for name, kind in KINDS.items()
            if inputs.vectors is not None or not kind.reads_vectors
        ]
        held = {name: np.zeros(len(y)) for name in names}
        near = np.zeros(len(y))
        folds = np.random.default_rng(0).permutation(len(y)) % _FOLDS
        for fold in range(_FOLDS):
            inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            known, asked = inputs.take(inside), inputs.take(outside)
            for name in names:
                part = KINDS[name].fit(known, y[inside])
                if isinstance(part, Neighbours):
                    held[name][outside], near[outside] = part.look(asked)
                else:
                    held[name][outside] = part.predict(asked)
        spread = {n: (float(v.mean()), float(v.std()) or 1.0) for n, v in held.items()}
        parts = {name: KINDS[name].fit(inputs, y) for name in names}
        made = cls(parts, spread, sign, len(y), Scale(0, 1), Scale(0, 1), _reach(near))
        whole = made._sum(held, np.ones(len(y)))
        text = made._sum(
            {n: v for n, v in held.items() if not KINDS[n].reads_vectors}, np.ones(len(y))
        )
        return cls(parts, spread, sign, len(y), _scale(whole, y), _scale(text, y), made.near)

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        """The sum, (n,): only its order means something."""
        return self._total(inputs)[0]

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        """The label, (n,), on its own scale."""
        total, _ = self._total(inputs)
        return self._scale_for(inputs).apply(total)

    def nearness(self, inputs: Inputs) -> NDArray[np.float64]:
        """How much the learned parts count for each message, 0 (far from all labels) to 1."""
        return self._total(inputs)[1]

    def _scale_for(self, inputs: Inputs) -> Scale:
        return self.without if inputs.vectors is None else self.with_vectors

    def _total(self, inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        found, trust = {}, np.ones(len(inputs))
        for name, part in self.parts.items():
            if KINDS[name].reads_vectors and inputs.vectors is None:
                continue
            if isinstance(part, Neighbours):
                found[name], near = part.look(inputs)
                low, high = self.near
                if high > low:
                    trust = np.clip((near - low) / (high - low), 0.0, 1.0)
            else:
                found[name] = part.predict(inputs)
        return self._sum(found, trust), trust

    def _sum(
        self, found: Mapping[str, NDArray[np.float64]], trust: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        learned = self.labels / (self.labels + _HALF)
        total = np.zeros(len(trust))
        for name, values in found.items():
            mean, deviation = self.spread[name]
            z = KINDS[name].weight * np.clip((values - mean) / deviation, -_FURTHEST, _FURTHEST)
            total += self.sign * z if name == "length" else learned * trust * z
        return total


def _reach(near: NDArray[np.float64]) -> tuple[float, float]:
    """Between which nearness the learned parts fade in: nearly all labelled messages are
    nearer to the others than the upper one."""
    high = float(np.quantile(near, _FAR)) if len(near) else 0.0
    middle = float(np.median(near)) if len(near) else 0.0
    return high - (middle - high), high


def _scale(total: NDArray[np.float64], y: NDArray[np.float64]) -> Scale:
    """Least squares of the labels over the sum, shrunk a little; never a negative slope."""
    centered = total - total.mean()
    slope = float(centered @ (y - y.mean())) / (float(centered @ centered) + 50.0)
    slope = max(slope, 0.0)
    return Scale(float(y.mean()) - slope * float(total.mean()), slope)
