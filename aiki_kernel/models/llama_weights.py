"""The weights of a Llama model, from its file into one stretch of float32 memory.

Matrices that meet the same input are joined (query/key/value, gate/up), so that each is one BLAS
call. All of them lie in one allocation, large enough for the system's huge pages where it has them,
or in one mapped file that an earlier load has left. Whoever changes their order here raises
:data:`~aiki_kernel.models.arena_file.LAYOUT`.

GGUF stores the query and key rows of this architecture interleaved, so that rotation pairs
neighbours. They are put back into halves here, once: scores do not change when both sides are
permuted alike, and halves are contiguous.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.arena_file import Stored, Untouched
from aiki_kernel.models.engine import Floats
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.memory import refuse_if_too_large
from aiki_kernel.models.quants import KNOWN, dequantize
from aiki_kernel.models.shape import Shape, frequencies

_LINE = 16  # floats of a cache line; every matrix begins on one


@dataclass(frozen=True)
class Layer:
    attention_norm: Floats  # (width,)
    qkv: Floats  # (heads*head + 2*kv_heads*head, width)
    output: Floats  # (width, heads*head)
    ffn_norm: Floats  # (width,)
    gate_up: Floats  # (2*hidden, width)
    down: Floats  # (width, hidden)


@dataclass(frozen=True)
class LlamaWeights:
    """Everything that a forward pass reads."""

    shape: Shape
    embedding: Floats  # (vocabulary, width)
    layers: tuple[Layer, ...]
    final_norm: Floats  # (width,)
    head: Floats  # (vocabulary, width); the embedding itself where the model ties them
    frequencies: npt.NDArray[np.float64]  # (rotary/2,), radians a position
    room: Floats  # (floats,): all of the above but the frequencies
    mapped: bool  # from a stored file, nothing was dequantised

    @classmethod
    def check(cls, file: GGUF) -> None:
        """Raise what :meth:`read` would, without reading a weight."""
        cls.read(file, Untouched())
        for tensor in file.tensors.values():
            if tensor.quant.name not in KNOWN:
                tensor.quant.decode(np.zeros((1, tensor.quant.nbytes), np.uint8))

    @classmethod
    def read(cls, file: GGUF, stored: Stored | None = None) -> LlamaWeights:
        """Dequantise ``file``, or map what is ``stored`` of it: 4 bytes a weight.

        Raises :class:`ModelError` when a tensor is missing, has another shape or is not known,
        and when the memory is not there.
        """
        shape = Shape.of(file)
        arena = _Arena(file, stored)
        query, key = shape.heads * shape.head, shape.kv_heads * shape.head
        order = _halves(shape)
        embedding = arena.matrix(shape.width, ("token_embd.weight", shape.vocabulary))
        layers = []
        for number in range(shape.layers):
            prefix = f"blk.{number}."
            qkv = arena.matrix(
                shape.width,
                (prefix + "attn_q.weight", query),
                (prefix + "attn_k.weight", key),
                (prefix + "attn_v.weight", key),
            )
            if not arena.mapped:
                rotated = qkv[: query + key].reshape(-1, shape.head, shape.width)
                rotated[:] = rotated[:, order]
            layers.append(
                Layer(
                    attention_norm=arena.vector(prefix + "attn_norm.weight", shape.width),
                    qkv=qkv,
                    output=arena.matrix(query, (prefix + "attn_output.weight", shape.width)),
                    ffn_norm=arena.vector(prefix + "ffn_norm.weight", shape.width),
                    gate_up=arena.matrix(
                        shape.width,
                        (prefix + "ffn_gate.weight", shape.hidden),
                        (prefix + "ffn_up.weight", shape.hidden),
                    ),
                    down=arena.matrix(shape.hidden, (prefix + "ffn_down.weight", shape.width)),
                )
            )
        final_norm = arena.vector("output_norm.weight", shape.width)
        head = (
            arena.matrix(shape.width, ("output.weight", shape.vocabulary))
            if "output.weight" in file.tensors
            else embedding
        )
        arena.leave("rope_freqs.weight")
        arena.refuse_unused()
        return cls(
            shape,
            embedding,
            tuple(layers),
            final_norm,
            head,
            frequencies(file, shape),
            arena.room,
            arena.mapped,
        )


class _Arena:
    """Takes tensors out of a file into one allocation, and notices those nobody asked for.

    With a stored arena of the same file the tensors are there already.
    """

    def __init__(self, file: GGUF, stored: Stored | None) -> None:
        self._file = file
        self._unused = set(file.tensors)
        sizes = [math.prod(tensor.shape) for tensor in file.tensors.values()]
        floats = sum(-(-size // _LINE) * _LINE for size in sizes)
        refuse_if_too_large(file.path.name, 4 * floats)
        found = None if stored is None else stored.map(floats)
        self.mapped = found is not None
        self.room: Floats = np.empty(floats, np.float32) if found is None else found
        self._taken = 0

    def matrix(self, columns: int, *parts: tuple[str, int]) -> Floats:
        """Named tensors of ``rows`` each, joined below one another: float32 (rows, columns)."""
        for name, rows in parts:
            self._expect(name, (rows, columns))
        out = self._take(sum(rows for _, rows in parts) * columns).reshape(-1, columns)
        if self.mapped:
            return out
        start = 0
        for name, rows in parts:
            tensor = self._file.tensor(name)
            dequantize(self._file.raw(name), tensor.quant, out[start : start + rows])
            start += rows
        return out

    def vector(self, name: str, length: int) -> Floats:
        self._expect(name, (length,))
        out = self._take(length)
        if self.mapped:
            return out
        return dequantize(self._file.raw(name), self._file.tensor(name).quant, out)

    def leave(self, name: str) -> None:
        """``name`` is read elsewhere, if it is there at all."""
        self._unused.discard(name)

    def refuse_unused(self) -> None:
        """A tensor left over means a model that would be computed wrongly."""
        left = sorted(self._unused)
        if left:
            raise ModelError(
                f"{self._file.path.name} has tensors that this engine does not know "
                f"({left[0]!r}, {len(left)} in all): choose another file."
            )

    def _expect(self, name: str, shape: tuple[int, ...]) -> None:
        found = self._file.tensor(name).shape
        if found != shape:
            raise ModelError(
                f"{self._file.path.name}: {name!r} is {found} and must be {shape}: fetch it again."
            )
        self._unused.discard(name)

    def _take(self, floats: int) -> Floats:
        end, start = self._taken + floats, self._taken
        self._taken += -(-floats // _LINE) * _LINE
        if not self.mapped:
            self.room[end : self._taken] = 0  # nothing of this process goes to disk with it
        return self.room[start:end]


def _halves(shape: Shape) -> npt.NDArray[np.int64]:
    """Row order within a head that turns neighbouring pairs into two halves."""
    pairs = np.arange(shape.rotary).reshape(-1, 2).T.reshape(-1)
    return np.concatenate([pairs, np.arange(shape.rotary, shape.head)])
