"""The Llama architecture in NumPy, float32 throughout: slow, plain and certain.

Grouped-query attention, rotary positions, RMSNorm, SwiGLU, a head that may be tied to the
embedding. Every matrix is contiguous float32 (out, in), so a layer is four BLAS calls and attention
two. The file's own weights are the only approximation.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.arena_file import ArenaFile
from aiki_kernel.models.blas import set_threads
from aiki_kernel.models.engine import CancelledError, DecodeState, Floats
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.llama_weights import LlamaWeights, Shape

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


class Llama:
    """A :class:`~aiki_kernel.models.engine.LanguageModel` on NumPy."""

    engine_name = "numpy"

    def __init__(self, file: GGUF, *, threads: int = 0, stored: ArenaFile | None = None) -> None:
        """Read the weights of ``file``, or map the ``stored`` ones. Raises :class:`ModelError`.

        What was computed is stored for the next load while the model already answers.
        """
        self._weights = LlamaWeights.read(file, stored)
        self.shape = shape = self._weights.shape
        self.threads = set_threads(threads)
        query, key = shape.heads * shape.head, shape.kv_heads * shape.head
        self._splits = (query, query + key)
        self.storing: threading.Thread | None = None
        if stored is not None and not self.mapped:
            self.storing = stored.write_later(self._weights.room)

    @property
    def mapped(self) -> bool:
        """Whether the weights are those an earlier load has stored."""
        return self._weights.mapped

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
                hidden = self._pass(chunk, state, cancelled)
                state.length += len(chunk)
        last = _rms_norm(hidden[-1:], self._weights.final_norm, self.shape.epsilon)
        scores: Floats = _times(last, self._weights.head)[0]
        return scores

    def _pass(self, ids: npt.NDArray[np.int64], state: KeyValues, stop: threading.Event) -> Floats:
        """One chunk through all layers: hidden states, float32 (tokens, width)."""
        shape, start, count = self.shape, state.length, len(ids)
        end = start + count
        angles = np.arange(start, end, dtype=np.float64)[:, None] * self._weights.frequencies
        cosine = np.cos(angles).astype(np.float32)[:, None, :]
        sine = np.sin(angles).astype(np.float32)[:, None, :]
        mask = np.triu(np.full((count, count), -np.inf, np.float32), 1) if count > 1 else None
        x = self._weights.embedding[ids]
        for number, layer in enumerate(self._weights.layers):
            if stop.is_set():
                raise CancelledError
            mixed = _times(_rms_norm(x, layer.attention_norm, shape.epsilon), layer.qkv)
            query, key, value = np.split(mixed, self._splits, axis=1)
            query = _rotate(query.reshape(count, -1, shape.head), cosine, sine, shape.rotary)
            key = _rotate(key.reshape(count, -1, shape.head), cosine, sine, shape.rotary)
            state.keys[number, :, start:end] = key.transpose(1, 0, 2)
            state.values[number, :, start:end] = value.reshape(count, -1, shape.head).transpose(
                1, 0, 2
            )
            seen = _attend(query, state.keys[number, :, :end], state.values[number, :, :end], mask)
            x += _times(seen, layer.output)
            both = _times(_rms_norm(x, layer.ffn_norm, shape.epsilon), layer.gate_up)
            x += _times(_swiglu(both), layer.down)
        return x


def _times(x: Floats, weight: Floats) -> Floats:
    """``x @ weight.T``; one row is a matrix-vector product, which BLAS does differently."""
    product: Floats = (weight @ x[0])[None] if len(x) == 1 else x @ weight.T
    return product


def _rms_norm(x: Floats, weight: Floats, epsilon: float) -> Floats:
    mean = np.einsum("ij,ij->i", x, x)[:, None] / np.float32(x.shape[1])
    scaled: Floats = x * (1 / np.sqrt(mean + np.float32(epsilon))) * weight
    return scaled


def _rotate(x: Floats, cosine: Floats, sine: Floats, rotary: int) -> Floats:
    """Rotate the first ``rotary`` values of each head; ``x`` is (tokens, heads, head)."""
    half = rotary // 2
    first, second = x[..., :half], x[..., half:rotary]
    turned = np.empty_like(x)
    turned[..., :half] = first * cosine - second * sine
    turned[..., half:rotary] = first * sine + second * cosine
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


def _swiglu(both: Floats) -> Floats:
    """``silu(gate) * up`` of (tokens, 2*hidden): the gate stands first."""
    hidden = both.shape[1] // 2
    gate, up = both[:, :hidden], both[:, hidden:]
    denominator: Floats = np.exp(-gate)
    denominator += np.float32(1)
    result: Floats = gate / denominator * up
    return result
