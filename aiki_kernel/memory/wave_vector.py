"""The wave vector: one row a channel, such that like patterns lie near each other.

Fixed length (:data:`~aiki_kernel.memory.wave.DIMENSION`), unit length, float16 in the payload.
Four blocks, each scaled to unit length, then weighed and put side by side:

===========  =====  ====================================================================
block        weight numbers
===========  =====  ====================================================================
bands           1   128: share of the energy in bands of equal width in log frequency, from
                    1e-5 to 1e5 Hz (0.26 octave each). A fitted tone puts its energy at its
                    own frequency, what no tone explains lies where the residual spectrum
                    has it; both are spread to the next bands, a quarter each, so that what
                    drifts by a semitone is still near.
envelope     0.45   24: share of the energy in equal parts of the record
character    0.45   8: steady or damped (soft bins of log10 decay, 1e-2 to 1e2 a second),
                    share of the energy in tones, share in noise
shapes          1   64: for frames, share of the energy of the mean frame by spatial
                    frequency (16 log bands, 1 to 64 cycles a side) and direction (4)
===========  =====  ====================================================================

Of each share the square root is taken, so the product of two blocks is the Bhattacharyya
coefficient of two distributions. Shares know no level: the same pattern ten times as loud has
the same vector. Bands are in Hz and the envelope in parts of the record, so the sampling rate
does not matter as long as it holds the pattern; noise alone reaches as far up as the rate lets
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.memory.wave import DIMENSION, SLOT, pattern_in

if TYPE_CHECKING:
    from aiki_kernel.memory.wave import WavePattern

Values = NDArray[np.float64]

BANDS, PARTS, CHARACTER, SHAPES = 128, 24, 8, 64
_LOWEST, _HIGHEST = -5.0, 5.0  # log10 Hz
_WEIGHTS = (1.0, 0.45, 0.45, 1.0)
_SPREAD = np.array([1.0, 2.0, 1.0]) / 4
_RINGS, _DIRECTIONS, _MOST_CYCLES = 16, 4, 64.0


def joined(bands: Values, envelope: Values, character: Values, shapes: Values) -> bytes:
    """The vector of one channel as float16 bytes, from energies of each block."""
    blocks = []
    for weight, energies in zip(_WEIGHTS, (bands, envelope, character, shapes), strict=True):
        root = np.sqrt(np.maximum(energies, 0.0))
        length = float(np.linalg.norm(root))
        blocks.append(root * (weight / length if length > 0 else 0.0))
    whole = np.concatenate(blocks)
    whole /= np.linalg.norm(whole) or 1.0
    return whole.astype("<f2").tobytes()


def bands(frequencies: Values, energies: Values) -> Values:
    """(128,): ``energies`` at ``frequencies`` (Hz, above 0), each shared by the two nearest
    bands and then spread."""
    out = np.zeros(BANDS + 1)
    kept = frequencies > 0
    place = (np.log10(frequencies[kept]) - _LOWEST) / (_HIGHEST - _LOWEST) * BANDS - 0.5
    place = np.clip(place, 0, BANDS - 1)
    low = np.floor(place).astype(np.intp)
    part = place - low
    out += np.bincount(low, energies[kept] * (1 - part), BANDS + 1)
    out += np.bincount(low + 1, energies[kept] * part, BANDS + 1)
    return np.convolve(out[:BANDS], _SPREAD, "same")


def character(decay_per_s: float | None, tonal: float) -> Values:
    """(8,): steadiness or damping, and the shares of tones and of noise."""
    out = np.zeros(CHARACTER)
    if decay_per_s is None or decay_per_s <= 0:
        out[0] = 1.0
    else:
        place = float(np.clip(np.log10(decay_per_s) + 2, 0, 4))
        low = min(int(place), 3)
        out[1 + low] += 1 - (place - low)
        out[2 + low] += place - low
    out[6], out[7] = tonal, 1 - tonal
    return out


def shapes(frame: Values) -> Values:
    """(64,): the energy of ``frame`` (h, w) by spatial frequency and direction."""
    height, width = frame.shape
    flat = frame - frame.mean()
    taper = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    power = np.abs(np.fft.fft2(flat * taper)) ** 2
    power[0, 0] = 0.0
    up = np.fft.fftfreq(height, 1 / height)[:, None]
    along = np.fft.fftfreq(width, 1 / width)[None, :]
    cycles = np.hypot(up, along)
    ring = np.log(np.maximum(cycles, 1.0)) / np.log(_MOST_CYCLES) * _RINGS
    ring = np.minimum(ring.astype(np.intp), _RINGS - 1)
    angle = np.arctan2(up, along) % np.pi
    way = np.round(angle / np.pi * _DIRECTIONS).astype(np.intp) % _DIRECTIONS
    energies = np.bincount((ring * _DIRECTIONS + way).ravel(), power.ravel(), SHAPES)
    return np.asarray(energies / (energies.sum() or 1.0))


def rows(pattern: WavePattern) -> NDArray[np.float32]:
    """(channels, 224) of unit length."""
    table = np.stack([np.frombuffer(one.vector, "<f2") for one in pattern.channels])
    wide = table.astype(np.float32)
    if not np.isfinite(wide).all():
        return np.zeros((0, DIMENSION), np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0], np.float32)


def vectors_in(payload: Mapping[str, Any]) -> list[list[float]] | None:
    """The ``wave`` vector that belongs to a payload; None for one without a whole pattern."""
    if SLOT not in payload:
        return None
    pattern = pattern_in(payload)
    if pattern is None:
        return None
    table: list[list[float]] = rows(pattern).tolist()
    return table or None
