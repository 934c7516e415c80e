"""The tensor types of GGUF that can be read, and how each becomes float32.

A quantised row is cut into blocks; a block holds one or two half-precision scales and small
integers. Layouts: ``ggml/src/ggml-common.h`` and ``ggml-quants.c`` of the ggml project. Every
function takes blocks as ``uint8 (n, nbytes)`` and returns ``float32 (n, block)``; the tests hold
them against the ``gguf`` package on random blocks.

I2_S is Microsoft's own (``src/ggml-bitnet-mad.cpp`` of the BitNet project): ternary codes and,
behind the last block, one float32 scale for the whole tensor in 32 bytes of their own. Files do not
say which build packed them; read here is what the x86 builds write (blocks of 128), as the
published files are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# Blocks are worked on in pieces whose float32 form stays in the cache of one core.
_PIECE = 1 << 17


@dataclass(frozen=True)
class Quant:
    """A tensor type: ``block`` weights take ``nbytes`` bytes in the file.

    ``tail`` bytes follow the last block of a tensor and begin with a float32 that multiplies all
    its weights.
    """

    name: str
    block: int
    nbytes: int
    decode: Callable[[Bytes], Floats]
    tail: int = 0

    def stored(self, weights: int) -> int:
        """Bytes that a tensor of so many weights takes (whole blocks)."""
        return weights // self.block * self.nbytes + self.tail


def dequantize(raw: Bytes, quant: Quant, out: Floats | None = None) -> Floats:
    """A whole tensor's stored bytes to float32, flat; written into ``out`` when it is given.

    ``out`` must be contiguous and hold exactly as many values as ``raw`` encodes.
    """
    blocks = split(raw, quant)[0]
    scale = tensor_scale(raw, quant)
    if out is None:
        out = np.empty(len(blocks) * quant.block, np.float32)
    target = out.reshape(-1, quant.block)
    step = max(1, _PIECE // quant.block)
    for start in range(0, len(blocks), step):
        target[start : start + step] = quant.decode(blocks[start : start + step])
        if quant.tail:
            target[start : start + step] *= scale
    return out


def split(raw: Bytes, quant: Quant) -> tuple[Bytes, Bytes]:
    """A tensor's stored bytes as blocks ``(n, nbytes)`` and what follows them."""
    end = len(raw) - quant.tail
    return raw[:end].reshape(-1, quant.nbytes), raw[end:]


def tensor_scale(raw: Bytes, quant: Quant) -> np.float32:
    """What all weights of a tensor are multiplied by beyond the scales in its blocks."""
    if not quant.tail:
        return np.float32(1)
    return np.float32(np.ascontiguousarray(split(raw, quant)[1][:4]).view(np.float32)[0])


def half_at(blocks: Bytes, start: int) -> Floats:
    """A half-precision number in each block, as a column."""
    column = np.ascontiguousarray(blocks[:, start : start + 2])
    return column.view(np.float16).astype(np.float32)


def nibbles(packed: Bytes) -> Bytes:
    """``(n, k)`` bytes to ``(n, 2k)``: all low halves, then all high halves."""
    count, width = packed.shape
    values = np.empty((count, 2 * width), np.uint8)
    np.bitwise_and(packed, 15, out=values[:, :width])
    np.right_shift(packed, 4, out=values[:, width:])
    return values


