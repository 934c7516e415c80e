"""GGUF files, read without trusting them.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3,
little-endian. Every count, length and offset is compared with what the file can hold
*before* anything is allocated or indexed, so a truncated or hostile file costs one
:class:`~aiki_kernel.errors.ModelError` and never memory, time or a crash. Nothing in the
format can point backwards (values lie one after the other, tensor data is addressed from one
base), so there is no cycle to guard against; overlapping tensors are refused.

The vocabulary of a small model is a hundred thousand strings. They are walked over once, which
proves that they lie inside the file, and decoded only when :meth:`StringArray.read` is called.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.quants import FOREIGN, QUANTS, Quant

T = TypeVar("T")
MAGIC = b"GGUF"
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
MAX_KEY_BYTES = 65535  # the specification's own limit
MAX_ARRAY_DEPTH = 4
MAX_ALIGNMENT = 1 << 20
MAX_ELEMENTS = 1 << 40
_STRING, _ARRAY, _BOOL = 8, 9, 7
# value type -> (struct code, bytes); strings and arrays have no fixed width
_SCALARS: dict[int, tuple[str, int]] = {
    0: ("<B", 1),
    1: ("<b", 1),
    2: ("<H", 2),
    3: ("<h", 2),
    4: ("<I", 4),
    5: ("<i", 4),
    6: ("<f", 4),
    _BOOL: ("<B", 1),
    10: ("<Q", 8),
    11: ("<q", 8),
    12: ("<d", 8),
}
_SMALLEST_VALUE = {_STRING: 8, _ARRAY: 12, **{key: size for key, (_, size) in _SCALARS.items()}}
_SMALLEST_PAIR = 8 + 4 + 1  # an empty key, a type, one byte
_SMALLEST_TENSOR = 8 + 4 + 8 + 4 + 8  # an empty name, a count, one dimension, a type, an offset


class _FaultError(Exception):
    """Something in the file is wrong; the text says what, the reader adds which file."""


@dataclass(frozen=True)
class StringArray:
    """An array of strings that stays in the file until it is read."""

    buffer: memoryview
    start: int
    count: int

    def __len__(self) -> int:
        return self.count

    def read(self) -> list[str]:
        """All strings. Raises :class:`ModelError` when one is not UTF-8."""
        unpack = struct.Struct("<Q").unpack_from
        position, strings = self.start, []
        try:
            for _ in range(self.count):
                (length,) = unpack(self.buffer, position)
                position += 8
                strings.append(str(self.buffer[position : position + length], "utf-8"))
                position += length
        except UnicodeDecodeError:
            raise ModelError(
                "The model file has a text that is not UTF-8: it is damaged, fetch it again."
            ) from None
        return strings


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: ``shape`` in NumPy order (rows first), ``start`` in bytes of the file."""

    name: str
    shape: tuple[int, ...]
    quant: Quant
    start: int
    nbytes: int


