"""The weights of a model in the kernels' layout: one arena, and a plan of where things lie.

The plan is what ``open`` of ``mojo/language/native_language.mojo`` takes: int64 words, a header
of 16, five words a matrix (place, format, rows, columns, bits of its scale), one a vector (place,
-1 for none). Whoever changes what lies in the arena raises :data:`LAYOUT`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.arena_file import Stored
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.memory import refuse_if_too_large
from aiki_kernel.models.quants import Bytes, dequantize, split, tensor_scale
from aiki_kernel.models.shape import BITNET, LLAMA, Shape, frequencies
from aiki_kernel.models.tiles import (
    BLOCK,
    FORMATS,
    TERNARY,
    repack,
    ternary_scale,
    tile_bytes,
)

LAYOUT = 1
_LINE = 64  # bytes; matrices and vectors begin on one
_HEADER = 16

Plan = npt.NDArray[np.int64]


class UnsupportedError(ModelError):
    """The kernels cannot run this file; NumPy can."""


@dataclass(frozen=True)
class MojoWeights:
    """Everything that the kernels read."""

    shape: Shape
    plan: Plan
    arena: Bytes
    frequencies: npt.NDArray[np.float64]  # (rotary/2,), radians a position
    mapped: bool  # from a stored file, nothing was repacked
    read_bytes: int  # of matrices that every token reads
    layers_share: float  # of those, what belongs to layers: the rest is the head

    @classmethod
    def read(cls, file: GGUF, stored: Stored | None = None) -> MojoWeights:
        """Repack ``file``, or map what is ``stored`` of it.

        Raises :class:`UnsupportedError` for what only NumPy can run, :class:`ModelError` for what
        nobody can.
        """
        shape = Shape.of(file)
        layout = _Layout(file, shape)
        refuse_if_too_large(file.path.name, layout.size)
        found = None if stored is None else stored.map(layout.size // 4)
        arena = aligned(layout.size) if found is None else found.view(np.uint8)
        if found is None:
            layout.fill(arena)
        return cls(
            shape,
            layout.plan(),
            arena,
            frequencies(file, shape),
            found is not None,
            layout.read_bytes,
            1 - layout.head_bytes / layout.read_bytes,
        )


class _Layout:
    """Places of all matrices and vectors in the arena, in the order of the plan."""

    def __init__(self, file: GGUF, shape: Shape) -> None:
        self._file, self._shape = file, shape
        self.size = 0
        self.read_bytes = 0
        self._matrices: list[tuple[str, int, int, int]] = []  # name, place, rows, columns
        self._vectors: list[tuple[str, int, int]] = []  # name, place (-1: none), floats
        self._unused = set(file.tensors) - {"rope_freqs.weight"}
        width, hidden = shape.width, shape.hidden
        query, key = shape.heads * shape.head, shape.kv_heads * shape.head
        if width % BLOCK or hidden % BLOCK or query % BLOCK:
            raise UnsupportedError(f"{file.path.name} has rows that do not divide by {BLOCK}")
        self._matrix("token_embd.weight", shape.vocabulary, width)
        if "output.weight" in file.tensors:
            self._matrix("output.weight", shape.vocabulary, width)
        else:
            self._matrices.append(self._matrices[0])
        for number in range(shape.layers):
            block = f"blk.{number}."
            self._matrix(block + "attn_q.weight", query, width)
            self._matrix(block + "attn_k.weight", key, width)
            self._matrix(block + "attn_v.weight", key, width)
            self._matrix(block + "attn_output.weight", width, query)
            self._matrix(block + "ffn_gate.weight", hidden, width)
            self._matrix(block + "ffn_up.weight", hidden, width)
            self._matrix(block + "ffn_down.weight", width, hidden)
        self._vector("output_norm.weight", width)
        for number in range(shape.layers):
            self._vector(f"blk.{number}.attn_norm.weight", width)
            self._vector(f"blk.{number}.ffn_norm.weight", width)
            self._vector(f"blk.{number}.attn_sub_norm.weight", query)
            self._vector(f"blk.{number}.ffn_sub_norm.weight", hidden)
        if self._unused:
            raise ModelError(
                f"{file.path.name} has tensors that this engine does not know "
                f"({min(self._unused)!r}, {len(self._unused)} in all): choose another file."
            )
        matrices = {name: (rows, columns) for name, _, rows, columns in self._matrices[1:]}
        nbytes = {
            name: tile_bytes(file.tensor(name).quant, *size) for name, size in matrices.items()
        }
        self.read_bytes = sum(nbytes.values())
        self.head_bytes = nbytes[self._matrices[1][0]]

    def plan(self) -> Plan:
        """The words for ``open``."""
        shape = self._shape
        words = [
            *(shape.layers, shape.width, shape.hidden, shape.heads, shape.kv_heads, shape.head),
            *(shape.rotary, shape.vocabulary),
            _bits(shape.epsilon),
            int(shape.architecture == BITNET),
        ]
        words += [0] * (_HEADER - len(words))
        for name, place, rows, columns in self._matrices:
            number = FORMATS[self._file.tensor(name).quant.name][0].number
            words += [place, number, rows, columns, _bits(self._scale(name))]
        words += [place for _, place, _ in self._vectors]
        return np.array(words, np.int64)

    def fill(self, arena: Bytes) -> None:
        """Repack everything into ``arena``, uint8 (size,)."""
        for name, place, rows, columns in dict.fromkeys(self._matrices):
            tensor = self._file.tensor(name)
            blocks, _ = split(self._file.raw(name), tensor.quant)
            neighbours = self._shape.architecture == LLAMA
            if neighbours and name.endswith(("attn_q.weight", "attn_k.weight")):
                blocks = _in_halves(blocks, self._shape, rows)
            room = arena[place : place + tile_bytes(tensor.quant, rows, columns)]
            repack(blocks, tensor.quant, rows, columns, room)
        for name, place, length in self._vectors:
            if place < 0:
                continue
            tensor = self._file.tensor(name)
            floats = arena[place : place + 4 * length].view(np.float32)
            dequantize(self._file.raw(name), tensor.quant, floats)

    def _matrix(self, name: str, rows: int, columns: int) -> None:
        self._expect(name, (rows, columns))
        quant = self._file.tensor(name).quant
        if quant.name not in FORMATS:
            raise UnsupportedError(f"the kernels cannot read {quant.name}")
        ternary = FORMATS[quant.name][0] is TERNARY
        # Of a ternary model all but the head sees 8-bit activations; of others nothing does.
        inside = name.startswith("blk.")
        if ternary != (inside and self._shape.architecture == BITNET):
            raise UnsupportedError(f"{name} is {quant.name}, which the kernels do not expect there")
        self._unused.discard(name.removesuffix(".weight") + ".scale")
        self._matrices.append((name, self._take(tile_bytes(quant, rows, columns)), rows, columns))

    def _scale(self, name: str) -> float:
        """What a ternary matrix is multiplied by; 1 for others."""
        tensor = self._file.tensor(name)
        if FORMATS[tensor.quant.name][0] is not TERNARY:
            return 1.0
        raw = self._file.raw(name)
        shared = ternary_scale(split(raw, tensor.quant)[0], tensor.quant)
        if shared is None:
            raise UnsupportedError(f"the blocks of {name} have different scales")
        beside = name.removesuffix(".weight") + ".scale"
        if beside in self._file.tensors:
            self._expect(beside, (1,))
            other = self._file.tensor(beside)
            shared *= float(dequantize(self._file.raw(beside), other.quant)[0])
        return shared * float(tensor_scale(raw, tensor.quant))

    def _vector(self, name: str, length: int) -> None:
        if "_sub_norm" in name and self._shape.architecture != BITNET:
            self._vectors.append((name, -1, 0))
            return
        self._expect(name, (length,))
        self._vectors.append((name, self._take(4 * length), length))

    def _take(self, nbytes: int) -> int:
        place = self.size
        self.size += -(-nbytes // _LINE) * _LINE
        return place

    def _expect(self, name: str, shape: tuple[int, ...]) -> None:
        found = self._file.tensor(name).shape
        if found != shape:
            raise ModelError(
                f"{self._file.path.name}: {name!r} is {found} and must be {shape}: fetch it again."
            )
        self._unused.discard(name)


def _bits(number: float) -> int:
    """The bits of a float32 as an int32."""
    return int(struct.unpack("<i", struct.pack("<f", number))[0])


def _in_halves(blocks: Bytes, shape: Shape, rows: int) -> Bytes:
    """Rows of each head in the order that rotates halves instead of neighbours."""
    pairs = np.arange(shape.rotary).reshape(-1, 2).T.reshape(-1)
    order = np.concatenate([pairs, np.arange(shape.rotary, shape.head)])
    heads = blocks.reshape(rows // shape.head, shape.head, -1)
    return heads[:, order].reshape(blocks.shape)


def aligned(nbytes: int) -> Bytes:
    """Zeros that begin on a cache line, uint8 (nbytes,)."""
    room = np.zeros(nbytes + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    return room[start : start + nbytes]
