"""Writing GGUF files, tensor after tensor, without holding them in memory.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3. Used for checkpoints
that are generated: what the benchmark and the tests run where real weights cannot be had.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from aiki_kernel.models.gguf import MAGIC
from aiki_kernel.models.quants import QUANTS, Quant

_ALIGNMENT = 32
_NUMBERS = {quant.name: number for number, quant in QUANTS.items()}
_ARRAYS = {"|u1": 0, "|i1": 1, "<u4": 4, "<i4": 5, "<f4": 6, "<u8": 10, "<i8": 11, "<f8": 12}
_U32, _F32, _BOOL, _STRING, _ARRAY = 4, 6, 7, 8, 9


@dataclass(frozen=True)
class TensorPlan:
    """A tensor to be written: ``shape`` in NumPy order, ``quant`` by its name in ``QUANTS``.

    ``pieces`` is called when the tensor's turn comes and gives its bytes in order.
    """

    name: str
    shape: tuple[int, ...]
    quant: str
    pieces: Callable[[], Iterable[bytes | npt.NDArray[Any]]]

    @property
    def nbytes(self) -> int:
        return self._quant.stored(math.prod(self.shape))

    @property
    def _quant(self) -> Quant:
        return QUANTS[_NUMBERS[self.quant]]


def write_gguf(
    path: Path,
    metadata: Mapping[str, Any],
    tensors: Sequence[TensorPlan],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write a file; it appears under its name when it is whole.

    Values may be text, bool, int (uint32), float (float32), lists of texts and NumPy arrays.
    ``progress`` gets bytes done and bytes in all. Raises :class:`OSError`, and
    :class:`ValueError` when a tensor's pieces are not as long as its shape says.
    """
    part = path.with_name(path.name + ".part")
    total = sum(_padded(tensor.nbytes) for tensor in tensors)
    try:
        with part.open("wb") as file:
            file.write(MAGIC + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
            for key, value in metadata.items():
                file.write(_text(key) + _value(value))
            offset = 0
            for tensor in tensors:
                dims = tensor.shape[::-1]
                file.write(_text(tensor.name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims))
                file.write(struct.pack("<IQ", _NUMBERS[tensor.quant], offset))
                offset += _padded(tensor.nbytes)
            file.write(bytes(-file.tell() % _ALIGNMENT))
            done = 0
            for tensor in tensors:
                _write_tensor(file, tensor)
                done += _padded(tensor.nbytes)
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _write_tensor(file: BinaryIO, tensor: TensorPlan) -> None:
    written = 0
    for piece in tensor.pieces():
        data = piece if isinstance(piece, bytes) else piece.tobytes()
        file.write(data)
        written += len(data)
    if written != tensor.nbytes:
        raise ValueError(f"{tensor.name}: {written} bytes given, {tensor.nbytes} stated")
    file.write(bytes(_padded(written) - written))


def _padded(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    if isinstance(value, bool):
        return struct.pack("<IB", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _U32, value)
    if isinstance(value, float):
        return struct.pack("<If", _F32, value)
    if isinstance(value, np.ndarray):
        return struct.pack("<IIQ", _ARRAY, _ARRAYS[value.dtype.str], len(value)) + value.tobytes()
    texts = b"".join(map(_text, value))
    return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + texts
