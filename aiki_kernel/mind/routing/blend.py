"""One learned number of a message: the parts, standardised, added up, and brought to scale.

What the parts predict of messages that they were not fitted on (three folds) gives each its
mean and spread, and the sum its scale: the slope and level of the label over the sum. With
few labels, and for a message far from every labelled one in what it says (its embedding) or in
its form (its measures), the sum leans on length alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from aiki_kernel.mind.routing.components import KINDS, Component, Inputs, Neighbours
from aiki_kernel.mind.routing.form import Form

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOLDS = 3
_HALF = 150.0  # labels at which the learned parts weigh half of what they do with many
_FURTHEST = 3.0  # standard deviations that one part may go from its mean
_FAR = 0.005  # share of the labelled messages that count as far from the others


Weights = Mapping[str, float]
"""The weight of each part in the sum."""


@dataclass(frozen=True)
class Scale:
    """From a sum of parts to the label's own scale: ``level + slope * sum``."""

    level: float
    slope: float

    def apply(self, total: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.level + self.slope * total


@dataclass(frozen=True)
class Blend:
    """Fitted on n labels. ``sign`` is +1 when a longer message has the higher label. ``held``
    are the standard scores (n,) of each part on the labelled messages outside its fold; they
    are not kept in the file."""

    parts: Mapping[str, Component]
    spread: Mapping[str, tuple[float, float]]
    sign: float
    labels: int
    with_vectors: Scale
    without: Scale
    far: tuple[float, float] = (0.0, 0.0)
    form: Form | None = None
    weights: Weights = field(default_factory=lambda: {n: k.weight for n, k in KINDS.items()})
    held: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)

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
        form = Form.fit(inputs.measures)
        made = cls(parts, spread, sign, len(y), Scale(0, 1), Scale(0, 1), _reach(near), form)
        plain = {n: v for n, v in held.items() if not KINDS[n].reads_vectors}
        text = made._sum(plain, made._trust(inputs, None))
        seen = near if inputs.vectors is not None else None
        whole = made._sum(held, made._trust(inputs, seen))
        return replace(
            made,
            with_vectors=_scale(whole, y),
            without=_scale(text, y),
            held={name: made._standard(name, values) for name, values in held.items()},
        )

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        """The label, (n,), on its own scale."""
        scale = self.without if inputs.vectors is None else self.with_vectors
        return scale.apply(self._total(inputs))

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        """The sum, (n,), in standard scores of the labelled messages: only its order counts.

        Across folds it compares better than :meth:`predict`, whose level is the mean of the
        labels that are left, and so the lower the higher those of the held-out ones are.
        """
        return self._total(inputs)

    def nearness(self, inputs: Inputs) -> NDArray[np.float64]:
        """How much the learned parts count for each message, 0 (far from all labels) to 1."""
        return self._nearness(inputs, self._look(inputs)[1])

    def _total(self, inputs: Inputs) -> NDArray[np.float64]:
        found, near = self._look(inputs)
        return self._sum(found, self._trust(inputs, near))

    def _nearness(self, inputs: Inputs, near: NDArray[np.float64] | None) -> NDArray[np.float64]:
        whole = np.ones(len(inputs)) if near is None else _between(near, self.far)
        return whole if self.form is None else whole * self.form.weight(inputs.measures)

    def _trust(self, inputs: Inputs, near: NDArray[np.float64] | None) -> NDArray[np.float64]:
        return self._nearness(inputs, near) * (self.labels / (self.labels + _HALF))

    def _look(
        self, inputs: Inputs
    ) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64] | None]:
        """What each part says, and the cosine of the nearest labels (None: no embedding)."""
        found, near = {}, None
        for name, part in self.parts.items():
            if KINDS[name].reads_vectors and inputs.vectors is None:
                continue
            if isinstance(part, Neighbours):
                found[name], near = part.look(inputs)
            else:
                found[name] = part.predict(inputs)
        return found, near

    def _sum(
        self, found: Mapping[str, NDArray[np.float64]], learned: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        total = np.zeros(len(learned))
        for name, values in found.items():
            z = self._standard(name, values)
            part = self.weights[name] * z
            total += self.sign * part if name == "length" else learned * part
        return total

    def _standard(self, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        mean, deviation = self.spread[name]
        return np.clip((values - mean) / deviation, -_FURTHEST, _FURTHEST)


def _reach(near: NDArray[np.float64]) -> tuple[float, float]:
    """Between which cosines the learned parts fade in: nearly all labelled messages are nearer
    to the others than the upper one."""
    high, middle = (float(x) for x in np.quantile(near, (_FAR, 0.5)))
    return high - (middle - high), high


def _between(near: NDArray[np.float64], ends: tuple[float, float]) -> NDArray[np.float64]:
    low, high = ends
    if high <= low:
        return np.ones(len(near))
    return np.clip((near - low) / (high - low), 0.0, 1.0)


def _scale(total: NDArray[np.float64], y: NDArray[np.float64]) -> Scale:
    """Least squares of the labels over the sum, shrunk a little; never a negative slope."""
    centered = total - total.mean()
    slope = float(centered @ (y - y.mean())) / (float(centered @ centered) + 50.0)
    slope = max(slope, 0.0)
    return Scale(float(y.mean()) - slope * float(total.mean()), slope)
