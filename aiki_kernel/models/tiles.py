"""Matrices as the Mojo kernels read them: tiles of 16 rows, interleaved.

``mojo/language/tiles.mojo`` documents the formats. Nothing is rounded on the way: the integers of
a quantised block stay what they are, and a scale that half precision cannot hold becomes float32.
Repacking is done once for a file; the result is kept in the cache folder and mapped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aiki_kernel.models.quants import (
    Bytes,
    Quant,
    base_three,
    fifth_bits,
    half_at,
    k_nibbles,
    nibbles,
    pairs_of_bits,
    q5_k_codes,
    q6_k_codes,
    q6_k_scales,
    six_bit_scales,
)

TILE = 16  # rows
BLOCK = 32  # columns of a block of the kernels
_PIECE = 1 << 22  # weights repacked at once

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Format:
    """One format of the kernels: its number there, bytes of 16 rows by 32 columns, bits a code."""

    number: int
    nbytes: int
    bits: int


Q8, Q4M, Q4, Q8M = Format(0, 544, 8), Format(1, 320, 4), Format(2, 288, 4), Format(3, 576, 8)
W4M, W8M, W6 = Format(4, 384, 4), Format(5, 640, 8), Format(6, 640, 8)
HALF, BRAIN, FULL = Format(7, 1024, 16), Format(8, 1024, 16), Format(9, 2048, 32)
TERNARY = Format(10, 128, 2)


@dataclass(frozen=True)
class Parts:
    """What blocks hold: ``scales``, each one number for some weights, and ``codes`` of them all.

    Scales that are float16 or float32 stay so. Ternary codes are weights + 1 and their scale is
    the whole matrix's (:func:`ternary_scale`).
    """

    scales: tuple[Array, ...]
    codes: Array


def tile_bytes(quant: Quant, rows: int, columns: int) -> int:
    """Bytes that a matrix takes once repacked. ``columns`` divide by 32."""
    return -(-rows // TILE) * (columns // BLOCK) * FORMATS[quant.name][0].nbytes


def repack(blocks: Bytes, quant: Quant, rows: int, columns: int, out: Bytes) -> None:
    """Write a matrix of ``rows`` x ``columns`` into ``out``, uint8 (:func:`tile_bytes`,).

    ``blocks`` are its rows one after the other, uint8 (rows * columns / block, nbytes). Rows that
    fill the last tile are zeros.
    """
    form, read = FORMATS[quant.name]
    per_row = columns // quant.block
    target = out.reshape(-(-rows // TILE), -1)
    step = max(1, _PIECE // columns // TILE)
    for first in range(0, len(target), step):
        last = min(first + step, len(target))
        piece = blocks[first * TILE * per_row : min(last * TILE, rows) * per_row]
        target[first:last] = _laid(form, read(piece), columns, last - first)


def _laid(form: Format, parts: Parts, columns: int, tiles: int) -> Bytes:
    """Whole tiles, uint8 (tiles, bytes of a tile)."""
    codes = _filled(parts.codes.reshape(-1, columns), tiles)
    if form is TERNARY:
        fours = codes.reshape(tiles, TILE, columns // 16, 4, 4)
        packed = fours[:, :, :, 0] | fours[:, :, :, 1] << 2
        packed |= fours[:, :, :, 2] << 4 | fours[:, :, :, 3] << 6
        rows: Bytes = packed.transpose(0, 2, 1, 3).reshape(tiles, -1)
        return rows
    if not parts.scales:
        straight = np.ascontiguousarray(codes.reshape(tiles, TILE, columns).transpose(0, 2, 1))
        return straight.view(np.uint8).reshape(tiles, -1)
    span = parts.codes.size // parts.scales[0].size
    spans = columns // span
    scales = [
        np.ascontiguousarray(
            _filled(scale.reshape(-1, spans), tiles).reshape(tiles, TILE, spans).transpose(0, 2, 1)
        ).view(np.uint8)
        for scale in parts.scales
    ]
    fours = codes.reshape(tiles, TILE, spans, span // 4, 4)
    if form.bits == 4:
        fours = fours[:, :, :, 0::2] | fours[:, :, :, 1::2] << 4
    laid = fours.transpose(0, 2, 3, 1, 4).reshape(tiles, spans, -1)
    return np.concatenate([*scales, laid], axis=2).reshape(tiles, -1)


def _filled(rows: Array, tiles: int) -> Array:
    """``rows`` with zeros below, to whole tiles."""
    missing = tiles * TILE - len(rows)
    return np.pad(rows, ((0, missing), (0, 0))) if missing else rows


def _halves(blocks: Bytes, start: int) -> Array:
    """The half-precision number at a place of each block, as it is."""
    return np.ascontiguousarray(blocks[:, start : start + 2]).view(np.float16)


def _q8_0(blocks: Bytes) -> Parts:
    return Parts((_halves(blocks, 0),), blocks[:, 2:] ^ 128)


def _q4_0(blocks: Bytes) -> Parts:
    return Parts((_halves(blocks, 0),), nibbles(blocks[:, 2:]))


def _q4_1(blocks: Bytes) -> Parts:
    return Parts((_halves(blocks, 0), _halves(blocks, 2)), nibbles(blocks[:, 4:]))


def _q5_0(blocks: Bytes) -> Parts:
    codes = nibbles(blocks[:, 6:]) | fifth_bits(blocks[:, 2:6])
    return Parts((_halves(blocks, 0),), codes + np.uint8(128 - 16))


def _q5_1(blocks: Bytes) -> Parts:
    codes = nibbles(blocks[:, 8:]) | fifth_bits(blocks[:, 4:8])
    return Parts((_halves(blocks, 0), _halves(blocks, 2)), codes)


def _groups(blocks: Bytes, codes: Bytes) -> Parts:
    """Q4_K and Q5_K: a float32 scale and minimum for each 32 weights."""
    scales, minima = six_bit_scales(blocks[:, 4:16])
    return Parts((half_at(blocks, 0) * scales, -half_at(blocks, 2) * minima), codes)


def _q4_k(blocks: Bytes) -> Parts:
    return _groups(blocks, k_nibbles(blocks[:, 16:144]))


def _q5_k(blocks: Bytes) -> Parts:
    return _groups(blocks, q5_k_codes(blocks))


def _q6_k(blocks: Bytes) -> Parts:
    return Parts((q6_k_scales(blocks),), q6_k_codes(blocks))


def _words(blocks: Bytes) -> Parts:
    return Parts((), np.ascontiguousarray(blocks).view(np.uint16))


def _floats(blocks: Bytes) -> Parts:
    return Parts((), np.ascontiguousarray(blocks).view(np.float32))


def _tq1_0(blocks: Bytes) -> Parts:
    digits = (
        base_three(blocks[:, :32], 5),
        base_three(blocks[:, 32:48], 5),
        base_three(blocks[:, 48:52], 4),
    )
    return Parts((), np.concatenate(digits, axis=1))


def _tq2_0(blocks: Bytes) -> Parts:
    return Parts((), pairs_of_bits(blocks[:, :64], (0, 2, 4, 6)).reshape(len(blocks), -1))


def _i2_s(blocks: Bytes) -> Parts:
    return Parts((), pairs_of_bits(blocks, (6, 4, 2, 0)).reshape(len(blocks), -1))


def ternary_scale(blocks: Bytes, quant: Quant) -> float | None:
    """The one scale that all blocks of a ternary matrix share; None when they differ."""
    if quant.name == "I2_S":
        return 1.0
    scales = np.unique(half_at(blocks, {"TQ1_0": 52, "TQ2_0": 64}[quant.name]))
    scales = scales[scales != 0]
    return float(scales[0]) if len(scales) == 1 else None


FORMATS: dict[str, tuple[Format, Callable[[Bytes], Parts]]] = {
    "F32": (FULL, _floats),
    "F16": (HALF, _words),
    "BF16": (BRAIN, _words),
    "Q8_0": (Q8, _q8_0),
    "Q4_0": (Q4, _q4_0),
    "Q4_1": (Q4M, _q4_1),
    "Q5_0": (Q8, _q5_0),
    "Q5_1": (Q8M, _q5_1),
    "Q4_K": (W4M, _q4_k),
    "Q5_K": (W8M, _q5_k),
    "Q6_K": (W6, _q6_k),
    "TQ1_0": (TERNARY, _tq1_0),
    "TQ2_0": (TERNARY, _tq2_0),
    "I2_S": (TERNARY, _i2_s),
}
"""Tensor type -> the kernels' format, and how its blocks are taken apart."""
