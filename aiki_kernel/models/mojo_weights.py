"""The weights of a model in the kernels' layout: one arena, and a plan of where things lie.

The plan is what ``open`` of ``mojo/language/native_language.mojo`` takes: int64 words, a header
of 16, four words a matrix (place, format, rows, columns), one a vector (place). Whoever changes it
or a format raises :data:`LAYOUT`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.arena_file import ArenaFile
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.memory import refuse_if_too_large
from aiki_kernel.models.quants import Bytes, dequantize, split
from aiki_kernel.models.shape import LLAMA, Shape, frequencies
from aiki_kernel.models.tiles import BLOCK, FORMATS, repack, tile_bytes

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

    @classmethod
    def read(cls, file: GGUF, stored: ArenaFile | None = None) -> MojoWeights:
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
        )


class _Layout:
    """Places of all matrices and vectors in the arena, in the order of the plan."""

    def __init__(self, file: GGUF, shape: Shape) -> None:
        self._file, self._shape = file, shape
        self.size = 0
        self.read_bytes = 0
        self._matrices: list[tuple[str, int, int, int]] = []  # name, place, rows, columns
        self._vectors: list[tuple[str, int]] = []
        self._unused = set(file.tensors) - {"rope_freqs.weight"}
        if shape.architecture != LLAMA:
            raise UnsupportedError(f"the kernels do not run {shape.architecture}")
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
        self._vector("output_norm.weight")
        for number in range(shape.layers):
            self._vector(f"blk.{number}.attn_norm.weight")
            self._vector(f"blk.{number}.ffn_norm.weight")
        if self._unused:
            raise ModelError(
                f"{file.path.name} has tensors that this engine does not know "
                f"({min(self._unused)!r}, {len(self._unused)} in all): choose another file."
            )
        matrices = {name: (rows, columns) for name, _, rows, columns in self._matrices[1:]}
        self.read_bytes = sum(
            tile_bytes(file.tensor(name).quant, *size) for name, size in matrices.items()
        )

    def plan(self) -> Plan:
        """The words for ``open``."""
        shape = self._shape
        words = [
            *(shape.layers, shape.width, shape.hidden, shape.heads, shape.kv_heads, shape.head),
            *(shape.rotary, shape.vocabulary),
            struct.unpack("<i", struct.pack("<f", shape.epsilon))[0],
        ]
        words += [0] * (_HEADER - len(words))
        for name, place, rows, columns in self._matrices:
            number = FORMATS[self._file.tensor(name).quant.name][0].number
            words += [place, number, rows, columns]
        words += [place for _, place in self._vectors]
        return np.array(words, np.int64)

    def fill(self, arena: Bytes) -> None:
        """Repack everything into ``arena``, uint8 (size,)."""
        for name, place, rows, columns in dict.fromkeys(self._matrices):
            tensor = self._file.tensor(name)
            blocks, _ = split(self._file.raw(name), tensor.quant)
            if name.endswith(("attn_q.weight", "attn_k.weight")):
                blocks = _in_halves(blocks, self._shape, rows)
            room = arena[place : place + tile_bytes(tensor.quant, rows, columns)]
            repack(blocks, tensor.quant, rows, columns, room)
        for name, place in self._vectors:
            tensor = self._file.tensor(name)
            floats = arena[place : place + 4 * self._shape.width].view(np.float32)
            dequantize(self._file.raw(name), tensor.quant, floats)

    def _matrix(self, name: str, rows: int, columns: int) -> None:
        self._expect(name, (rows, columns))
        quant = self._file.tensor(name).quant
        if quant.name not in FORMATS:
            raise UnsupportedError(f"the kernels cannot read {quant.name}")
        self._matrices.append((name, self._take(tile_bytes(quant, rows, columns)), rows, columns))

    def _vector(self, name: str) -> None:
        self._expect(name, (self._shape.width,))
        self._vectors.append((name, self._take(4 * self._shape.width)))

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
