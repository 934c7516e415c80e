"""The coarse index: rows dealt into lists by their nearest centroid, so that a search can look
into the likely lists and leave the rest alone.

It pays for very many rows, and costs recall; whoever searches chooses it (``recall="fast"``).
A list is a chain of blocks of 64 places. Arrays, in one region of memory that another process
or a file can hold:

======  ============================  ==============================================
heads   int32 ``(lists,)``            the first block of a list; -1 for none
links   int32 ``(blocks,)``           the block after a block; -1 at the end
ids     uint32 ``(blocks * 64,)``     the row in a place; the greatest number for none
codes   uint8 ``(blocks, g, 64)``     sign bits, as in :mod:`aiki_kernel.compute.parts`
======  ============================  ==============================================

Searches take no lock: rows that come are put into free places, where a search of an older
snapshot skips them by their number; a row that is overwritten moves, and such searches start over.
Deleted rows stay in their places until the rows are compacted or the lists trained anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.backend import Backend, Snapshot
from aiki_kernel.compute.kmeans import nearest
from aiki_kernel.compute.mojo_backend import MojoBackend
from aiki_kernel.compute.native import Kernels
from aiki_kernel.compute.numpy_backend import NumpyBackend
from aiki_kernel.compute.parts import (
    BLOCK,
    ListLayout,
    ListParts,
    Parts,
    Region,
    empty_lists,
    private_region,
)

NONE = 0xFFFF_FFFF  # the row in a place without one
STEP = 16384


@dataclass(eq=False)
class Coarse:
    """Centroids and lists. Changed under the index's lock for writers only.

    ``probes`` lists hold the share of neighbours that ``recall="fast"`` promises; ``trained``
    is how many rows there were when the centroids were made.
    """

    centroids: Snapshot
    parts: ListParts
    allocate: Callable[[int], Region]
    kernels: Kernels | None
    probes: int
    trained: int
    owner: NDArray[np.int32]  # the list of every block that is used
    places: NDArray[np.int64]  # where every row is; -1 for nowhere
    used: int = 0  # blocks
    holes: int = 0  # places that were left
    binding: Any = None

    def __post_init__(self) -> None:
        lists = self.parts.layout.lists
        self.tails = np.full(lists, -1, np.int32)  # the last block of every list
        self.fills = np.full(lists, BLOCK, np.int64)  # places taken in it
        used = np.arange(self.used)
        last = used[self.parts.links[: self.used] < 0]
        self.tails[self.owner[last]] = last
        if len(last):
            taken = self.parts.ids.reshape(-1, BLOCK)[last] != NONE
            self.fills[self.owner[last]] = np.where(
                taken.any(axis=1), BLOCK - np.argmax(taken[:, ::-1], axis=1), 0
            )
        if self.kernels is not None and self.parts.layout.coded:
            self.binding = self.kernels.bind_lists(
                self.parts.heads,
                self.parts.links,
                self.parts.ids,
                self.parts.codes,
                self.parts.layout.dim,
            )

    @classmethod
    def dealt(
        cls,
        centroids: Snapshot,
        labels: NDArray[np.int64],
        parts: Parts,
        allocate: Callable[[int], Region],
        kernels: Kernels | None,
        *,
        probes: int,
        trained: int,
    ) -> Coarse:
        """Lists of an index's rows; ``labels[row]`` is the row's list, -1 for none."""
        lists = centroids.n
        blocks = lists * 2 + len(labels) // BLOCK + len(labels) // (4 * BLOCK)
        layout = ListLayout(parts.layout.dim, lists, blocks, kernels is not None)
        made = cls(
            centroids,
            empty_lists(layout, allocate),
            allocate,
            kernels,
            probes,
            trained,
            np.full(blocks, -1, np.int32),
            np.full(len(labels), -1, np.int64),
        )
        rows = np.flatnonzero(labels >= 0)
        return made.added(rows, labels[rows], parts.rows)

    def lists_for(
        self, backend: Backend, queries: NDArray[np.float32], probes: int
    ) -> NDArray[np.int64]:
        """The lists to look into for each query, ``(q, probes)``."""
        return nearest(backend, self.centroids, np.atleast_2d(queries), probes)

    @property
    def worn(self) -> bool:
        """Whether rows that moved left so many holes that dealing anew pays."""
        return self.holes > 1024 + self.used * BLOCK // 2

    def nearest_lists(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """The list that each row belongs to, ``(m,)``."""
        backend: Backend = NumpyBackend() if self.kernels is None else MojoBackend()
        return nearest(backend, self.centroids, rows, 1)[:, 0]

    def dealt_again(self, labels: NDArray[np.int64], parts: Parts) -> Coarse:
        """Lists with the same centroids for rows with these labels, without holes."""
        return Coarse.dealt(
            self.centroids,
            labels,
            parts,
            self.allocate,
            self.kernels,
            probes=self.probes,
            trained=self.trained,
        )

    def moved(self, allocate: Callable[[int], Region]) -> Coarse:
        """The same lists in memory of another kind."""
        return self._in(self.parts.layout, allocate)

    def copied(self, n: int) -> Coarse:
        """The same lists, apart, with only the rows below ``n``."""
        made = self._in(self.parts.layout, private_region)
        later = (made.parts.ids >= n) & (made.parts.ids != NONE)
        made.parts.ids[later] = NONE
        made.holes += int(np.count_nonzero(later))
        return made

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The list of every one of these rows, -1 for those in none."""
        places = self.places[rows]
        return np.where(places >= 0, self.owner[places // BLOCK], -1).astype(np.int64)

    def rows_of(self, lists: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        """All rows below ``n`` in these lists, ascending."""
        chosen = np.zeros(self.parts.layout.lists, np.bool_)
        chosen[lists] = True
        blocks = np.flatnonzero(chosen[self.owner[: self.used]])
        ids = self.parts.ids.reshape(-1, BLOCK)[blocks].reshape(-1)
        return np.sort(ids[ids < n]).astype(np.int64)

    def left(self, rows: NDArray[np.int64]) -> None:
        """Take rows out of their places: they are about to change."""
        self.parts.ids[self.places[rows]] = NONE
        self.places[rows] = -1
        self.holes += len(rows)

    def added(
        self, rows: NDArray[np.int64], labels: NDArray[np.int64], vectors: NDArray[np.float32]
    ) -> Coarse:
        """Put rows into lists; ``vectors[row]`` are all rows of the index. Returns the lists that
        hold them: these, or new ones with more room.
        """
        if len(rows) == 0:
            return self
        order = np.argsort(labels, kind="stable")
        rows, labels = rows[order], labels[order]
        chosen, starts, counts = np.unique(labels, return_index=True, return_counts=True)
        needed = np.maximum(counts - (BLOCK - self.fills[chosen]) + BLOCK - 1, 0) // BLOCK
        if self.used + int(needed.sum()) > self.parts.layout.blocks:
            return self._roomier(int(needed.sum())).added(rows, labels, vectors)
        if int(rows.max()) >= len(self.places):
            places = np.full(int(rows.max()) * 5 // 4 + BLOCK, -1, np.int64)
            places[: len(self.places)] = self.places
            self.places = places
        place = np.empty(len(rows), np.int64)
        for one, start, count, fresh in zip(chosen, starts, counts, needed, strict=True):
            room = BLOCK - int(self.fills[one])
            tail = int(self.tails[one]) * BLOCK + int(self.fills[one])
            first = self.used * BLOCK - room
            numbers = np.arange(count)
            place[start : start + count] = np.where(numbers < room, tail, first) + numbers
            self.fills[one] += min(room, count)
            if fresh:
                self.fills[one] = count - room - (fresh - 1) * BLOCK
                self._link(int(one), int(fresh))
        self.places[rows] = place
        if self.parts.layout.coded:
            self._encode(place, rows, vectors)
        self.parts.ids[place] = rows
        return self

    def _link(self, one: int, fresh: int) -> None:
        """Hang new blocks onto a list."""
        first, last = self.used, self.used + fresh - 1
        self.owner[first : last + 1] = one
        self.parts.ids[first * BLOCK : (last + 1) * BLOCK] = NONE
        self.parts.links[first:last] = np.arange(first + 1, last + 1)
        self.parts.links[last] = -1
        tail = int(self.tails[one])
        if tail < 0:
            self.parts.heads[one] = first
        else:
            self.parts.links[tail] = first
        self.tails[one] = last
        self.used += fresh

    def _encode(
        self, place: NDArray[np.int64], rows: NDArray[np.int64], vectors: NDArray[np.float32]
    ) -> None:
        groups = self.parts.layout.groups
        codes = self.parts.codes.reshape(-1, groups, BLOCK)
        width = (self.parts.layout.dim + 7) // 8
        for at in range(0, len(rows), STEP):
            where = place[at : at + STEP]
            signs = np.packbits(vectors[rows[at : at + STEP]] > 0, axis=1, bitorder="little")
            codes[where // BLOCK, :width, where % BLOCK] = signs

    def _roomier(self, blocks: int) -> Coarse:
        """The same lists with room for this many blocks more."""
        layout = self.parts.layout
        wider = replace(layout, blocks=layout.blocks * 5 // 4 + blocks + 16)
        return self._in(wider, self.allocate)

    def _in(self, layout: ListLayout, allocate: Callable[[int], Region]) -> Coarse:
        """The same lists in arrays of this layout."""
        old = self.parts
        parts = empty_lists(layout, allocate)
        parts.heads[:] = old.heads
        parts.links[: self.used] = old.links[: self.used]
        parts.ids[: self.used * BLOCK] = old.ids[: self.used * BLOCK]
        size = self.used * BLOCK * layout.groups if layout.coded else 0
        parts.codes[:size] = old.codes[:size]
        owner = np.full(layout.blocks, -1, np.int32)
        owner[: self.used] = self.owner[: self.used]
        return Coarse(
            self.centroids,
            parts,
            allocate,
            self.kernels,
            self.probes,
            self.trained,
            owner,
            self.places,
            self.used,
            self.holes,
        )
