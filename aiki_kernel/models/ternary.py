"""Ternary weights unpacked by table: a byte is looked up and becomes its four weights at once.

The packings put the weights of one byte 32 places apart. Putting them back where they belong would
cost a pass over every weight; a table leaves them together, in an order that is the same in every
block, and the *activations*, which are few, are put into that order instead. Sixty times as fast
as shifting and masking in NumPy, and the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aiki_kernel.models.quants import Bytes, Floats, Quant

Codes = npt.NDArray[np.complex128]


@dataclass(frozen=True)
class TernaryPacking:
    """How one tensor type is looked up.

    ``order[i]`` is the place within a block of the weight that :meth:`codes` gives as number ``i``.
    ``lookup`` fills float32 (n, block) with -1, 0 and 1. ``scales`` says where in a block its
    half-precision scale stands; None where there is none.
    """

    order: npt.NDArray[np.int64]
    lookup: Callable[[Bytes, Floats], None]
    scales: int | None

    def codes(self, blocks: Bytes, out: Floats) -> Floats:
        """Weights of whole blocks in this packing's order, without any scale: (n, block)."""
        found = out[: len(blocks)]
        self.lookup(blocks, found)
        return found

    def block_scales(self, blocks: Bytes) -> Floats | None:
        """Scale of each block, (n,)."""
        if self.scales is None:
            return None
        packed = np.ascontiguousarray(blocks[:, self.scales : self.scales + 2])
        return packed.view(np.float16)[:, 0].astype(np.float32)


def _four_bits(shifts: tuple[int, ...]) -> Codes:
    """byte -> its four two-bit codes less one, as one number of 16 bytes (NumPy moves it whole)."""
    byte = np.arange(256)[:, None]
    codes = ((byte >> np.array(shifts)) & 3).astype(np.float32) - 1
    return np.ascontiguousarray(codes).view(np.complex128)[:, 0]


def _trits(count: int) -> Floats:
    """byte -> its first ``count`` base-3 digits less one, (256, count)."""
    byte = np.arange(256)[:, None]
    moved = (byte * 3 ** np.arange(count)) & 255
    digits: Floats = ((moved * 3) >> 8).astype(np.float32) - 1
    return digits


def _planes(start: int, planes: int, width: int) -> list[int]:
    """Places of weights when each of ``width`` bytes holds one weight of every plane."""
    return [start + plane * width + byte for byte in range(width) for plane in range(planes)]


_I2_S_TABLE = _four_bits((6, 4, 2, 0))
_TQ2_0_TABLE = _four_bits((0, 2, 4, 6))
_FIRST_FOUR = np.ascontiguousarray(_trits(4)).view(np.complex128)[:, 0]
_FIFTH = np.ascontiguousarray(_trits(5)[:, 4])


def _lookup_i2_s(blocks: Bytes, out: Floats) -> None:
    np.take(_I2_S_TABLE, blocks, out=out.view(np.complex128), mode="clip")


def _lookup_tq2_0(blocks: Bytes, out: Floats) -> None:
    np.take(_TQ2_0_TABLE, blocks[:, :64], out=out.view(np.complex128), mode="clip")


def _lookup_tq1_0(blocks: Bytes, out: Floats) -> None:
    """First four digits of all 52 bytes, then the fifth of the first 48."""
    out[:, :208] = np.take(_FIRST_FOUR, blocks[:, :52], mode="clip").view(np.float32)
    out[:, 208:] = np.take(_FIFTH, blocks[:, :48], mode="clip")


def _tq1_0_order() -> list[int]:
    wide, narrow, rest = _planes(0, 5, 32), _planes(160, 5, 16), _planes(240, 4, 4)
    five = [wide[5 * n : 5 * n + 5] for n in range(32)] + [
        narrow[5 * n : 5 * n + 5] for n in range(16)
    ]
    return [p for one in five for p in one[:4]] + rest + [one[4] for one in five]


PACKINGS: dict[str, TernaryPacking] = {
    "I2_S": TernaryPacking(np.array(_planes(0, 4, 32)), _lookup_i2_s, None),
    "TQ2_0": TernaryPacking(np.array(_planes(0, 4, 32) + _planes(128, 4, 32)), _lookup_tq2_0, 64),
    "TQ1_0": TernaryPacking(np.array(_tq1_0_order()), _lookup_tq1_0, 52),
}


def packing_of(quant: Quant) -> TernaryPacking | None:
    """The table for a tensor type; None where it is not ternary."""
    return PACKINGS.get(quant.name)
