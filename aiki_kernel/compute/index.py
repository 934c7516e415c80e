"""The vector index: rows that come, change and go, and questions asked of them.

Searches take no lock. Each works on a snapshot, an immutable description of the arrays;
adding rows writes behind the snapshot's end, deleting makes a new one, and only
overwriting touches rows that a search may be reading: a counter tells such a search to
start over. Writers exclude each other.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aiki_kernel.compute.backend import (
    Backend,
    Found,
    Method,
    Metric,
    Snapshot,
    check_finite,
    plan_for,
)
from aiki_kernel.compute.choice import Choice, choose, make
from aiki_kernel.compute.errors import VectorError
from aiki_kernel.compute.intake import STEP, check_rows, known_rows, queries_in, rows_in
from aiki_kernel.compute.mojo_backend import bind, encode
from aiki_kernel.compute.native import native
from aiki_kernel.compute.parts import BLOCK, Layout, Parts, in_memory, round_up, shared

LEAST_DIM, MOST_DIM = 1, 4096
MOST_ROWS = 2**31 - BLOCK
FEW = 32  # rows below which `auto` stays with NumPy


class VectorIndex:
    """Rows of ``dim`` float32 components, numbered from 0 in the order they were added.

    ``backend`` is ``auto`` or a name of :data:`aiki_kernel.compute.choice.BACKENDS`. Row
    numbers stay until :meth:`compact`. Every method may be called from any thread.
    """

    def __init__(
        self,
        dim: int,
        metric: Metric = "cosine",
        *,
        backend: str = "auto",
        allocate: Callable[[Layout], Parts] = in_memory,
    ) -> None:
        if not LEAST_DIM <= dim <= MOST_DIM:
            raise VectorError(f"An index takes 1 to 4096 dimensions, not {dim}.")
        if metric not in ("cosine", "dot"):
            raise VectorError(f"No metric {metric!r}: choose cosine or dot.")
        self.dim = dim
        self.metric: Metric = metric
        self.last_seconds: float | None = None
        self._allocate = allocate
        self._writing = threading.RLock()
        self._writes = 0
        self._made: dict[str, Backend] = {}
        self._kernels = native().kernels
        self._coded = self._kernels is not None
        self._state = self._snapshot_of(allocate(Layout(dim, BLOCK, self._coded)), 0, 0, None, 0.0)
        self.use(backend)
        _INDEXES.add(self)

    @classmethod
    def over(
        cls,
        parts: Parts,
        n: int,
        metric: Metric,
        *,
        alive: NDArray[np.bool_] | None = None,
        longest: float = 1.0,
        backend: str = "auto",
    ) -> VectorIndex:
        """An index over arrays that are filled already (a mapped file)."""
        index = cls(parts.layout.dim, metric)
        if index._kernels is None:
            index._coded = False
        elif not parts.layout.coded:  # written where there were no kernels
            bare, parts = parts, in_memory(replace(parts.layout, coded=True))
            parts.rows[:n] = bare.rows[:n]
            index._encode(parts, 0, n)
        live = n if alive is None else int(np.count_nonzero(alive))
        index._state = index._snapshot_of(parts, n, live, alive if live < n else None, longest)
        index.use(backend)
        return index

    def _snapshot_of(
        self,
        parts: Parts,
        n: int,
        live: int,
        alive: NDArray[np.bool_] | None,
        longest: float,
    ) -> Snapshot:
        bitmap = b"" if alive is None else np.packbits(alive, bitorder="little").tobytes()
        binding = bind(self._kernels, parts) if self._kernels is not None else None
        return Snapshot(parts, n, live, alive, bitmap, longest, self.metric, binding)

    # -- what it holds

    def __len__(self) -> int:
        """Rows that are not deleted."""
        return self._state.live

    @property
    def size(self) -> int:
        """Row numbers given out, deleted ones included: the length of a mask."""
        return self._state.n

    @property
    def coded(self) -> bool:
        """Whether every row has its codes."""
        return self._coded

    @property
    def note(self) -> str:
        """What a user should know about the last answer: a fallback; usually empty."""
        return self.note_of(self.backend)

    def note_of(self, backend: str) -> str:
        """The same for one backend by name."""
        made = self._made.get(backend)
        return made.note if made is not None else ""

    @property
    def snapshot(self) -> Snapshot:
        """The rows as they are now."""
        return self._state

    def vectors(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Copies of rows as they are stored: of length 1 for cosine."""
        state = self._state
        return np.array(state.parts.rows[known_rows(state, rows)])

    # -- changes

    def append(self, vectors: ArrayLike) -> range:
        """Add ``(m, dim)`` finite vectors; returns their row numbers."""
        with self._writing:
            clean = rows_in(vectors, self.dim)
            state = self._state
            first, last = state.n, state.n + len(clean)
            if last > MOST_ROWS:
                raise VectorError(f"An index holds at most {MOST_ROWS} rows.")
            parts = state.parts
            grown = last > parts.layout.capacity
            if grown:
                parts = self._grown(state, last)
            try:
                longest = self._write(parts, np.arange(first, last), clean, state.longest)
            except VectorError:
                if grown:
                    self._state = self._snapshot_of(
                        parts, state.n, state.live, state.alive, state.longest
                    )
                raise
            alive = state.alive
            if alive is not None:
                alive = np.concatenate([alive, np.ones(last - first, np.bool_)])
            live = state.live + last - first
            if grown or alive is not None:
                self._state = self._snapshot_of(parts, last, live, alive, longest)
            else:
                self._state = replace(state, n=last, live=live, longest=longest)
            return range(first, last)

    def overwrite(self, rows: ArrayLike, vectors: ArrayLike) -> None:
        """Put other vectors in rows that exist and are not deleted."""
        with self._writing:
            state = self._state
            which = known_rows(state, rows)
            clean = rows_in(vectors, self.dim)
            if len(which) != len(clean):
                raise VectorError(f"{len(which)} rows cannot take {len(clean)} vectors.")
            check_rows(clean)
            self._writes += 1  # odd: searches that read now will start over
            try:
                longest = self._write(state.parts, which, clean, state.longest)
                self._state = replace(state, longest=longest)
            finally:
                self._writes += 1

    def delete(self, rows: ArrayLike) -> None:
        """Take rows out of every answer. Deleting twice, or a row that never was, is an error."""
        with self._writing:
            state = self._state
            which = known_rows(state, rows)
            alive = np.ones(state.n, np.bool_) if state.alive is None else state.alive.copy()
            alive[which] = False
            live = int(np.count_nonzero(alive))
            dead = alive if live < state.n else None
            self._state = self._snapshot_of(state.parts, state.n, live, dead, state.longest)

    def compact(self) -> NDArray[np.int64]:
        """Forget deleted rows for good; returns the old number of every row that stays."""
        with self._writing:
            state = self._state
            keep = np.arange(state.n) if state.alive is None else np.flatnonzero(state.alive)
            parts = self._allocate(
                Layout(self.dim, round_up(max(1, len(keep)), BLOCK), self._coded)
            )
            for at in range(0, len(keep), STEP):
                parts.rows[at : at + STEP][: len(keep) - at] = state.parts.rows[
                    keep[at : at + STEP]
                ]
            self._encode(parts, 0, len(keep))
            self._state = self._snapshot_of(parts, len(keep), len(keep), None, state.longest)
            return keep

    def _grown(self, state: Snapshot, rows: int) -> Parts:
        old = state.parts
        capacity = round_up(max(rows, rows + rows // 2, 256), BLOCK)
        parts = self._allocate(Layout(self.dim, min(capacity, MOST_ROWS), self._coded))
        parts.rows[: state.n] = old.rows[: state.n]
        if self._coded:
            parts.codes8[: state.n] = old.codes8[: state.n]
            parts.scales[: state.n] = old.scales[: state.n]
            parts.codes1[: len(old.codes1)] = old.codes1
        return parts

    def _write(
        self, parts: Parts, which: NDArray[np.int64], vectors: NDArray[np.float32], longest: float
    ) -> float:
        """Write rows and their codes; returns the bound on row lengths."""
        check_rows(vectors)
        for at in range(0, len(which), STEP):
            some = vectors[at : at + STEP]
            lengths = np.sqrt(np.einsum("ij,ij->i", some, some, dtype=np.float64))
            if self.metric == "cosine":
                lengths[lengths == 0] = 1
                parts.rows[which[at : at + STEP]] = some / lengths[:, None]
                longest = max(longest, 1.0)
            else:
                parts.rows[which[at : at + STEP]] = some
                longest = max(longest, float(lengths.max()))
        if len(which) and int(which[-1]) - int(which[0]) == len(which) - 1:
            self._encode(parts, int(which[0]), int(which[-1]) + 1)
        else:
            for row in which:
                self._encode(parts, int(row), int(row) + 1)
        return longest

    def _encode(self, parts: Parts, first: int, last: int) -> None:
        if self._kernels is not None and last > first:
            encode(self._kernels, parts, first, last)

    # -- questions

    def use(self, backend: str) -> Choice:
        """Search with another backend from now on; returns what will be used and why."""
        if backend != "auto" and self._backend(backend).needs_shared_memory:
            self._share()
        self.backend = backend
        return self.choice()

    def _share(self) -> None:
        """Move the rows to memory that another process can map, if they are not there yet."""
        if self._state.parts.fd >= 0:
            return
        with self._writing:
            self._allocate = shared
            state = self._state
            if state.parts.fd < 0:
                parts = self._grown(state, state.n)
                self._state = self._snapshot_of(
                    parts, state.n, state.live, state.alive, state.longest
                )

    def choice(self) -> Choice:
        """Which backend answers now, and why."""
        if self.backend == "auto":
            return choose(self._state.n, self.dim)
        return Choice(self.backend, "chosen by hand")

    def _backend(self, name: str) -> Backend:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = make(name)
        return made

    def search(
        self,
        query: ArrayLike,
        k: int = 10,
        *,
        mask: ArrayLike | None = None,
        method: Method | Literal["auto"] = "auto",
        backend: str = "",
    ) -> Found:
        """The ``k`` best rows for one query ``(dim,)`` or a batch ``(q, dim)``.

        ``mask`` is a boolean array of :attr:`size`: only rows where it is true are answered.
        ``backend`` answers this question in the place of the one that :meth:`use` chose.
        Fewer than ``k`` come back when fewer there are. Raises VectorError for a query of the
        wrong shape, one that is not finite, or a negative ``k``.
        """
        started = time.perf_counter()
        queries = queries_in(query, self.dim)
        name = backend or self.backend
        if name != "auto" and self._backend(name).needs_shared_memory:
            self._share()
        writes = self._writes
        found = self._answer(queries, k, mask, method, name)
        if writes & 1 or writes != self._writes:  # rows were overwritten meanwhile
            with self._writing:
                found = self._answer(queries, k, mask, method, name)
        self.last_seconds = time.perf_counter() - started
        return found

    def _answer(
        self,
        queries: NDArray[np.float32],
        k: int,
        mask: ArrayLike | None,
        method: Method | Literal["auto"],
        name: str,
    ) -> Found:
        state = self._state
        allowed = state.live
        which = None
        if mask is not None:
            which = np.asarray(mask)
            if which.dtype != np.bool_ or which.shape != (state.n,):
                raise VectorError(f"A mask must be {state.n} booleans, one a row.")
            if state.alive is not None:
                which = which & state.alive
            allowed = int(np.count_nonzero(which))
        if k < 0:
            raise VectorError(f"k must not be negative: {k}.")
        k = min(int(k), allowed)
        if k == 0 or len(queries) == 0:
            check_finite(queries)
            empty = (*queries.shape[:-1], k)
            return Found(np.empty(empty, np.int64), np.empty(empty, np.float32))
        if name == "auto":
            name = "mojo" if self._kernels is not None and state.n >= FEW else "numpy"
        backend = self._made.get(name) or self._backend(name)
        if not backend.uses_codes:
            check_finite(queries)
        plan = plan_for(method, k, state.n, self.dim, backend.uses_codes and self._coded)
        if method != "auto" and not backend.uses_codes:
            plan = plan_for(method, k, state.n, self.dim, True)
        return backend.search(state, queries, plan, which, allowed)

    def close(self) -> None:
        """Close the backends; the index stays usable."""
        for backend in self._made.values():
            backend.close()
        self._made.clear()


def _reset_after_fork() -> None:
    """A child gets locks of its own: the parent's may have been held by another thread."""
    for index in list(_INDEXES):
        index._writing = threading.RLock()
        index._writes += index._writes & 1


_INDEXES: weakref.WeakSet[VectorIndex] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
