"""WAV files: RIFF with PCM of 8 to 32 bits or IEEE floats, also in the extensible form.

The standard library's reader knows neither floats nor, before Python 3.12, the extensible form,
and those are what recorders and editors write. Layout: Microsoft, *Multimedia Programming
Interface and Data Specifications 1.0* (1991) and *Multiple Channel Audio Data* (2007).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_STREAMED = (0, 0xFFFFFFFF)
_MOST_CHUNKS = 1000


@dataclass(frozen=True)
class WavFile:
    """Where the samples of a file lie. ``width`` in bytes; ``length`` in samples a column."""

    path: Path
    rate: int
    columns: int
    width: int
    floats: bool
    start: int
    length: int

    def blocks(self, size: int) -> Iterator[Values]:
        """(m, columns) float64, integers scaled to -1..1; about ``size`` numbers at a time."""
        step = self.width * self.columns
        left = self.length
        with self.path.open("rb") as file:
            file.seek(self.start)
            while left > 0:
                raw = file.read(min(left, max(1, size // self.columns)) * step)
                count = len(raw) // step
                if not count:
                    return
                left -= count
                values = _samples(raw[: count * step], self.width, self.floats)
                yield values.reshape(count, self.columns)


def open_wav(path: Path) -> WavFile:
    """Read the head of a file. Raises OSError, or ValueError that says what is wrong."""
    with path.open("rb") as file:
        size = path.stat().st_size
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            raise ValueError("it does not begin with RIFF WAVE")
        form: tuple[int, int, int, int] | None = None
        for _ in range(_MOST_CHUNKS):
            chunk = file.read(8)
            if len(chunk) < 8:
                break
            name, length = struct.unpack("<4sI", chunk)
            if name == b"fmt ":
                form = _format(file, length)
            elif name == b"data":
                if form is None:
                    raise ValueError("its samples come before their format")
                return _found(path, form, file.tell(), length, size)
            else:
                file.seek(length, 1)
            if length % 2:
                file.seek(1, 1)
    raise ValueError("it has no samples" if form else "it has no format")


def _format(file: BinaryIO, length: int) -> tuple[int, int, int, int]:
    """Tag, columns, rate, bits."""
    body = file.read(length) if 16 <= length <= 4096 else b""
    if len(body) < 16:
        raise ValueError("its format is damaged")
    tag, columns, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if tag == _EXTENSIBLE and len(body) >= 26:
        tag = struct.unpack("<H", body[24:26])[0]
    return tag, columns, rate, bits


def _found(
    path: Path, form: tuple[int, int, int, int], start: int, length: int, size: int
) -> WavFile:
    tag, columns, rate, bits = form
    known = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
    if bits not in known.get(tag, ()) or not columns:
        raise ValueError(f"format {tag} with {bits} bits and {columns} columns is not read")
    if length in _STREAMED:  # a recorder that never came back to fill it in
        length = size - start
    step = bits // 8 * columns
    return WavFile(path, rate, columns, bits // 8, tag == _FLOAT, start, length // step)


def _samples(raw: bytes, width: int, floats: bool) -> Values:
    """8 bits are unsigned, the others little-endian and signed."""
    if floats:
        return np.frombuffer(raw, f"<f{width}").astype(np.float64)
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.float64) - 128) / 128
    if width == 3:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return wide.view("<i4").ravel().astype(np.float64) / 2**31
    return np.frombuffer(raw, f"<i{width}").astype(np.float64) / 2.0 ** (8 * width - 1)
