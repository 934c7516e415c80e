"""Keys and values in half precision, laid out for the Mojo kernels.

For each layer and head first the keys, ``(capacity/16, head, 16)``, then the values ``(capacity,
head)``, the head padded to 16. Sixteen keys lie side by side so that scores need no sum across a
register.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aiki_kernel.models.shape import Shape

Halves = npt.NDArray[np.float16]
_FIRST_CAPACITY = 256
_STEP = 16


class HalfKeyValues:
    """Keys and values of one conversation; capacity doubles as needed."""

    def __init__(self, shape: Shape, capacity: int = _FIRST_CAPACITY) -> None:
        self._shape = shape
        self._padded = -(-shape.head // 16) * 16
        self.length = 0
        self.capacity = -(-min(capacity, shape.context) // _STEP) * _STEP
        self.room = self._make(self.capacity)

    @property
    def nbytes(self) -> int:
        return self.room.nbytes

    def truncate(self, length: int) -> None:
        self.length = min(self.length, length)

    def fork(self, length: int) -> HalfKeyValues:
        length = min(length, self.length)
        copy = HalfKeyValues(self._shape, max(length + 64, _FIRST_CAPACITY))
        self._copy_to(copy.room, copy.capacity, length)
        copy.length = length
        return copy

    def reserve(self, length: int) -> None:
        """Make room for ``length`` tokens in all."""
        if length <= self.capacity:
            return
        most = -(-self._shape.context // _STEP) * _STEP
        capacity = min(-(-max(length, 2 * self.capacity) // _STEP) * _STEP, most)
        room = self._make(capacity)
        self._copy_to(room, capacity, self.length)
        self.room, self.capacity = room, capacity

    def _make(self, capacity: int) -> Halves:
        shape = self._shape
        # Zeros come from the system's own zero pages: untouched capacity takes no memory.
        return np.zeros(
            (shape.layers * shape.kv_heads, capacity * (shape.head + self._padded)), np.float16
        )

    def _copy_to(self, room: Halves, capacity: int, length: int) -> None:
        head, tiles = self._shape.head, -(-length // _STEP) * _STEP
        room[:, : tiles * head] = self.room[:, : tiles * head]
        values, own = capacity * head, self.capacity * head
        count = length * self._padded
        room[:, values : values + count] = self.room[:, own : own + count]
