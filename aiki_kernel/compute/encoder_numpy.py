"""The encoder in NumPy and float32: slow, plain, and the judge of the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.encoder import Floats, Ids, Norm, Weights

Observer = Callable[[int, str, Floats], None]


def gelu(x: Floats) -> Floats:
    """``x`` times the normal distribution function, by Abramowitz and Stegun 7.1.26 (error of
    the error function under 1.5e-7).
    """
    z = np.abs(x) * np.float32(2**-0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    p = np.float32(1.061405429) * t + np.float32(-1.453152027)
    for c in (1.421413741, -0.284496736, 0.254829592):
        p = p * t + np.float32(c)
    tail = 0.5 * p * t * np.exp(-z * z)
    found: Floats = np.maximum(x, 0) - np.abs(x) * tail
    return found


def normed(x: Floats, norm: Norm, epsilon: float) -> Floats:
    """Layer norm of every row."""
    x = x - x.mean(axis=1, keepdims=True)
    scale = np.sqrt((x * x).mean(axis=1, keepdims=True) + np.float32(epsilon))
    found: Floats = x / scale * norm.weight + norm.bias
    return found


class NumpyEncoder:
    """See :class:`~aiki_kernel.compute.encoder.Encoder`. Holds all weights as float32."""

    name = "numpy"
    detail = "float32"

    def __init__(self, weights: Weights) -> None:
        self.shape, self.words = weights.shape, weights.words
        self._places, self._norm = weights.places, weights.norm
        self._layers = [weights.layer(i) for i in range(self.shape.layers)]

    def means(self, texts: Sequence[Ids]) -> Floats:
        found = np.empty((len(texts), self.shape.width), np.float32)
        for row, ids in zip(found, texts, strict=True):
            row[:] = self.states(ids).mean(axis=0)
        return found

    def states(self, ids: Ids, observe: Observer | None = None) -> Floats:
        """(n, width) float32: the last states of one text.

        ``observe`` is told the layer, the name of the matrix and what the matrix multiplies.
        """
        see = observe or (lambda layer, name, x: None)
        epsilon = self.shape.epsilon
        x = normed(self.words.rows(ids) + self._places[: len(ids)], self._norm, epsilon)
        for number, layer in enumerate(self._layers):
            see(number, "mix", x)
            mixed = self._attended(x @ layer.mix.weight.T + layer.mix.bias)
            see(number, "join", mixed)
            x = x + mixed @ layer.join.weight.T + layer.join.bias
            x = normed(x, layer.norm_1, epsilon)
            see(number, "widen", x)
            wide = gelu(x @ layer.widen.weight.T + layer.widen.bias)
            see(number, "narrow", wide)
            x = x + wide @ layer.narrow.weight.T + layer.narrow.bias
            x = normed(x, layer.norm_2, epsilon)
        return x

    def _attended(self, rows: Floats) -> Floats:
        """Softmax attention; rows are queries, keys and values side by side."""
        heads = self.shape.heads
        size = self.shape.width // heads
        q, k, v = rows.reshape(len(rows), 3, heads, size).transpose(1, 2, 0, 3)
        scores: NDArray[np.float32] = q @ k.transpose(0, 2, 1) * np.float32(size**-0.5)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        joined: Floats = (scores @ v).transpose(1, 0, 2).reshape(len(rows), -1)
        return joined