def _f32(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view(np.float32)


def _f16(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view(np.float16).astype(np.float32)


def _bf16(blocks: Bytes) -> Floats:
    wide = np.ascontiguousarray(blocks).view(np.uint16).astype(np.uint32)
    return (wide << np.uint32(16)).view(np.float32)


def _q8_0(blocks: Bytes) -> Floats:
    values = blocks[:, 2:].view(np.int8).astype(np.float32)
    values *= half_at(blocks, 0)
    return values


def _q4_0(blocks: Bytes) -> Floats:
    values = nibbles(blocks[:, 2:]).astype(np.float32)
    values -= 8
    values *= half_at(blocks, 0)
    return values


def _q4_1(blocks: Bytes) -> Floats:
    values = nibbles(blocks[:, 4:]).astype(np.float32)
    values *= half_at(blocks, 0)
    values += half_at(blocks, 2)
    return values


def fifth_bits(packed: Bytes) -> Bytes:
    """Four bytes a block, one bit a weight, to ``(n, 32)`` of 0 or 16."""
    return np.left_shift(np.unpackbits(packed, axis=1, bitorder="little"), 4, dtype=np.uint8)


def _q5_0(blocks: Bytes) -> Floats:
    values = (nibbles(blocks[:, 6:]) | fifth_bits(blocks[:, 2:6])).astype(np.float32)
    values -= 16
    values *= half_at(blocks, 0)
    return values


def _q5_1(blocks: Bytes) -> Floats:
    values = (nibbles(blocks[:, 8:]) | fifth_bits(blocks[:, 4:8])).astype(np.float32)
    values *= half_at(blocks, 0)
    values += half_at(blocks, 2)
    return values


def six_bit_scales(packed: Bytes) -> tuple[Floats, Floats]:
    """Twelve bytes a block to eight scales and eight minima of six bits each."""
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=1)
    minima = np.concatenate([middle & 63, (high >> 4) | ((middle >> 6) << 4)], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _scaled_groups(codes: Bytes, blocks: Bytes) -> Floats:
    """``codes (n, 8, 32)`` with a six-bit scale and minimum a group: Q4_K and Q5_K."""
    scales, minima = six_bit_scales(blocks[:, 4:16])
    values = codes.astype(np.float32)
    values *= (half_at(blocks, 0) * scales)[:, :, None]
    values -= (half_at(blocks, 2) * minima)[:, :, None]
    return values.reshape(len(blocks), 256)


def k_nibbles(packed: Bytes) -> Bytes:
    """128 bytes a block to ``(n, 8, 32)``: each 32 bytes hold two groups, low then high."""
    chunks = packed.reshape(-1, 4, 1, 32)
    pairs = np.concatenate([chunks & 15, chunks >> 4], axis=2)
    return pairs.reshape(-1, 8, 32)


def _q4_k(blocks: Bytes) -> Floats:
    return _scaled_groups(k_nibbles(blocks[:, 16:144]), blocks)


def q5_k_codes(blocks: Bytes) -> Bytes:
    """Codes from 0 to 31 of Q5_K, ``(n, 8, 32)``."""
    shifts = np.arange(8, dtype=np.uint8)[None, :, None]
    fifth = (blocks[:, 16:48].reshape(-1, 1, 32) >> shifts) & 1
    codes: Bytes = k_nibbles(blocks[:, 48:176])
    codes |= np.left_shift(fifth, 4, dtype=np.uint8)
    return codes


def _q5_k(blocks: Bytes) -> Floats:
    return _scaled_groups(q5_k_codes(blocks), blocks)


def q6_k_codes(blocks: Bytes) -> Bytes:
    """Codes from 0 to 63 of Q6_K, ``(n, 16, 16)``."""
    count = len(blocks)
    # Two halves of 128 weights; each has 64 bytes of low nibbles and 32 of two high bits.
    low = blocks[:, :128].reshape(count, 2, 1, 64)
    low = np.concatenate([low & 15, low >> 4], axis=2).reshape(count, 2, 4, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8)[None, None, :, None]
    high = (blocks[:, 128:192].reshape(count, 2, 1, 32) >> shifts) & 3
    codes: Bytes = low | np.left_shift(high, 4, dtype=np.uint8)
    return codes.reshape(count, 16, 16)


def q6_k_scales(blocks: Bytes) -> Floats:
    """Scales of Q6_K, one for 16 weights, ``(n, 16)``."""
    scales: Floats = blocks[:, 192:208].view(np.int8).astype(np.float32) * half_at(blocks, 208)
    return scales


def _q6_k(blocks: Bytes) -> Floats:
    values = q6_k_codes(blocks).astype(np.float32)
    values -= 32
    values *= q6_k_scales(blocks)[:, :, None]
    return values.reshape(len(blocks), 256)


def pairs_of_bits(packed: Bytes, shifts: tuple[int, ...]) -> Bytes:
    """``(n, 32 k)`` bytes to ``(n, k, 4, 32)`` numbers from 0 to 3: one plane a shift."""
    planes = np.array(shifts, np.uint8)[:, None]
    codes: Bytes = packed.reshape(len(packed), -1, 1, 32) >> planes
    codes &= np.uint8(3)
    return codes


def _tq2_0(blocks: Bytes) -> Floats:
    values = pairs_of_bits(blocks[:, :64], (0, 2, 4, 6)).reshape(-1, 256).astype(np.float32)
    values -= 1
    values *= half_at(blocks, 64)
    return values


def base_three(packed: Bytes, digits: int) -> Bytes:
    """``(n, k)`` bytes of up to five base-3 digits each to ``(n, digits * k)``, a plane a digit.

    A byte is the number as a fraction of 256, rounded up: times a power of three its overflow
    drops the digits before, and three times the rest carries the next one out at the top.
    """
    powers = np.array([3**place for place in range(digits)], np.uint8)[:, None]
    moved = packed[:, None, :] * powers
    return ((moved.astype(np.uint16) * 3) >> 8).astype(np.uint8).reshape(len(packed), -1)


def _tq1_0(blocks: Bytes) -> Floats:
    parts = (
        base_three(blocks[:, :32], 5),
        base_three(blocks[:, 32:48], 5),
        base_three(blocks[:, 48:52], 4),
    )
    values = np.concatenate(parts, axis=1).astype(np.float32)
    values -= 1
    values *= half_at(blocks, 52)
    return values


def _i2_s(blocks: Bytes) -> Floats:
    """Codes alone; the scale stands behind the tensor."""
    values = pairs_of_bits(blocks, (6, 4, 2, 0)).reshape(-1, 128).astype(np.float32)
    values -= 1
    return values


QUANTS: dict[int, Quant] = {
    0: Quant("F32", 1, 4, _f32),
    1: Quant("F16", 1, 2, _f16),
    2: Quant("Q4_0", 32, 18, _q4_0),
    3: Quant("Q4_1", 32, 20, _q4_1),
    6: Quant("Q5_0", 32, 22, _q5_0),
    7: Quant("Q5_1", 32, 24, _q5_1),
    8: Quant("Q8_0", 32, 34, _q8_0),
    12: Quant("Q4_K", 256, 144, _q4_k),
    13: Quant("Q5_K", 256, 176, _q5_k),
    14: Quant("Q6_K", 256, 210, _q6_k),
    30: Quant("BF16", 1, 2, _bf16),
    34: Quant("TQ1_0", 256, 54, _tq1_0),
    35: Quant("TQ2_0", 256, 66, _tq2_0),
    36: Quant("I2_S", 128, 32, _i2_s, tail=32),
}
"""ggml type number -> how to read it."""


def _foreign(name: str, block: int, nbytes: int) -> Quant:
    def refuse(blocks: Bytes) -> Floats:
        raise ModelError(
            f"Tensors of type {name} cannot be run here ({', '.join(sorted(KNOWN))} can): choose "
            "another file of this model, or serve it with llama.cpp (`aiki model serve`)."
        )

    return Quant(name, block, nbytes, refuse)


KNOWN = frozenset(quant.name for quant in QUANTS.values())
"""Names of the types that can be read."""

FOREIGN: dict[int, Quant] = {
    9: _foreign("Q8_1", 32, 40),
    10: _foreign("Q2_K", 256, 84),
    11: _foreign("Q3_K", 256, 110),
    15: _foreign("Q8_K", 256, 292),
    16: _foreign("IQ2_XXS", 256, 66),
    17: _foreign("IQ2_XS", 256, 74),
    18: _foreign("IQ3_XXS", 256, 98),
    19: _foreign("IQ1_S", 256, 50),
    20: _foreign("IQ4_NL", 32, 18),
    21: _foreign("IQ3_S", 256, 110),
    22: _foreign("IQ2_S", 256, 82),
    23: _foreign("IQ4_XS", 256, 136),
    24: _foreign("I8", 1, 1),
    25: _foreign("I16", 1, 2),
    26: _foreign("I32", 1, 4),
    27: _foreign("I64", 1, 8),
    28: _foreign("F64", 1, 8),
    29: _foreign("IQ1_M", 256, 56),
    39: _foreign("MXFP4", 32, 17),
}
"""Types whose size is known, so that a file with them can be described; reading them is refused."""
