"""The weights of a BitNet, read where they lie: in the mapped file, in the file's own packing.

A ternary matrix takes two bits a weight and would take sixteen times that as float32, so nothing is
expanded at load. A matrix is unpacked a few rows at a time when it is multiplied, in a piece that
stays in the cache of a core. Processes that use one file share its pages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.decoder import Ids
from aiki_kernel.models.engine import Floats
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.memory import refuse_if_too_large
from aiki_kernel.models.quants import KNOWN, Bytes, Quant, dequantize, split, tensor_scale
from aiki_kernel.models.shape import Shape, frequencies
from aiki_kernel.models.ternary import packing_of

_PIECE = 1 << 18  # weights unpacked at once, 1 MiB as float32
_MOST_PIECES = 16


@dataclass(frozen=True)
class PackedMatrix:
    """``rows`` x ``columns`` weights as the file stores them; ``scale`` multiplies all."""

    blocks: Bytes  # (rows * columns / quant.block, quant.nbytes), a view of the file
    quant: Quant
    rows: int
    columns: int
    scale: np.float32

    @classmethod
    def read(cls, file: GGUF, name: str, rows: int, columns: int) -> PackedMatrix:
        """Raises :class:`ModelError` when the tensor is missing or has another shape."""
        tensor = file.tensor(name)
        if tensor.shape != (rows, columns):
            raise ModelError(
                f"{file.path.name}: {name!r} is {tensor.shape} and must be {(rows, columns)}: "
                "fetch it again."
            )
        if tensor.quant.name not in KNOWN:
            dequantize(file.raw(name), tensor.quant)  # refuses it, by name
        raw = file.raw(name)
        scale = tensor_scale(raw, tensor.quant) * _beside(file, name)
        return cls(split(raw, tensor.quant)[0], tensor.quant, rows, columns, np.float32(scale))

    def times(self, x: Floats) -> Floats:
        """``x @ matrix.T`` of ``x`` (tokens, columns): float32 (tokens, rows).

        Integers up to 127 times ternary codes sum exactly, in whatever order they are added.
        """
        product = np.empty((len(x), self.rows), np.float32)
        # Many tokens make the product the work: fewer, larger ones keep BLAS busy.
        step = max(1, _PIECE * min(len(x), _MOST_PIECES) // self.columns)
        packing = packing_of(self.quant)
        if packing is not None:
            grouped = x.reshape(len(x), -1, self.quant.block)
            x = np.ascontiguousarray(grouped[..., packing.order]).reshape(x.shape)
            room = np.empty((step * self.columns // self.quant.block, self.quant.block), np.float32)
        for start in range(0, self.rows, step):
            end = min(start + step, self.rows)
            blocks, scale = self._blocks(start, end), None
            if packing is not None:
                found = packing.codes(blocks, room)
                scale = packing.block_scales(blocks)
                if scale is not None and (scale != scale[0]).any():
                    found *= scale[:, None]
                    scale = None
            else:
                found = self.quant.decode(blocks)
            part = product[:, start:end]
            np.matmul(x, found.reshape(end - start, self.columns).T, out=part)
            if scale is not None:
                part *= scale[0]
        product *= self.scale
        return product

    def take(self, rows: Ids) -> Floats:
        """Chosen rows as float32 (len(rows), columns)."""
        found = np.concatenate([self._rows(int(row), int(row) + 1) for row in rows])
        found *= self.scale
        return found

    def _rows(self, start: int, end: int) -> Floats:
        return self.quant.decode(self._blocks(start, end)).reshape(end - start, self.columns)

    def _blocks(self, start: int, end: int) -> Bytes:
        per_row = self.columns // self.quant.block
        return self.blocks[start * per_row : end * per_row]


@dataclass(frozen=True)
class BitNetLayer:
    attention_norm: Floats  # (width,)
    query: PackedMatrix  # (heads*head, width)
    key: PackedMatrix  # (kv_heads*head, width)
    value: PackedMatrix
    attention_sub_norm: Floats  # (heads*head,)
    output: PackedMatrix  # (width, heads*head)
    ffn_norm: Floats  # (width,)
    gate: PackedMatrix  # (hidden, width)
    up: PackedMatrix
    ffn_sub_norm: Floats  # (hidden,)
    down: PackedMatrix  # (width, hidden)


@dataclass(frozen=True)
class BitNetWeights:
    """Everything that a forward pass reads."""

    shape: Shape
    embedding: PackedMatrix  # (vocabulary, width)
    layers: tuple[BitNetLayer, ...]
    final_norm: Floats
    head: PackedMatrix  # the embedding itself where the model ties them
    frequencies: npt.NDArray[np.float64]

    @classmethod
    def read(cls, file: GGUF) -> BitNetWeights:
        """Raises :class:`ModelError` for a missing, odd or unknown tensor, and for no memory."""
        shape = Shape.of(file)
        refuse_if_too_large(file.path.name, sum(t.nbytes for t in file.tensors.values()))
        used: set[str] = {"rope_freqs.weight"}

        def matrix(name: str, rows: int, columns: int) -> PackedMatrix:
            used.update((name, _scale_name(name)))
            return PackedMatrix.read(file, name, rows, columns)

        def vector(name: str, length: int) -> Floats:
            used.add(name)
            return _vector(file, name, length)

        query, key = shape.heads * shape.head, shape.kv_heads * shape.head
        layers = []
        for number in range(shape.layers):
            block = f"blk.{number}."
            layers.append(
                BitNetLayer(
                    attention_norm=vector(block + "attn_norm.weight", shape.width),
                    query=matrix(block + "attn_q.weight", query, shape.width),
                    key=matrix(block + "attn_k.weight", key, shape.width),
                    value=matrix(block + "attn_v.weight", key, shape.width),
                    attention_sub_norm=vector(block + "attn_sub_norm.weight", query),
                    output=matrix(block + "attn_output.weight", shape.width, query),
                    ffn_norm=vector(block + "ffn_norm.weight", shape.width),
                    gate=matrix(block + "ffn_gate.weight", shape.hidden, shape.width),
                    up=matrix(block + "ffn_up.weight", shape.hidden, shape.width),
                    ffn_sub_norm=vector(block + "ffn_sub_norm.weight", shape.hidden),
                    down=matrix(block + "ffn_down.weight", shape.width, shape.hidden),
                )
            )
        embedding = matrix("token_embd.weight", shape.vocabulary, shape.width)
        head = embedding
        if "output.weight" in file.tensors:
            head = matrix("output.weight", shape.vocabulary, shape.width)
        final_norm = vector("output_norm.weight", shape.width)
        left = sorted({*file.tensors} - used)
        if left:
            raise ModelError(
                f"{file.path.name} has tensors that this engine does not know "
                f"({left[0]!r}, {len(left)} in all): choose another file."
            )
        return cls(shape, embedding, tuple(layers), final_norm, head, frequencies(file, shape))


def _scale_name(name: str) -> str:
    return name.removesuffix(".weight") + ".scale"


def _beside(file: GGUF, name: str) -> np.float32:
    """The scale that some converters store as a tensor of its own; 1 where there is none."""
    beside = _scale_name(name)
    if beside not in file.tensors:
        return np.float32(1)
    return np.float32(_vector(file, beside, 1)[0])


def _vector(file: GGUF, name: str, length: int) -> Floats:
    tensor = file.tensor(name)
    if tensor.shape != (length,):
        raise ModelError(
            f"{file.path.name}: {name!r} is {tensor.shape} and must be {(length,)}: fetch it again."
        )
    return dequantize(file.raw(name), tensor.quant)
