"""The Llama architecture in NumPy, float32 throughout: slow, plain and certain.

Grouped-query attention, rotary positions, RMSNorm, SwiGLU, a head that may be tied to the
embedding. Each weight matrix is one contiguous float32 array of (out, in) as it stands in the
file, query/key/value and gate/up joined, so that a layer is four BLAS calls and attention two.

GGUF stores the query and key rows of this architecture interleaved, so that rotation pairs
neighbours. They are put back into halves once, at load: scores do not change when both sides
are permuted alike, and halves are contiguous.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.blas import set_threads
from aiki_kernel.models.engine import CancelledError, DecodeState, Floats
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.quants import dequantize

PREFILL_CHUNK = 128  # tokens a pass; more gains nothing here, and scores grow with it
_FIRST_CAPACITY = 256


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama model, as its file states them."""

    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    rotary: int
    vocabulary: int
    context: int
    epsilon: float
    base: float

    @classmethod
    def of(cls, file: GGUF) -> Shape:
        """Read and check. Raises :class:`ModelError` for what cannot be run here."""
        name = file.path.name
        kind = file.get("general.architecture", str)
        if kind != "llama":
            raise ModelError(
                f"{name} has the architecture {kind!r}; this engine runs 'llama': choose another "
                "file, or serve it elsewhere and add an endpoint to aiki.toml."
            )
        if file.get("llama.expert_count", int, 0):
            raise ModelError(f"{name} is a mixture of experts: this engine runs dense models.")
        scaling = file.get("llama.rope.scaling.type", str, "none")
        if scaling not in ("none", "linear"):
            raise ModelError(f"{name} scales its positions by {scaling!r}: choose another file.")
        width = file.get("llama.embedding_length", int)
        heads = file.get("llama.attention.head_count", int)
        rows = file.tensor("token_embd.weight").shape
        head = file.get("llama.attention.key_length", int, width // max(heads, 1))
        shape = cls(
            layers=file.get("llama.block_count", int),
            width=width,
            hidden=file.get("llama.feed_forward_length", int),
            heads=heads,
            kv_heads=file.get("llama.attention.head_count_kv", int, heads),
            head=head,
            rotary=file.get("llama.rope.dimension_count", int, head),
            vocabulary=rows[0],
            context=file.get("llama.context_length", int),
            epsilon=file.get("llama.attention.layer_norm_rms_epsilon", float),
            base=file.get("llama.rope.freq_base", float, 10000.0),
        )
        sizes = (shape.layers, width, shape.hidden, heads, shape.kv_heads, head, shape.context)
        if (
            min(sizes) < 1
            or heads % shape.kv_heads
            or shape.layers > len(file.tensors)
            or rows != (shape.vocabulary, width)
            or not 0 <= shape.rotary <= head
            or shape.rotary % 2
            or not 0 < shape.epsilon < 1
            or not 1 < shape.base < 1e12
            or file.get("llama.attention.value_length", int, head) != head
        ):
            raise ModelError(f"{name} states sizes that contradict each other: fetch it again.")
        return shape


@dataclass(frozen=True)
class _Layer:
    attention_norm: Floats  # (width,)
    qkv: Floats  # (heads*head + 2*kv_heads*head, width)
    output: Floats  # (width, heads*head)
    ffn_norm: Floats  # (width,)
    gate_up: Floats  # (2*hidden, width)
    down: Floats  # (width, hidden)


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

    def __init__(self, file: GGUF, *, threads: int = 0) -> None:
        """Dequantise the weights of ``file``: 4 bytes a weight of memory.

        Raises :class:`ModelError` when a tensor is missing or has another shape.
        """
        self.shape = shape = Shape.of(file)
        self.threads = set_threads(threads)
        query, key = shape.heads * shape.head, shape.kv_heads * shape.head
        self._splits = (query, query + key)
        reader = _Weights(file)
        order = _halves(shape)
        self._embedding = reader.matrix(shape.width, ("token_embd.weight", shape.vocabulary))
        self._layers = []
        for number in range(shape.layers):
            prefix = f"blk.{number}."
            qkv = reader.matrix(
                shape.width,
                (prefix + "attn_q.weight", query),
                (prefix + "attn_k.weight", key),
                (prefix + "attn_v.weight", key),
            )
            rotated = qkv[: query + key].reshape(-1, shape.head, shape.width)
            rotated[:] = rotated[:, order]
            self._layers.append(
                _Layer(
                    reader.vector(prefix + "attn_norm.weight", shape.width),
                    qkv,
                    reader.matrix(query, (prefix + "attn_output.weight", shape.width)),
                    reader.vector(prefix + "ffn_norm.weight", shape.width),
                    reader.matrix(
                        shape.width,
                        (prefix + "ffn_gate.weight", shape.hidden),
                        (prefix + "ffn_up.weight", shape.hidden),
                    ),
                    reader.matrix(shape.hidden, (prefix + "ffn_down.weight", shape.width)),
                )
            )
        self._final_norm = reader.vector("output_norm.weight", shape.width)
        self._head = (
            reader.matrix(shape.width, ("output.weight", shape.vocabulary))
            if "output.weight" in file.tensors
            else self._embedding
        )
        reader.refuse_unused()
        self._frequencies = _frequencies(file, shape)

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
        last = _rms_norm(hidden[-1:], self._final_norm, self.shape.epsilon)
        return _times(last, self._head)[0]

    def _pass(self, ids: npt.NDArray[np.int64], state: KeyValues, stop: threading.Event) -> Floats:
        """One chunk through all layers: hidden states, float32 (tokens, width)."""
        shape, start, count = self.shape, state.length, len(ids)
        end = start + count
        angles = np.arange(start, end, dtype=np.float64)[:, None] * self._frequencies
        cosine = np.cos(angles).astype(np.float32)[:, None, :]
        sine = np.sin(angles).astype(np.float32)[:, None, :]
        mask = np.triu(np.full((count, count), -np.inf, np.float32), 1) if count > 1 else None
        x = self._embedding[ids]
        for number, layer in enumerate(self._layers):
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


class _Weights:
    """Takes tensors out of a file and notices those that nobody asked for."""

    def __init__(self, file: GGUF) -> None:
        self._file = file
        self._used: set[str] = {"rope_freqs.weight"}

    def matrix(self, columns: int, *parts: tuple[str, int]) -> Floats:
        """Named tensors of ``rows`` each, joined below one another: float32 (rows, columns)."""
        for name, rows in parts:
            self._expect(name, (rows, columns))
        out = np.empty((sum(rows for _, rows in parts), columns), np.float32)
        start = 0
        for name, rows in parts:
            dequantize(
                self._file.raw(name), self._file.tensor(name).quant, out[start : start + rows]
            )
            start += rows
        return out

    def vector(self, name: str, length: int) -> Floats:
        self._expect(name, (length,))
        return dequantize(self._file.raw(name), self._file.tensor(name).quant)

    def refuse_unused(self) -> None:
        """A tensor left over means a model that would be computed wrongly."""
        left = sorted(set(self._file.tensors) - self._used)
        if left:
            raise ModelError(
                f"{self._file.path.name} has tensors that this engine does not know "
                f"({left[0]!r} and {len(left) - 1} more): choose another file."
            )

    def _expect(self, name: str, shape: tuple[int, ...]) -> None:
        found = self._file.tensor(name).shape
        if found != shape:
            raise ModelError(
                f"{self._file.path.name}: {name!r} is {found} and must be {shape}: fetch it again."
            )
        self._used.add(name)


def _halves(shape: Shape) -> npt.NDArray[np.int64]:
    """Row order within a head that turns neighbouring pairs into two halves."""
    pairs = np.arange(shape.rotary).reshape(-1, 2).T.reshape(-1)
    return np.concatenate([pairs, np.arange(shape.rotary, shape.head)])


def _frequencies(file: GGUF, shape: Shape) -> npt.NDArray[np.float64]:
    """Rotation in radians a position, (rotary/2,); with the file's own corrections."""
    inverse = shape.base ** (
        -np.arange(0, shape.rotary, 2, dtype=np.float64) / max(shape.rotary, 1)
    )
    if "rope_freqs.weight" in file.tensors:
        factors = _Weights(file).vector("rope_freqs.weight", shape.rotary // 2)
        inverse = inverse / factors
    if file.get("llama.rope.scaling.type", str, "none") == "linear":
        inverse = inverse / file.get("llama.rope.scaling.factor", float, 1.0)
    if not np.isfinite(inverse).all():
        raise ModelError(f"{file.path.name} has unusable position factors: fetch it again.")
    return inverse


def _times(x: Floats, weight: Floats) -> Floats:
    """``x @ weight.T``; one row is a matrix-vector product, which BLAS does differently."""
    if len(x) == 1:
        return (weight @ x[0])[None]
    return x @ weight.T


def _rms_norm(x: Floats, weight: Floats, epsilon: float) -> Floats:
    mean = np.einsum("ij,ij->i", x, x)[:, None] / np.float32(x.shape[1])
    return x * (1 / np.sqrt(mean + np.float32(epsilon))) * weight


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
    scores = grouped.reshape(len(keys), groups * count, head) @ keys.transpose(0, 2, 1)
    scores *= np.float32(head**-0.5)
    if mask is not None:
        scores.reshape(len(keys), groups, count, -1)[..., -count:] += mask
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    seen = (scores @ values).reshape(len(keys), groups, count, head)
    return seen.transpose(2, 0, 1, 3).reshape(count, heads * head)


def _swiglu(both: Floats) -> Floats:
    """``silu(gate) * up`` of (tokens, 2*hidden): the gate stands first."""
    gate, up = np.split(both, 2, axis=1)
    denominator = np.exp(-gate)
    denominator += 1
    result = gate / denominator
    result *= up
    return result
