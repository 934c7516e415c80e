"""An encoder's weights as the kernels want them: 8 bits, in panels, one image.

Each output has its own scale. Columns of activations that grow large are divided, and those of
the weights multiplied, by a number that puts half of the difference on either side (SmoothQuant,
arXiv 2211.10438): sentence encoders have a few such columns, and they would cost the others
their precision. How large the columns grow is seen when the kernels encode a few texts.
"""

from __future__ import annotations

import numpy as np

from aiki_kernel.compute.encoder import Floats, Linear, Norm, Shape, Weights

LAYOUT = 1  # raise it whenever the order or the meaning of the bytes changes
PANEL = 64
LINE = 64


def image_bytes(shape: Shape) -> int:
    """Length of an image."""
    w, f = shape.width, shape.feed

    def linear(inputs: int, outputs: int) -> int:
        return 4 * inputs + 12 * outputs + inputs * outputs

    layer = linear(w, 3 * w) + linear(w, w) + linear(w, f) + linear(f, w) + 16 * w
    return LINE + 4 * (shape.positions + 2) * w + shape.layers * layer


def image_of(weights: Weights, tops: Floats | None = None) -> bytearray:
    """Pack the weights. ``tops`` (layers, 2, width) has the largest magnitudes of the columns that
    ``mix`` and ``widen`` multiply; without it columns are left as they are.
    """
    shape = weights.shape
    made = bytearray(np.array([shape.epsilon], np.float32).tobytes())
    made += bytes(LINE - len(made))
    made += weights.places.tobytes() + _norm(weights.norm)
    queries = np.ones(3 * shape.width, np.float32)
    queries[: shape.width] = np.log2(np.e) / np.sqrt(shape.width // shape.heads)
    for number in range(shape.layers):
        layer = weights.layer(number)
        made += _linear(layer.mix, None if tops is None else tops[number, 0], queries)
        made += _linear(layer.join, None)
        made += _norm(layer.norm_1)
        made += _linear(layer.widen, None if tops is None else tops[number, 1])
        made += _linear(layer.narrow, None)
        made += _norm(layer.norm_2)
    return made


def _norm(norm: Norm) -> bytes:
    return norm.weight.tobytes() + norm.bias.tobytes()


def _linear(linear: Linear, top: Floats | None, factor: Floats | None = None) -> bytes:
    """One matrix; ``factor`` multiplies its outputs."""
    weight = linear.weight
    outputs, inputs = weight.shape
    balance = np.ones(inputs, np.float32)
    if top is not None:
        balance = np.sqrt(np.maximum(top, 1e-3) / np.maximum(np.abs(weight).max(axis=0), 1e-3))
        balance /= np.exp(np.log(balance).mean())
    weight = weight * balance
    scale = np.maximum(np.abs(weight).max(axis=1), 1e-12) / np.float32(127)
    codes = np.rint(weight / scale[:, None]).astype(np.int8)
    if factor is None:
        factor = np.ones(outputs, np.float32)
    sums = codes.sum(axis=1, dtype=np.int32)
    parts = [1 / balance, linear.bias * factor, scale * factor, scale * factor * sums]
    panels = codes.reshape(outputs // PANEL, PANEL, inputs // 4, 4).transpose(0, 2, 1, 3)
    floats = np.concatenate(parts).astype(np.float32)
    return bytes(floats.tobytes() + panels.tobytes())
