"""Pictures of signals, small enough to lie beside them: spectrograms and thumbnails; and the
PNG that a notebook shows.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.memory.wave import Picture, brief
from aiki_kernel.memory.wave_signal import Source, cuts

Values = NDArray[np.float64]

_WIDE, _HIGH = 48, 32
_FLOOR_DB = 60.0


def spectrogram(source: Source, mean: Values) -> Picture | None:
    """Hann windows, power by log frequency; None for a signal too short for any."""
    n = source.length
    size = min(4096, 1 << max(4, (n // 12).bit_length() - 1))
    if n < 4 * size:
        return None
    width = min(_WIDE, n // size * 2)
    bins = np.arange(1, size // 2 + 1)
    edges = np.geomspace(1, size // 2 + 1, min(_HIGH, size // 2) + 1)
    row = np.clip(np.searchsorted(edges, bins, "right") - 1, 0, len(edges) - 2)
    counts = np.bincount(row, minlength=len(edges) - 1)
    taper = np.hanning(size)[:, None]
    starts = np.linspace(0, n - size, width).astype(int)
    table = np.zeros((len(edges) - 1, width))
    for number, cut in enumerate(cuts(source, starts.tolist(), size)):
        power = (np.abs(np.fft.rfft((cut - mean) * taper, axis=0)) ** 2).sum(axis=1)
        table[:, number] = np.bincount(row, power[1:], len(counts))
    filled = np.flatnonzero(counts)
    table = table[filled] / counts[filled, None]
    decibel = 10 * np.log10(np.maximum(table / max(float(table.max()), 1e-300), 1e-12))
    pixels = np.clip((decibel + _FLOOR_DB) / _FLOOR_DB * 255, 0, 255).astype(np.uint8)[::-1]
    hz = source.rate / size
    return Picture(
        "spectrogram", width, len(filled), brief(hz), brief(source.rate / 2), pixels.tobytes()
    )


def thumbnail(frame: Values) -> Picture:
    """``frame`` (h, w) averaged down, darkest to brightest."""
    scale = max(frame.shape[1] / _WIDE, frame.shape[0] / _HIGH, 1.0)
    small = averaged(
        frame, max(1, round(frame.shape[0] / scale)), max(1, round(frame.shape[1] / scale))
    )
    low, high = float(small.min()), float(small.max())
    grey = np.clip((small - low) / ((high - low) or 1.0) * 255, 0, 255).astype(np.uint8)
    height, width = grey.shape
    return Picture("thumbnail", width, height, brief(low), brief(high), grey.tobytes())


def averaged(frame: Values, height: int, width: int) -> Values:
    """``frame`` averaged by area to (height, width), neither larger than it is."""
    down = np.linspace(0, frame.shape[0], height + 1).astype(int)
    over = np.linspace(0, frame.shape[1], width + 1).astype(int)
    sums = np.add.reduceat(np.add.reduceat(frame, down[:-1], axis=0), over[:-1], axis=1)
    return np.asarray(sums / np.outer(np.diff(down), np.diff(over)))


def png(picture: Picture) -> str:
    """The picture as a ``data:`` address: 8 bits grey, PNG as in ISO/IEC 15948."""
    lines = np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width)
    raw = b"".join(b"\0" + line.tobytes() for line in lines)  # filter 0 before each line
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    whole = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    return "data:image/png;base64," + base64.b64encode(whole).decode()
