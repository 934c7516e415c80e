"""What the NumPy engines have in common: the state, the walk over a prompt, and attention.

Float32 throughout, and plain: these engines are the judges of the fast ones.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.blas import set_threads
from aiki_kernel.models.engine import CancelledError, DecodeState, Floats
from aiki_kernel.models.shape import Shape

Ids = npt.NDArray[np.int64]

PREFILL_CHUNK = 128  # tokens a pass; more gains nothing here, and scores grow with it
_FIRST_CAPACITY = 256


class KeyValues:
    """Keys and values, ``(layers, kv_heads, capacity, head)``; capacity doubles as needed."""

    def __init__(self, shape: Shape, capacity: int = _FIRST_CAPACITY) -> None:
        self._shape = shape
        capacity = min(capacity, shape.context)
        self.keys, self.values = self._room(capacity), self._room(capacity)
        self.length = 0

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes

    def truncate(self, length: int) -> None:
        self.length = min(self.length, length)

    def fork(self, length: int) -> KeyValues:
        length = min(length, self.length)
        copy = KeyValues(self._shape, max(length + 64, _FIRST_CAPACITY))
        copy.keys[:, :, :length] = self.keys[:, :, :length]
        copy.values[:, :, :length] = self.values[:, :, :length]
        copy.length = length
        return copy

    def reserve(self, length: int) -> None:
        """Make room for ``length`` tokens in all."""
        capacity = self.keys.shape[2]
        if length <= capacity:
            return
        wider = min(max(length, 2 * capacity), self._shape.context)
        for name in ("keys", "values"):
            room = self._room(wider)
            room[:, :, : self.length] = getattr(self, name)[:, :, : self.length]
            setattr(self, name, room)

    def _room(self, capacity: int) -> Floats:
        shape = self._shape
        return np.empty((shape.layers, shape.kv_heads, capacity, shape.head), np.float32)


@dataclass(frozen=True)
class Span:
    """The tokens of one pass: where they stand, their rotations, and who may see whom."""

    start: int
    end: int
    cosine: Floats  # (tokens, 1, rotary/2)
    sine: Floats
    mask: Floats | None  # (tokens, tokens), added to scores; None for a single token

    @classmethod
    def after(cls, start: int, count: int, frequencies: npt.NDArray[np.float64]) -> Span:
        angles = np.arange(start, start + count, dtype=np.float64)[:, None] * frequencies
        hidden = np.full((count, count), -np.inf, np.float32)
        return cls(
            start,
            start + count,
            np.cos(angles).astype(np.float32)[:, None, :],
            np.sin(angles).astype(np.float32)[:, None, :],
            np.triu(hidden, 1) if count > 1 else None,
        )


class Decoder(ABC):
    """A :class:`~aiki_kernel.models.engine.LanguageModel` on NumPy, but for its layers."""

    engine_name = "numpy"

    def __init__(
        self, shape: Shape, frequencies: npt.NDArray[np.float64], *, threads: int = 0
    ) -> None:
        self.shape = shape
        self.threads = set_threads(threads)
        self._frequencies = frequencies

    @abstractmethod
    def embed(self, ids: Ids) -> Floats:
        """Rows of the embedding, as a new float32 array (tokens, width)."""

    @abstractmethod
    def layer(self, number: int, x: Floats, span: Span, state: KeyValues) -> None:
        """Add layer ``number`` to ``x`` (tokens, width), and its keys and values to ``state``."""

    @abstractmethod
    def scores(self, x: Floats) -> Floats:
        """Final norm and head of the last token (1, width): float32 (vocabulary,)."""

    @property
    def context_length(self) -> int:
        return self.shape.context

    @property
    def vocabulary(self) -> int:
        return self.shape.vocabulary

    def new_state(self) -> KeyValues:
        return KeyValues(self.shape)

    def forward(
        self, tokens: Sequence[int], state: DecodeState, cancelled: threading.Event
    ) -> Floats:
        """See :meth:`LanguageModel.forward`. ``cancelled`` is looked at in every layer."""
        if not isinstance(state, KeyValues):
            raise TypeError("the state belongs to another engine")
        ids = np.asarray(tokens, np.int64)
        if not len(ids) or ids.min() < 0 or ids.max() >= self.shape.vocabulary:
            raise ModelError("A token lies outside the vocabulary of this model.")
        start = state.length
        if start + len(ids) > self.shape.context:
            raise ModelError(
                f"The conversation is longer than the model's context of {self.shape.context} "
                "tokens: start a new session or ask for less."
            )
        state.reserve(start + len(ids))
        hidden: Floats = np.empty(0, np.float32)
        # A sum that overflows in exp becomes infinity, and the quotient then the right zero.
        with np.errstate(over="ignore"):
            for first in range(0, len(ids), PREFILL_CHUNK):
                chunk = ids[first : first + PREFILL_CHUNK]
                span = Span.after(state.length, len(chunk), self._frequencies)
                hidden = self.embed(chunk)
                for number in range(self.shape.layers):
                    if cancelled.is_set():
                        raise CancelledError
                    self.layer(number, hidden, span, state)
                state.length = span.end
        return self.scores(hidden[-1:])

    def seen(self, number: int, mixed: Floats, span: Span, state: KeyValues) -> Floats:
        """Attention of layer ``number``: (tokens, heads*head).

        ``mixed`` is (tokens, (heads + 2*kv_heads) * head): queries, keys, values. Rotates, stores
        keys and values, attends.
        """
        shape, count = self.shape, span.end - span.start
        width, key_width = shape.heads * shape.head, shape.kv_heads * shape.head
        query, key, value = np.split(mixed, (width, width + key_width), axis=1)
        query = _rotate(query.reshape(count, -1, shape.head), span, shape.rotary)
        key = _rotate(key.reshape(count, -1, shape.head), span, shape.rotary)
        keys, values = state.keys[number], state.values[number]
        keys[:, span.start : span.end] = key.transpose(1, 0, 2)
        values[:, span.start : span.end] = value.reshape(count, -1, shape.head).transpose(1, 0, 2)
        return _attend(query, keys[:, : span.end], values[:, : span.end], span.mask)


def times(x: Floats, weight: Floats) -> Floats:
    """``x @ weight.T``; one row is a matrix-vector product, which BLAS does differently."""
    product: Floats = (weight @ x[0])[None] if len(x) == 1 else x @ weight.T
    return product


def rms_norm(x: Floats, weight: Floats, epsilon: float) -> Floats:
    mean = np.einsum("ij,ij->i", x, x)[:, None] / np.float32(x.shape[1])
    scaled: Floats = x * (1 / np.sqrt(mean + np.float32(epsilon))) * weight
    return scaled


def _rotate(x: Floats, span: Span, rotary: int) -> Floats:
    """Rotate the first ``rotary`` values of each head; ``x`` is (tokens, heads, head)."""
    half = rotary // 2
    first, second = x[..., :half], x[..., half:rotary]
    turned = np.empty_like(x)
    turned[..., :half] = first * span.cosine - second * span.sine
    turned[..., half:rotary] = first * span.sine + second * span.cosine
    turned[..., rotary:] = x[..., rotary:]
    return turned


def _attend(query: Floats, keys: Floats, values: Floats, mask: Floats | None) -> Floats:
    """Causal attention. ``query`` (tokens, heads, head); ``keys`` and ``values``
    (kv_heads, seen, head).

    Returns (tokens, heads*head). ``mask`` covers the last ``tokens`` columns.
    """
    count, heads, head = query.shape
    groups = heads // len(keys)
    grouped = query.reshape(count, len(keys), groups, head).transpose(1, 2, 0, 3)
    scale = np.float32(head**-0.5)
    scores: Floats = grouped.reshape(len(keys), groups * count, head) @ keys.transpose(0, 2, 1)
    scores *= scale
    if mask is not None:
        scores.reshape(len(keys), groups, count, -1)[..., -count:] += mask
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed: Floats = scores @ values
    seen = mixed.reshape(len(keys), groups, count, head)
    return seen.transpose(2, 0, 1, 3).reshape(count, heads * head)
