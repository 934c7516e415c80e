"""DenseSearch: which backend answers the dense list of a recall, and what it says about it.

``numpy``, ``mojo`` and ``mojo-server`` search the index that this process keeps beside the
embedded store; ``qdrant`` is the store's own search; ``auto`` takes the fastest there is.
One that fails is answered for by NumPy, and if need be by the store; the answer then says so.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiki_kernel.compute.choice import BACKENDS, Choice, availability, choose
from aiki_kernel.errors import UsageError
from aiki_kernel.memory.lexical import Sparse
from aiki_kernel.memory.records import Searched
from aiki_kernel.memory.store import MemoryStore, Scored, Where

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aiki_kernel.memory.collection import Collection
    from aiki_kernel.memory.dense import DenseIndex

_log = logging.getLogger(__name__)

QDRANT = "qdrant"
NAMES = ("auto", *BACKENDS, QDRANT)
_CHOSEN = "chosen"
_SHARED = "others may write to the server at memory.url, so it searches by itself"
_TIED = 2e-6  # float32 cosines of the same pair, summed in another order, differ by this much
_COMPARE_S = 0.5
_MOST_REPEATS = 50


@dataclass(frozen=True)
class Found:
    """Ranked lists by method, who made the dense one, and a line for the user if that failed."""

    lists: Mapping[str, Scored]
    by: Searched
    note: str = ""


class DenseSearch:
    """The searches of one collection. Thread-safe; each call names its backend."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._last_ms: dict[str, float] = {}
        self._last: Searched = Searched()
        self._failures: dict[str, str] = {}

    @property
    def store(self) -> MemoryStore:
        return self._collection.store

    @property
    def index(self) -> DenseIndex | None:
        """The index of this process; None where the store is a server's."""
        return self._collection.dense

    def choose(self, wanted: str) -> Choice:
        """The backend that will be asked, and why. Raises UsageError for an unknown name."""
        if wanted not in NAMES:
            raise UsageError(f"There is no backend {wanted!r}: choose {', '.join(NAMES)}.")
        index = self.index
        if wanted == QDRANT:
            return Choice(QDRANT, _CHOSEN)
        if index is None:
            return Choice(QDRANT, _SHARED)
        if not index.ready:
            return Choice(QDRANT, index.standing)
        if wanted == "auto":
            return choose(index.rows, self.store.dimension)
        return Choice(wanted, _CHOSEN)

    def lists(
        self,
        vector: NDArray[np.float32],
        sparse: Mapping[str, Sparse],
        where: Where,
        depth: int,
        wanted: str,
    ) -> Found:
        """All ranked lists of a recall. Raises StoreError, or UsageError for ``wanted``."""
        if self.index is None:  # one round trip for all lists
            choice = self.choose(wanted)
            began = time.perf_counter()
            lists = self.store.search(vector, sparse, where, depth)
            return Found(lists, self._took(choice, began))
        where = self.index.needed(where)
        found = self.dense(vector, where, depth, wanted)
        return Found(
            {**found.lists, **self.store.search(None, sparse, where, depth)}, found.by, found.note
        )

    def dense(self, vector: NDArray[np.float32], where: Where, depth: int, wanted: str) -> Found:
        """The dense list alone, from the backend that is wanted or from its stand-in."""
        choice = self.choose(wanted)
        notes: list[str] = []
        for name in dict.fromkeys((choice.name, "numpy", QDRANT)):
            if name == QDRANT or self.index is None:
                break
            began = time.perf_counter()
            try:
                answer = self.index.search(vector, where, depth, name)
            except Exception as error:  # whatever a backend dies of, another one can answer
                notes.append(self._failed(name, str(error) or type(error).__name__))
                continue
            if answer is None:
                choice = Choice(QDRANT, "only the store can tell what this filter allows")
                break
            if answer.note:  # the search server went away, and NumPy answered for it
                notes.append(self._failed(name, answer.note))
                name = "numpy"
            done = self._took(_instead(choice, name), began)
            return Found({"dense": answer.scored}, done, " ".join(notes))
        began = time.perf_counter()
        lists = self.store.search(vector, {}, where, depth)
        return Found(lists, self._took(_instead(choice, QDRANT), began), " ".join(notes))

    def similarity(
        self, vector: NDArray[np.float32], ids: Sequence[str], found: Found
    ) -> dict[str, float]:
        """Cosines of memories that another list found, by the one who made the dense list."""
        if found.by.name == QDRANT or self.index is None:
            return self.store.similarity(vector, ids)
        return self.index.similarity(vector, ids)

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors (d,) of memories, by the index or else by the store."""
        found = None if self.index is None else self.index.vectors(ids)
        if found is not None:
            return found
        points, _ = self.store.scroll(Where(ids=tuple(ids)), max(len(ids), 1), vectors=True)
        return {point.id: point.vector for point in points if point.vector is not None}

    # --- told to people -------------------------------------------------------------------

    def offered(self, wanted: str) -> dict[str, Any]:
        """All backends: whether each can be had or why not, the chosen one, last latencies."""
        choice, index = self.choose(wanted), self.index
        rows = []
        for name, available, reason in availability():
            if index is None:
                available, reason = False, _SHARED
            elif available and not index.ready:
                reason = index.standing
            rows.append({"name": name, "available": available, "reason": reason})
        here = "its own search, exact"
        rows.append({"name": QDRANT, "available": True, "reason": here})
        for row in rows:
            row["last_ms"] = _rounded(self._last_ms.get(str(row["name"])))
            row["failed"] = self._failures.get(str(row["name"]), "")
        return {
            "wanted": wanted,
            "chosen": {"name": choice.name, "reason": choice.reason},
            "backends": rows,
            "memories": index.rows if index and index.ready else self.store.count(Where()),
        }

    def compare(self, vector: NDArray[np.float32], where: Where, depth: int) -> dict[str, Any]:
        """Every backend on the same question, several times: milliseconds (median) and how
        many of its hits are those of the store's own search. Equal scores may change places.
        """
        offered = self.offered("auto")
        judge = self.store.search(vector, {}, where, depth)["dense"]
        rows = []
        for one in offered["backends"]:
            row: dict[str, Any] = {"name": one["name"]}
            here = one["available"] and self.index is not None and self.index.ready
            if one["name"] != QDRANT and not here:
                rows.append(row | {"missing": one["reason"]})
                continue
            rows.append(row | self._timed(one["name"], vector, where, depth, judge))
        if self.index is not None and "mojo-server" not in self._last_ms:
            self.index.close_backends()  # started for this comparison alone
        chosen = offered["chosen"]["name"]
        return {"memories": offered["memories"], "found": len(judge), "rows": rows, "auto": chosen}

    def _timed(
        self, name: str, vector: NDArray[np.float32], where: Where, depth: int, judge: Scored
    ) -> dict[str, Any]:
        taken: list[float] = []
        found: Scored = []
        until = time.perf_counter() + _COMPARE_S
        while len(taken) < 3 or (time.perf_counter() < until and len(taken) < _MOST_REPEATS):
            began = time.perf_counter()
            if name == QDRANT or self.index is None:
                found = self.store.search(vector, {}, where, depth)["dense"]
            else:
                try:
                    answer = self.index.search(vector, where, depth, name)
                except Exception as error:
                    return {"missing": str(error) or type(error).__name__}
                if answer is None or answer.note:
                    return {"missing": answer.note if answer else "not with this filter"}
                found = answer.scored
            taken.append((time.perf_counter() - began) * 1e3)
        warm = taken[1:]  # the first one starts the server and fills caches
        return {
            "ms": _rounded(statistics.median(warm)),
            "first_ms": _rounded(taken[0]),
            "repeats": len(warm),
            "same": agreement(found, judge),
            "of": len(judge),
        }

    def health(self, wanted: str) -> dict[str, Any]:
        """The choice for ``wanted``, the index's standing, the last search and what failed."""
        choice = self.choose(wanted)
        index = self.index
        return {
            "backend": choice.name,
            "reason": choice.reason,
            **(index.health() if index is not None else {}),
            "last": self._last.to_json() if self._last.name else None,
            "failed": dict(self._failures),
        }

    def _took(self, choice: Choice, began: float) -> Searched:
        ms = (time.perf_counter() - began) * 1e3
        self._last_ms[choice.name] = ms
        self._last = Searched(choice.name, choice.reason, ms)
        return self._last

    def _failed(self, name: str, why: str) -> str:
        line = f"The {name} backend failed: {why.rstrip('.')}."
        self._failures[name] = f"{time.strftime('%H:%M:%S')} {why}"
        _log.warning("%s", line)
        return line


def agreement(found: Scored, judge: Scored) -> int:
    """How many of ``found`` are among ``judge``, or score the same as what they replaced."""
    if not judge:
        return 0
    names = {name for name, _ in judge}
    last = judge[-1][1]
    return sum(name in names or abs(score - last) <= _TIED for name, score in found)


def _instead(choice: Choice, name: str) -> Choice:
    return choice if name == choice.name else Choice(name, f"in the place of {choice.name}")


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 4)
