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

from aiki_kernel.compute import intake
from aiki_kernel.compute.backend import Backend, Found, Metric, Snapshot, check_finite
from aiki_kernel.compute.choice import FEW_ROWS, Choice, choose, make
from aiki_kernel.compute.coarse import Coarse
from aiki_kernel.compute.errors import VectorError
from aiki_kernel.compute.filling import MOST_ROWS, compacted, fill, grown
from aiki_kernel.compute.mojo_backend import bind, encode
from aiki_kernel.compute.native import Kernels, native
from aiki_kernel.compute.parts import BLOCK, Layout, Parts, in_memory, region_like, shared
from aiki_kernel.compute.plan import Method, Recall, planned
from aiki_kernel.compute.training import trained

LEAST_DIM, MOST_DIM = 1, 4096
GROWN = 2  # times the rows that the lists were trained on: they are trained anew


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
        self._lists: int | None = None
        self._ready: dict[tuple[int, str, str, str], tuple[Snapshot, Callable[..., Found]]] = {}
        self._kernels = native().kernels
        self._coded = self._kernels is not None
        self._shape = (dim,)
        self._publish(allocate(Layout(dim, BLOCK, self._coded)), 0, None, 0.0, None)
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
        lists: Callable[[Kernels | None, int], Coarse] | None = None,
        backend: str = "auto",
    ) -> VectorIndex:
        """An index over arrays that are filled already (a mapped file); ``lists`` makes its coarse
        index for these kernels and this many rows.
        """
        index = cls(parts.layout.dim, metric)
        if index._kernels is None:
            index._coded = False
        elif not parts.layout.coded:  # written where there were no kernels
            bare, parts = parts, in_memory(replace(parts.layout, coded=True))
            parts.rows[:n] = bare.rows[:n]
            if n:
                encode(index._kernels, parts, 0, n)
        index._publish(parts, n, alive, longest, None)
        if lists is not None:
            coarse = lists(index._kernels, n)
            if index._kernels is not None and not coarse.parts.layout.coded:
                coarse = coarse.dealt_again(coarse.labels(np.arange(n)), parts)
            index._publish(parts, n, alive, longest, coarse)
        index.use(backend)
        return index

    def _publish(
        self,
        parts: Parts,
        n: int,
        alive: NDArray[np.bool_] | None,
        longest: float,
        coarse: Coarse | None,
    ) -> None:
        """Make the next searches see these rows."""
        live = n if alive is None else int(np.count_nonzero(alive))
        if live == n:
            alive = None
        bitmap = b"" if alive is None else np.packbits(alive, bitorder="little").tobytes()
        before: Snapshot | None = getattr(self, "_state", None)
        if before is not None and before.parts is parts:
            binding = before.binding
        else:
            binding = bind(self._kernels, parts) if self._kernels is not None else None
        self._state = Snapshot(parts, n, live, alive, bitmap, longest, self.metric, binding, coarse)
        self._ready = {}

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

    def coarse_of(self, state: Snapshot) -> Coarse | None:
        """A copy of a snapshot's coarse index that changes no more, for a file."""
        with self._writing:
            return None if state.coarse is None else state.coarse.copied(state.n)

    def vectors(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Copies of rows as they are stored: of length 1 for cosine."""
        state = self._state
        return np.array(state.parts.rows[intake.known_rows(state, rows)])

    # -- changes

    def append(self, vectors: ArrayLike) -> range:
        """Add ``(m, dim)`` finite vectors; returns their row numbers."""
        with self._writing:
            clean = intake.rows_in(vectors, self.dim)
            state = self._state
            first, last = state.n, state.n + len(clean)
            if last > MOST_ROWS:
                raise VectorError(f"An index holds at most {MOST_ROWS} rows.")
            parts, new = state.parts, np.arange(first, last)
            full = last > parts.layout.capacity
            if full:
                parts = grown(state, last, self._allocate, self._kernels)
            try:
                longest = fill(parts, new, clean, self.metric, state.longest, self._kernels)
            except VectorError:
                if full:
                    self._publish(parts, state.n, state.alive, state.longest, state.coarse)
                raise
            alive = state.alive
            if alive is not None:
                alive = np.concatenate([alive, np.ones(last - first, np.bool_)])
            coarse = self._listed(state.coarse, parts, new)
            self._publish(parts, last, alive, longest, coarse)
            if coarse is not None and len(self) >= GROWN * coarse.trained:
                self.build_coarse(self._lists)
            return range(first, last)

    def overwrite(self, rows: ArrayLike, vectors: ArrayLike) -> None:
        """Put other vectors in rows that exist and are not deleted."""
        with self._writing:
            state = self._state
            which = intake.known_rows(state, rows)
            clean = intake.rows_in(vectors, self.dim)
            if len(which) != len(clean):
                raise VectorError(f"{len(which)} rows cannot take {len(clean)} vectors.")
            intake.check_rows(clean)
            self._writes += 1  # odd: searches that read now will start over
            try:
                if state.coarse is not None:
                    state.coarse.left(which)
                longest = fill(state.parts, which, clean, self.metric, state.longest, self._kernels)
                coarse = self._listed(state.coarse, state.parts, which)
                self._publish(state.parts, state.n, state.alive, longest, coarse)
            finally:
                self._writes += 1

    def delete(self, rows: ArrayLike) -> None:
        """Take rows out of every answer. Deleting twice, or a row that never was, is an error."""
        with self._writing:
            state = self._state
            which = intake.known_rows(state, rows)
            alive = np.ones(state.n, np.bool_) if state.alive is None else state.alive.copy()
            alive[which] = False
            self._publish(state.parts, state.n, alive, state.longest, state.coarse)

    def compact(self) -> NDArray[np.int64]:
        """Forget deleted rows for good; returns the old number of every row that stays."""
        with self._writing:
            state = self._state
            keep = np.arange(state.n) if state.alive is None else np.flatnonzero(state.alive)
            parts = compacted(state, keep, self._allocate, self._kernels)
            coarse = state.coarse
            if coarse is not None:
                coarse = coarse.dealt_again(coarse.labels(keep), parts)
            self._publish(parts, len(keep), None, state.longest, coarse)
            return keep

    def build_coarse(self, lists: int | None = None) -> None:
        """Train a coarse index of the rows that are here, for ``recall="fast"``: about ten
        seconds for a million rows. Searches go on meanwhile, changes wait. Rows that come later
        are put into its lists at once; when their number has doubled, it is trained anew.

        ``lists`` is the square root of the number of rows when it is not given. Raises
        VectorError when there are fewer rows than lists, and for the metric ``dot``: the
        nearest direction does not bound a product of long rows.
        """
        if self.metric != "cosine":
            raise VectorError("A coarse index is for the metric cosine.")
        with self._writing:
            state = self._state
            if not 1 <= (1 if lists is None else lists) <= state.live:
                raise VectorError(f"{state.live} rows do not fill {lists or 1} lists.")
            self._lists = lists
            coarse = trained(state, self._kernels, region_like(state.parts), lists)
            self._publish(state.parts, state.n, state.alive, state.longest, coarse)

    def _listed(
        self, coarse: Coarse | None, parts: Parts, rows: NDArray[np.int64]
    ) -> Coarse | None:
        """The coarse index with these rows, which are written already, in its lists."""
        if coarse is None:
            return None
        if coarse.worn:
            coarse = coarse.dealt_again(coarse.labels(np.arange(len(coarse.places))), parts)
        return coarse.added(rows, coarse.nearest_lists(parts.rows[rows]), parts.rows)

    # -- questions

    def use(self, backend: str) -> Choice:
        """Search with another backend from now on; returns what will be used and why."""
        if backend != "auto" and self._backend(backend).needs_shared_memory:
            self._share()
        self.backend = backend
        self._ready = {}
        return self.choice()

    def _share(self) -> None:
        """Move the rows to memory that another process can map, if they are not there yet."""
        if self._state.parts.region.fd >= 0:
            return
        with self._writing:
            self._allocate = shared
            state = self._state
            if state.parts.region.fd < 0:
                parts = grown(state, state.n, self._allocate, self._kernels)
                coarse = state.coarse
                self._publish(parts, state.n, state.alive, state.longest, None)
                if coarse is not None:
                    coarse = coarse.moved(region_like(parts))
                    self._publish(parts, state.n, state.alive, state.longest, coarse)

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
        recall: Recall = "usual",
        backend: str = "",
    ) -> Found:
        """The ``k`` best rows for one query ``(dim,)`` or a batch ``(q, dim)``.

        ``mask`` is a boolean array of :attr:`size`: only rows where it is true are answered.
        ``backend`` answers this question in the place of the one that :meth:`use` chose.
        Fewer than ``k`` come back when fewer there are. ``recall`` says what the answer may
        miss: ``usual`` finds 0.995 of the best rows of sentence embeddings, ``high`` all but
        a few in ten thousand, ``exact`` all; ``fast`` finds 0.97 among many rows by the coarse
        index, where :meth:`build_coarse` made one. ``method`` overrides it by hand. Raises
        VectorError for a query of the wrong shape, one that is not finite, or a negative ``k``.
        """
        started = time.perf_counter()
        name = backend or self.backend
        writes = self._writes
        found = None
        if mask is None:
            ready = self._ready.get((k, method, recall, name))
            if (
                ready is not None
                and ready[0] is self._state
                and type(query) is np.ndarray
                and query.dtype is intake.FLOAT32
                and query.shape == self._shape
            ):
                try:
                    found = ready[1](query)
                except (ValueError, BufferError):  # its components lie apart: it is copied below
                    found = None
        if found is None:
            if backend and backend != "auto" and self._backend(backend).needs_shared_memory:
                self._share()
            found = self._answer(intake.queries_in(query, self.dim), k, mask, method, recall, name)
        if writes & 1 or writes != self._writes:  # rows were overwritten meanwhile
            queries = intake.queries_in(query, self.dim)
            with self._writing:
                found = self._answer(queries, k, mask, method, recall, name)
        self.last_seconds = time.perf_counter() - started
        return found

    def _answer(
        self,
        queries: NDArray[np.float32],
        k: int,
        mask: ArrayLike | None,
        method: Method | Literal["auto"],
        recall: Recall,
        name: str,
    ) -> Found:
        state = self._state
        which, allowed = intake.mask_in(mask, state)
        if k < 0:
            raise VectorError(f"k must not be negative: {k}.")
        asked, called = k, name
        k = min(int(k), allowed)
        if k == 0 or len(queries) == 0:
            check_finite(queries)
            empty = (*queries.shape[:-1], k)
            return Found(np.empty(empty, np.int64), np.empty(empty, np.float32))
        if name == "auto":
            name = "mojo" if self._kernels is not None and state.n >= FEW_ROWS else "numpy"
        backend = self._made.get(name) or self._backend(name)
        if not backend.uses_codes:
            check_finite(queries)
        plan = planned(state, backend, self._coded, k, allowed, method, recall)
        if mask is None and queries.ndim == 1:
            ask = backend.asker(state, plan)
            if ask is not None:
                self._ready[(asked, method, recall, called)] = (state, ask)
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
