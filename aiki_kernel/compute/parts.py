"""Where an index's arrays lie: four arrays in one region of memory, and those of its lists.

The same layout serves ordinary memory, memory shared with the search server, and a file:

========  ==================================  =========================================
rows      float32 ``(capacity, dim)``         the vectors (of length 1 for cosine)
codes8    uint8 ``(capacity, stride)``        8-bit codes, stride = dim up to 64s
scales    float32 ``(capacity,)``             one scale a row for the 8-bit codes
codes1    uint8 ``(capacity / 64, g, 64)``    sign bits, interleaved by 64 rows
========  ==================================  =========================================

Each starts on a page. The codes are there only when compiled kernels use them.
"""

from __future__ import annotations

import itertools
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAGE = 4096
BLOCK = 64


def round_up(n: int, step: int) -> int:
    """The smallest multiple of ``step`` that is not below ``n``."""
    return (n + step - 1) // step * step


@dataclass(frozen=True)
class Layout:
    """Shape of an index in memory. ``capacity`` is a multiple of 64 rows."""

    dim: int
    capacity: int
    coded: bool

    @property
    def stride(self) -> int:
        """Bytes of a row's 8-bit codes."""
        return round_up(self.dim, 64)

    @property
    def groups(self) -> int:
        """Bytes of a row's sign bits: in threes, as the scan reads them."""
        return round_up((self.dim + 7) // 8, 3)

    def sizes(self) -> tuple[int, int, int, int]:
        """Bytes of the four arrays."""
        rows = self.capacity * self.dim * 4
        if not self.coded:
            return rows, 0, 0, 0
        return rows, self.capacity * self.stride, self.capacity * 4, self.capacity * self.groups

    def offsets(self) -> tuple[int, int, int, int]:
        """Where the arrays start."""
        rows, codes8, scales, _ = (round_up(size, PAGE) for size in self.sizes())
        return 0, rows, rows + codes8, rows + codes8 + scales

    def total(self) -> int:
        """Bytes of the region."""
        return sum(round_up(size, PAGE) for size in self.sizes())


@dataclass(frozen=True, eq=False)
class Region:
    """Zeroed memory on a page. One that another process can map has a descriptor ``fd``, open
    for as long as the region is held, and a ``number``.
    """

    buffer: Any
    fd: int = -1
    number: int = 0


def private_region(size: int) -> Region:
    """Ordinary memory, zeroed by the system as it is touched."""
    region = np.zeros(size + PAGE, np.uint8)
    start = -region.ctypes.data % PAGE
    return Region(region[start : start + size].data)


_REGIONS = itertools.count(1)


def shared_region(size: int) -> Region:
    """Memory that another process can map by its descriptor."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("aiki-vectors")
    else:
        fd, name = tempfile.mkstemp()
        Path(name).unlink()
    os.ftruncate(fd, max(size, PAGE))
    region = Region(mmap.mmap(fd, max(size, PAGE)), fd, next(_REGIONS))
    weakref.finalize(region, os.close, fd)
    return region


@dataclass(frozen=True, eq=False)
class Parts:
    """The arrays, as views of one region."""

    layout: Layout
    rows: NDArray[np.float32]
    codes8: NDArray[np.uint8]
    scales: NDArray[np.float32]
    codes1: NDArray[np.uint8]
    region: Region

    @property
    def fd(self) -> int:
        """The descriptor by which another process can map them; -1 when none can."""
        return self.region.fd


def parts_in(region: Region, layout: Layout, offset: int = 0) -> Parts:
    """Views of a region of at least ``offset + layout.total()`` bytes."""
    buffer = region.buffer
    at = [offset + start for start in layout.offsets()]
    n = layout.capacity if layout.coded else 0
    return Parts(
        layout,
        np.frombuffer(buffer, np.float32, layout.capacity * layout.dim, at[0]).reshape(
            layout.capacity, layout.dim
        ),
        np.frombuffer(buffer, np.uint8, n * layout.stride, at[1] if n else 0).reshape(
            n, layout.stride
        ),
        np.frombuffer(buffer, np.float32, n, at[2] if n else 0),
        np.frombuffer(buffer, np.uint8, n * layout.groups, at[3] if n else 0),
        region,
    )


def in_memory(layout: Layout) -> Parts:
    """Parts in ordinary memory."""
    return parts_in(private_region(layout.total()), layout)


def shared(layout: Layout) -> Parts:
    """Parts in memory that another process can map by its descriptor."""
    return parts_in(shared_region(layout.total()), layout)


def region_like(parts: Parts) -> Callable[[int], Region]:
    """What allocates memory of the kind that these parts are in."""
    return private_region if parts.region.fd < 0 else shared_region


@dataclass(frozen=True)
class ListLayout:
    """Shape of a coarse index in memory; :mod:`aiki_kernel.compute.coarse` tells its arrays."""

    dim: int
    lists: int
    blocks: int
    coded: bool

    @property
    def groups(self) -> int:
        """Bytes of a row's sign bits."""
        return round_up((self.dim + 7) // 8, 3)

    def sizes(self) -> tuple[int, int, int, int]:
        """Bytes of heads, links, ids and codes."""
        codes = self.blocks * BLOCK * self.groups if self.coded else 0
        return self.lists * 4, self.blocks * 4, self.blocks * BLOCK * 4, codes

    def offsets(self) -> tuple[int, int, int, int]:
        """Where they start."""
        heads, links, ids, _ = (round_up(size, PAGE) for size in self.sizes())
        return 0, heads, heads + links, heads + links + ids

    def total(self) -> int:
        """Bytes of the region."""
        return sum(round_up(size, PAGE) for size in self.sizes())


@dataclass(frozen=True, eq=False)
class ListParts:
    """The arrays of a coarse index, as views of one region."""

    layout: ListLayout
    heads: NDArray[np.int32]
    links: NDArray[np.int32]
    ids: NDArray[np.uint32]
    codes: NDArray[np.uint8]
    region: Region


def list_parts_in(region: Region, layout: ListLayout, offset: int = 0) -> ListParts:
    """Views of a region of at least ``offset + layout.total()`` bytes."""
    at = [offset + start for start in layout.offsets()]
    sizes = layout.sizes()
    return ListParts(
        layout,
        np.frombuffer(region.buffer, np.int32, layout.lists, at[0]),
        np.frombuffer(region.buffer, np.int32, layout.blocks, at[1]),
        np.frombuffer(region.buffer, np.uint32, layout.blocks * BLOCK, at[2]),
        np.frombuffer(region.buffer, np.uint8, sizes[3], at[3] if sizes[3] else 0),
        region,
    )


def empty_lists(layout: ListLayout, allocate: Callable[[int], Region]) -> ListParts:
    """Lists without rows."""
    parts = list_parts_in(allocate(layout.total()), layout)
    parts.heads[:] = -1
    parts.links[:] = -1
    parts.ids[:] = np.iinfo(np.uint32).max
    return parts


def encode_with_numpy(parts: Parts, first: int, last: int) -> None:
    """Write the codes of rows ``[first, last)`` plainly; the kernels write the same bytes."""
    dim, stride = parts.layout.dim, parts.layout.stride
    rows = parts.rows[first:last]
    top = np.maximum(np.abs(rows).max(axis=1), np.float32(1e-30))
    parts.scales[first:last] = top / np.float32(127)
    parts.codes8[first:last, dim:stride] = 128
    parts.codes8[first:last, :dim] = (
        np.rint(rows * (np.float32(127) / top)[:, None]).astype(np.int32) + 128
    )
    signs = np.zeros((last - first, parts.layout.groups), np.uint8)
    packed = np.packbits(rows > 0, axis=1, bitorder="little")
    signs[:, : packed.shape[1]] = packed
    blocks = parts.codes1.reshape(-1, parts.layout.groups, BLOCK)
    which = np.arange(first, last)
    blocks[which // BLOCK, :, which % BLOCK] = signs
