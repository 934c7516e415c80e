"""DenseIndex: the vectors of the embedded store once more, where our own search finds them.

It holds one row a memory, with what filters ask for (:mod:`.columns`), and is changed with
the store, under the same lock. It is a cache that can be thrown away: the file beside the
store says up to which move of the history it knows the store. What moved since then is
read again from the store when the file is loaded, so a killed process costs as many rows
as it had changed; a file that is damaged, or of another store, costs a rebuild behind the
scenes, and until that is done the store searches by itself.

::

    memory/dense.index     vectors, codes and columns, mapped into memory and checksummed
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from aiki_kernel.compute.backend import Method
from aiki_kernel.compute.errors import VectorError
from aiki_kernel.compute.index import VectorIndex
from aiki_kernel.compute.index_file import IndexFileError, load, save, stamp_of
from aiki_kernel.errors import StoreError
from aiki_kernel.memory.columns import LAYOUT, Columns
from aiki_kernel.memory.gate import Gate
from aiki_kernel.memory.history import History
from aiki_kernel.memory.store import MemoryStore, Point, Scored, Where

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "dense.index"
_BATCH = 512
_FEW = 64
_MOST_MOVED = 20_000  # memories read one by one; beyond, reading all is as fast
_LARGE = 64 << 20  # bytes of vectors that are better mapped than held
_EXACT_ENOUGH = 250_000
"""Up to so many rows the 8-bit scan is used, which finds the same hundred as the exact one;
beyond, the 1-bit scan, which finds 99.9 of a hundred, is what keeps recall below 5 ms."""


class OwnedStore(MemoryStore, Protocol):
    """A store that no other process writes to."""

    @property
    def generation(self) -> str:
        """Names the collection that is live: it changes when another takes its place."""
        ...


class Answer(NamedTuple):
    """Ids and cosines, best first, and what a user should know about it; usually nothing."""

    scored: Scored
    note: str


class DenseIndex:
    """One store's vectors. Searches come from any thread; changes hold ``write``."""

    def __init__(
        self, store: OwnedStore, log: History, folder: Path, write: threading.RLock
    ) -> None:
        self.path = folder / FILE
        self.why = "it has not been loaded yet"
        self.done = self.total = 0
        self.changed_at = time.monotonic()
        self.saved_at: float | None = None
        self.unsaved = 0
        self._store, self._log, self._write = store, log, write
        self._gate = Gate()
        self._index: VectorIndex | None = None
        self._columns = Columns()
        self._generation = ""
        self._touched: set[str] | None = None
        self._overwrites = 0
        self._version = 0
        self._mapped: object = None

    # --- questions --------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether it is in step with the store."""
        return self._index is not None and self._generation == self._store.generation

    @property
    def standing(self) -> str:
        """``in step``, or in a few words why not."""
        if self.ready:
            return "in step"
        if self._touched is not None:
            return f"the index is being built ({self.done:,} of {self.total:,})"
        return f"the index will be built: {self.why}"

    @property
    def rows(self) -> int:
        """Memories in it."""
        index = self._index
        return len(index) if index is not None else 0

    def search(
        self, vector: NDArray[np.float32], where: Where, limit: int, backend: str
    ) -> Answer | None:
        """The ``limit`` nearest memories that ``where`` allows; None when only the store can tell.

        Raises BackendError or VectorError when ``backend`` fails.
        """
        with self._gate.shared():
            index = self._index
            if index is None or not self.ready:
                return None
            mask = self._columns.mask(where)
            if mask is None:
                return None
            method: Method | str = "8bit" if index.size <= _EXACT_ENOUGH else "auto"
            found = index.search(
                vector,
                limit,
                mask=None if mask.all() else mask,
                method=method,  # type: ignore[arg-type]
                backend=backend,
            )
            names = self._columns.names(found.rows)
            return Answer(
                list(zip(names, found.scores.tolist(), strict=True)), index.note_of(backend)
            )

    def needed(self, where: Where) -> Where:
        """``where`` without the conditions that every memory here meets."""
        with self._gate.shared():
            return self._columns.needed(where) if self.ready else where

    def similarity(self, vector: NDArray[np.float32], ids: Sequence[str]) -> dict[str, float]:
        """Cosine of ``vector`` (d,) with those of ``ids`` that are here."""
        with self._gate.shared():
            index = self._index
            if index is None:
                return {}
            rows = self._columns.find(ids)
            here = np.flatnonzero(rows >= 0)
            chosen, place = np.unique(rows[here], return_inverse=True)
            wide = vector.astype(np.float64)
            cosines = index.vectors(chosen) @ (wide / (np.linalg.norm(wide) or 1.0))
            return {ids[int(i)]: float(cosines[at]) for i, at in zip(here, place, strict=True)}

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]] | None:
        """The vectors (d,) of ``ids``; None where they are not all here."""
        with self._gate.shared():
            index, rows = self._index, self._columns.find(ids)
            if index is None or not self.ready or (rows < 0).any():
                return None
            return dict(zip(ids, index.vectors(rows), strict=True))

    def close_backends(self) -> None:
        """End the search server, if one runs; the next search by it starts another."""
        with self._gate.shared():
            if self._index is not None:
                self._index.close()

    def health(self) -> dict[str, Any]:
        """Rows, freshness and the file; plain JSON data."""
        index = self._index
        found: dict[str, Any] = {
            "state": self.standing,
            "rows": self.rows,
            "deleted": index.size - len(index) if index is not None else 0,
            "unsaved": self.unsaved,
        }
        if self.saved_at is not None:
            found["saved_s_ago"] = round(time.time() - self.saved_at, 1)
        with contextlib.suppress(OSError):
            found["file_bytes"] = self.path.stat().st_blocks * 512
        return found

    # --- in step with the store -----------------------------------------------------------

    @contextlib.contextmanager
    def moving(self, ids: Sequence[str]) -> Iterator[None]:
        """Around a write to the store, with the write lock held. One that fails half-way
        leaves nobody sure of what the store has, so all of it is read again."""
        self._log.move(ids)
        if self._touched is not None:
            self._touched.update(ids)
        try:
            yield
        except BaseException:
            self.distrust("a write to the store broke off")
            raise

    def upsert(self, points: Sequence[Point]) -> None:
        """The store has these points now."""
        self._change(points, ())

    def describe(self, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        """The store has these payloads now; the vectors are what they were."""
        with self._gate.alone():
            if self._index is None:
                return
            rows = self._columns.find(list(payloads))
            here = rows >= 0
            told = [
                payload for payload, known in zip(payloads.values(), here, strict=True) if known
            ]
            self._columns.put(rows[here], told)
            self._overwrites += len(told)
        self._version += 1
        self.unsaved += len(told)
        self.changed_at = time.monotonic()

    def delete(self, ids: Sequence[str]) -> None:
        """The store has these points no longer."""
        self._change((), ids)

    def distrust(self, why: str) -> None:
        """Let the store search until the index is built anew."""
        with self._gate.alone():
            index, self._index, self._columns = self._index, None, Columns()
            self.why = why
        if index is not None:
            index.close()

    def _change(self, points: Sequence[Point], gone: Sequence[str]) -> None:
        index = self._index
        if index is None:
            return
        try:
            with self._gate.alone():
                self._overwrites += _apply(index, self._columns, points, gone)
        except (VectorError, MemoryError) as error:
            self.distrust(str(error) or type(error).__name__)
            return
        self._version += 1
        self.unsaved += len(points) + len(gone)
        self.changed_at = time.monotonic()

    # --- the file ---------------------------------------------------------------------------

    def load(self) -> bool:
        """Take the file if it belongs to this store, and read what moved since; else say
        :attr:`why` not. Called before anything is written."""
        for left in self.path.parent.glob(f"{FILE}.*.new"):  # of a process killed while it wrote
            left.unlink(missing_ok=True)
        try:
            stamp = stamp_of(self.path) if self.path.exists() else ""
            seq = self._moves_of(stamp)
            moved = None if seq is None else self._log.moved_since(seq)
            if moved is None or len(moved) > _MOST_MOVED:
                what = "is of another state of the store" if stamp else "is not there yet"
                self.why = f"{self.path.name} {what}"
                return False
            loaded = load(self.path, stamp=stamp)
            index = loaded.index
            alive = index.snapshot.alive
            columns = Columns.unpack(
                loaded.keys, np.ones(index.size, np.bool_) if alive is None else alive
            )
            self._mapped = index.snapshot.parts
            self._refresh(index, columns, moved)
            there = self._store.count(Where())
        except (IndexFileError, VectorError) as error:
            self.why = str(error)
            return False
        if len(index) != there:
            self.why = f"{self.path.name} has {len(index):,} memories and the store {there:,}"
            return False
        self._publish(index, columns, self._store.generation)
        self.unsaved = len(moved)
        with contextlib.suppress(OSError):
            self.saved_at = self.path.stat().st_mtime
        return True

    def build(self, stopped: threading.Event) -> None:
        """Read every memory from the store. Raises StoreError, VectorError or MemoryError."""
        with self._write:
            generation, self._touched = self._store.generation, set()
            self.done, self.total = 0, self._store.count(Where())
        try:
            self._store.complete()
            index, columns, after = VectorIndex(self._store.dimension), Columns(), None
            while True:
                points, after = self._store.scroll(Where(), _BATCH, after, vectors=True)
                _apply(index, columns, points, ())
                self.done = len(index)
                if stopped.is_set():
                    return
                if after is None:
                    break
            while len(self._touched) > _FEW and not stopped.is_set():
                with self._write:
                    touched, self._touched = self._touched, set()
                self._refresh(index, columns, touched)
            with self._write:
                self._refresh(index, columns, self._touched)
                if generation == self._store.generation:
                    self._publish(index, columns, generation)
                    self.unsaved = max(len(index), 1)
        finally:
            self._touched = None

    def save(self) -> None:
        """Write the file. Searches and writes go on. Raises OSError."""
        with self._write:
            index = self._index
            if index is None or not self.ready:
                return
            if index.size - len(index) > max(1000, index.size // 4):
                with self._gate.alone():
                    self._columns.keep(index.compact())
            state, packed = index.snapshot, self._columns.pack()
            seq, unsaved = self._log.moves(), self.unsaved
            overwrites, version = self._overwrites, self._version
            stamp = self._stamp(seq)
        save(self.path, index, stamp=stamp, keys=packed, state=state)
        with self._write:
            if overwrites == self._overwrites and index is self._index and self.ready:
                self._log.indexed(seq)
                self.unsaved -= unsaved
                self.saved_at = time.time()
        size = state.n * state.dim * 4
        if size > _LARGE and state.parts is not self._mapped and state.parts.fd < 0:
            self._remap(stamp, index, version)

    def _remap(self, stamp: str, old: VectorIndex, version: int) -> None:
        """Search the file's own pages, and give back the memory of what it was made from."""
        loaded = load(self.path, stamp=stamp)
        with self._write:
            if version != self._version or old is not self._index:
                return
            with self._gate.alone():
                self._index = loaded.index
                self._mapped = loaded.index.snapshot.parts
        old.close()

    def _publish(self, index: VectorIndex, columns: Columns, generation: str) -> None:
        with self._gate.alone():
            old, self._index = self._index, index
            self._columns, self._generation = columns, generation
            self._version += 1
            self.why = ""
        if old is not None:
            old.close()

    def _refresh(self, index: VectorIndex, columns: Columns, ids: Iterable[str]) -> None:
        """Make the rows of ``ids`` what the store has."""
        names = sorted(ids)
        for at in range(0, len(names), _BATCH):
            some = names[at : at + _BATCH]
            points, _ = self._store.scroll(Where(ids=tuple(some)), len(some), vectors=True)
            there = {point.id for point in points}
            _apply(index, columns, points, [name for name in some if name not in there])

    def _stamp(self, seq: int) -> str:
        return f"{LAYOUT} {self._log.id} {self._store.generation} {self._store.dimension} {seq}"

    def _moves_of(self, stamp: str) -> int | None:
        """Up to which move a file knows this store; None when it is another store's."""
        seq = stamp.rpartition(" ")[2]
        return int(seq) if seq.isdecimal() and stamp == self._stamp(int(seq)) else None

    def close(self) -> None:
        """Let go of everything; the file is not written."""
        self.distrust("the memory is closed")


def _apply(
    index: VectorIndex, columns: Columns, points: Sequence[Point], gone: Sequence[str]
) -> int:
    """Put points in and take ids out; how many rows were overwritten."""
    named = {point.id: point for point in points}
    rows = columns.find(list(named))
    fresh = [point for point, row in zip(named.values(), rows, strict=True) if row < 0]
    known = [point for point, row in zip(named.values(), rows, strict=True) if row >= 0]
    if known:
        there = rows[rows >= 0]
        index.overwrite(there, _vectors(known))
        columns.put(there, [point.payload for point in known])
    if fresh:
        index.append(_vectors(fresh))
        columns.append([point.id for point in fresh], [point.payload for point in fresh])
    if gone:
        found = columns.find(sorted(set(gone)))
        found = found[found >= 0]
        if len(found):
            index.delete(found)
            columns.delete(found)
    return len(known)


def _vectors(points: Sequence[Point]) -> NDArray[np.float32]:
    if any(point.vector is None for point in points):
        raise StoreError("The store gave a memory without its vector: run `aiki memory reembed`.")
    return np.stack([point.vector for point in points if point.vector is not None])