class GGUF:
    """An opened model file. Use as a context manager; ``close`` releases the mapping."""

    def __init__(self, path: Path) -> None:
        """Open and check ``path``. Raises :class:`ModelError` with one line."""
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.tensors: dict[str, TensorInfo] = {}
        self.version = 0
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise ModelError(
                f"There is no model file {path}: run `aiki model pull` or put a GGUF there."
            ) from None
        except ValueError:
            raise ModelError(f"{path.name} is empty: fetch the model again.") from None
        except OSError as error:
            raise ModelError(
                f"{path} cannot be read ({error.strerror}): check the file and its permissions."
            ) from None
        self._view = memoryview(self._map)
        try:
            self._parse()
        except _FaultError as fault:
            self.close()
            raise ModelError(
                f"{path.name} is not a usable GGUF file ({fault}): fetch the model again."
            ) from None

    def __enter__(self) -> GGUF:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Arrays taken with :meth:`raw` keep the mapping alive by themselves."""
        self.metadata.clear()
        self._view.release()
        try:
            self._map.close()
        except BufferError:
            # A NumPy view is still out; the mapping goes with the last of them.
            del self._map

    def get(self, key: str, kind: type[T], default: T | None = None) -> T:
        """The value of ``key``, checked to be a ``kind``; ``default`` when it is absent.

        An int is welcome where a float is asked for. Raises :class:`ModelError` when the key
        is missing without a default or has another type.
        """
        value: Any = self.metadata.get(key)
        if value is None and default is not None:
            return default
        if value is None:
            raise ModelError(f"{self.path.name} lacks {key!r}: this model cannot be run here.")
        if kind is float and type(value) is int:
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ModelError(
                f"{self.path.name} has a {type(value).__name__} where {key!r} must be a "
                f"{kind.__name__}: fetch the model again."
            )
        return value

    def raw(self, name: str) -> npt.NDArray[np.uint8]:
        """The stored bytes of a tensor, without a copy. Raises :class:`ModelError`."""
        tensor = self.tensor(name)
        return np.frombuffer(self._map, np.uint8, tensor.nbytes, tensor.start)

    def tensor(self, name: str) -> TensorInfo:
        """What is known of a tensor. Raises :class:`ModelError` when there is none."""
        try:
            return self.tensors[name]
        except KeyError:
            raise ModelError(
                f"{self.path.name} lacks the tensor {name!r}: this model cannot be run here."
            ) from None

    def quantisation(self) -> str:
        """The tensor type that most weights have, but for the embedding; "" without tensors."""
        sums: dict[str, int] = {}
        for name, tensor in self.tensors.items():
            if name != "token_embd.weight":
                size = math.prod(tensor.shape)
                sums[tensor.quant.name] = sums.get(tensor.quant.name, 0) + size
        return max(sums, key=lambda name: sums[name], default="")

    # -- parsing ---------------------------------------------------------------------------

    def _parse(self) -> None:
        view, size = self._view, len(self._view)
        if bytes(view[:4]) != MAGIC:
            raise _FaultError("it does not begin with GGUF")
        if size < 24:
            raise _FaultError("it ends inside its header")
        (version,) = struct.unpack_from("<I", view, 4)
        if version in (0x02000000, 0x03000000):
            raise _FaultError("it is big-endian")
        if version not in (2, 3):
            raise _FaultError(f"version {version}; versions 2 and 3 can be read")
        self.version = version
        tensors, pairs = struct.unpack_from("<QQ", view, 8)
        position = 24
        position = self._parse_metadata(position, pairs)
        alignment = self.metadata.get("general.alignment", 32)
        if (
            type(alignment) is not int
            or not 1 <= alignment <= MAX_ALIGNMENT
            or alignment & (alignment - 1)
        ):
            raise _FaultError(f"alignment {alignment!r}")
        self._parse_tensors(position, tensors, alignment)

    def _parse_metadata(self, position: int, pairs: int) -> int:
        if pairs > (len(self._view) - position) // _SMALLEST_PAIR:
            raise _FaultError(f"{pairs} metadata entries cannot fit")
        for _ in range(pairs):
            key, position = self._string(position, MAX_KEY_BYTES)
            (kind,), position = self._fixed("<I", position)
            with _about(key):
                value, position = self._value(kind, position, 0)
            if key in self.metadata:
                raise _FaultError(f"the key {key!r} twice")
            self.metadata[key] = value
        return position

    def _parse_tensors(self, position: int, count: int, alignment: int) -> None:
        size = len(self._view)
        if count > (size - position) // _SMALLEST_TENSOR:
            raise _FaultError(f"{count} tensors cannot fit")
        found: list[tuple[str, tuple[int, ...], Quant, int, int]] = []
        for _ in range(count):
            name, position = self._string(position, MAX_KEY_BYTES)
            with _about(name):
                (rank,), position = self._fixed("<I", position)
                if not 1 <= rank <= MAX_DIMENSIONS:
                    raise _FaultError(f"{rank} dimensions")
                shape, position = self._fixed(f"<{rank}Q", position)
                (kind, offset), position = self._fixed("<IQ", position)
                quant = QUANTS.get(kind) or FOREIGN.get(kind)
                if quant is None:
                    raise _FaultError(f"tensor type {kind}, which is not known here")
                found.append((name, shape[::-1], quant, offset, _stored(shape, quant)))
        base = -(-position // alignment) * alignment
        end = 0
        for name, shape, quant, offset, nbytes in sorted(found, key=lambda item: item[3]):
            with _about(name):
                if offset % alignment:
                    raise _FaultError(f"offset {offset} is not aligned to {alignment}")
                if offset < end:
                    raise _FaultError("it overlaps the tensor before it")
                end = offset + nbytes
                if base + end > size:
                    raise _FaultError(
                        f"it ends {base + end - size} bytes behind the end of the file"
                    )
                if name in self.tensors:
                    raise _FaultError("the name twice")
            self.tensors[name] = TensorInfo(name, shape, quant, base + offset, nbytes)

    def _fixed(self, code: str, position: int) -> tuple[tuple[Any, ...], int]:
        width = struct.calcsize(code)
        if position + width > len(self._view):
            raise _FaultError("it ends too early")
        return struct.unpack_from(code, self._view, position), position + width

    def _string(self, position: int, limit: int | None = None) -> tuple[str, int]:
        (length,), position = self._fixed("<Q", position)
        if length > len(self._view) - position:
            raise _FaultError(f"a text of {length} bytes cannot fit")
        if limit is not None and length > limit:
            raise _FaultError(f"a name of {length} bytes")
        try:
            text = str(self._view[position : position + length], "utf-8")
        except UnicodeDecodeError:
            raise _FaultError("a text is not UTF-8") from None
        return text, position + length

    def _value(self, kind: int, position: int, depth: int) -> tuple[Any, int]:
        if kind == _STRING:
            return self._string(position)
        if kind == _ARRAY:
            return self._array(position, depth + 1)
        if kind not in _SCALARS:
            raise _FaultError(f"value type {kind}")
        (value,), position = self._fixed(_SCALARS[kind][0], position)
        return (bool(value) if kind == _BOOL else value), position

    def _array(self, position: int, depth: int) -> tuple[Any, int]:
        if depth > MAX_ARRAY_DEPTH:
            raise _FaultError("arrays inside arrays")
        (kind, count), position = self._fixed("<IQ", position)
        smallest = _SMALLEST_VALUE.get(kind)
        if smallest is None:
            raise _FaultError(f"value type {kind}")
        if count > (len(self._view) - position) // smallest:
            raise _FaultError(f"an array of {count} values cannot fit")
        if kind == _STRING:
            return StringArray(self._view, position, count), self._skip_strings(position, count)
        if kind == _ARRAY:
            values = []
            for _ in range(count):
                value, position = self._array(position, depth + 1)
                values.append(value)
            return values, position
        array = np.frombuffer(self._map, np.dtype(_SCALARS[kind][0]), count, position).copy()
        return (array != 0 if kind == _BOOL else array), position + count * smallest

    def _skip_strings(self, position: int, count: int) -> int:
        unpack, view, size = struct.Struct("<Q").unpack_from, self._view, len(self._view)
        try:
            for _ in range(count):
                (length,) = unpack(view, position)
                position += 8 + length
                if position > size:
                    raise _FaultError(f"a text of {length} bytes cannot fit")
        except struct.error:
            raise _FaultError("it ends too early") from None
        return position


@contextmanager
def _about(name: str) -> Iterator[None]:
    try:
        yield
    except _FaultError as fault:
        raise _FaultError(f"{name[:80]!r}: {fault}") from None


def _stored(shape: tuple[int, ...], quant: Quant) -> int:
    """Bytes that a tensor of ``shape`` (file order, fastest first) takes in the file."""
    elements = 1
    for length in shape:
        elements *= length
        if not 0 < elements <= MAX_ELEMENTS:
            raise _FaultError(f"impossible shape {shape}")
    if shape[0] % quant.block:
        raise _FaultError(f"rows of {shape[0]} do not divide into {quant.name} blocks")
    return quant.stored(elements)
