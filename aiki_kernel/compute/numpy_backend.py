"""NumPy: the reference that every machine has, and the judge of the other backends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.backend import Found, Snapshot
from aiki_kernel.compute.plan import Plan

CHUNK = 16384  # rows: what a wide temporary copy may take


def _eight_bit(snapshot: Snapshot, query: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores of all rows by 8-bit codes, made from the rows as the kernels make them."""
    rows = snapshot.parts.rows[: snapshot.n]
    top = max(float(np.abs(query).max()), 1e-30)
    coded_query = np.rint(query.astype(np.float64) * (127 / top))
    out = np.empty(snapshot.n)
    for at in range(0, snapshot.n, CHUNK):
        some = rows[at : at + CHUNK]
        tops = np.maximum(np.abs(some).max(axis=1), np.float32(1e-30))
        coded = np.rint(some * (np.float32(127) / tops)[:, None]).astype(np.float64)
        out[at : at + CHUNK] = (coded @ coded_query) * tops
    return out


def _one_bit(snapshot: Snapshot, query: NDArray[np.float32]) -> NDArray[np.float64]:
    """Estimates of all rows by the signs of their components."""
    rows = snapshot.parts.rows[: snapshot.n]
    out = np.empty(snapshot.n)
    for at in range(0, snapshot.n, CHUNK):
        out[at : at + CHUNK] = (rows[at : at + CHUNK] > 0) @ query.astype(np.float64)
    return out


def _best(scores: NDArray[np.float64], rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Positions of the best ``k``: by score, then by row."""
    return np.lexsort((rows, -scores))[:k]


class NumpyBackend:
    """One matrix-vector product and a partition; finalists are scored in float64."""

    name = "numpy"
    uses_codes = False
    needs_shared_memory = False
    note = ""

    def search(
        self,
        snapshot: Snapshot,
        queries: NDArray[np.float32],
        plan: Plan,
        mask: NDArray[np.bool_] | None,
        allowed: int,
    ) -> Found:
        if mask is None and snapshot.alive is not None:
            mask = snapshot.alive
        if queries.ndim == 1:
            return Found(*self._one(snapshot, queries, plan, mask, None))
        rows = np.empty((len(queries), plan.k), np.int64)
        scores = np.empty((len(queries), plan.k), np.float32)
        if plan.method == "exact" and len(queries) > 1:
            step = max(1, (1 << 24) // max(1, snapshot.n))
            for at in range(0, len(queries), step):
                sums = queries[at : at + step] @ snapshot.parts.rows[: snapshot.n].T
                for i, row in enumerate(sums, at):
                    rows[i], scores[i] = self._one(snapshot, queries[i], plan, mask, row)
        else:
            for i, query in enumerate(queries):
                rows[i], scores[i] = self._one(snapshot, query, plan, mask, None)
        return Found(rows, scores)

    def _one(
        self,
        snapshot: Snapshot,
        query: NDArray[np.float32],
        plan: Plan,
        mask: NDArray[np.bool_] | None,
        sums: NDArray[np.float32] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if plan.method == "exact":
            if sums is None:
                sums = snapshot.parts.rows[: snapshot.n] @ query
            finalists = self._near_the_top(snapshot, query, sums, plan.k, mask)
        elif plan.method == "lists" and snapshot.coarse is not None:
            finalists = self._in_lists(snapshot, query, plan, mask)
        else:
            allowed = np.arange(snapshot.n) if mask is None else np.flatnonzero(mask)
            if plan.method == "1bit":
                estimates = _one_bit(snapshot, query)[allowed]
                allowed = allowed[_best(estimates, allowed, plan.depth)]
            estimates = _eight_bit(snapshot, query)[allowed]
            finalists = allowed[_best(estimates, allowed, plan.few)]
        return self._exactly(snapshot, query, finalists, plan.k)

    def _in_lists(
        self,
        snapshot: Snapshot,
        query: NDArray[np.float32],
        plan: Plan,
        mask: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]:
        """Finalists among the rows of the likely lists; all rows when those are too few."""
        assert snapshot.coarse is not None
        chosen = snapshot.coarse.lists_for(self, query, plan.probes)[0]
        rows = snapshot.coarse.rows_of(chosen, snapshot.n)
        if mask is not None:
            rows = rows[mask[rows]]
        if len(rows) < plan.k:
            sums = snapshot.parts.rows[: snapshot.n] @ query
            return self._near_the_top(snapshot, query, sums, plan.k, mask)
        sums = snapshot.parts.rows[rows] @ query
        return rows[self._near_the_top(snapshot, query, sums, plan.k, None)]

    def _near_the_top(
        self,
        snapshot: Snapshot,
        query: NDArray[np.float32],
        sums: NDArray[np.float32],
        k: int,
        mask: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]:
        """Rows that float32 rounding may hide among the best ``k``: ties are never cut."""
        if mask is not None:
            sums = np.where(mask, sums, np.float32(-np.inf))
        n = len(sums)
        bar = float(np.partition(sums, n - k)[n - k]) if k < n else -np.inf
        length = float(np.sqrt(np.dot(query.astype(np.float64), query.astype(np.float64))))
        slack = 2.0**-20 * length * snapshot.longest
        near = sums >= np.float32(np.nextafter(np.float32(bar - slack), np.float32(-np.inf)))
        if mask is not None:
            near &= mask
        return np.flatnonzero(near)

    def _exactly(
        self,
        snapshot: Snapshot,
        query: NDArray[np.float32],
        finalists: NDArray[np.int64],
        k: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        wide = query.astype(np.float64)
        scale = 1.0
        if snapshot.metric == "cosine":
            length = float(np.sqrt(np.dot(wide, wide)))
            scale = 1 / length if length else 0.0
        scores = np.empty(len(finalists))
        for at in range(0, len(finalists), CHUNK):
            some = snapshot.parts.rows[finalists[at : at + CHUNK]].astype(np.float64)
            # a sum over an axis goes the same way for every row; a BLAS product need not
            scores[at : at + CHUNK] = (some * wide).sum(axis=1)
        narrow = (scores * scale).astype(np.float32) + np.float32(0)
        order = _best(narrow.astype(np.float64), finalists, k)
        return finalists[order], narrow[order]

    def asker(
        self, snapshot: Snapshot, plan: Plan
    ) -> Callable[[NDArray[np.float32]], Found] | None:
        """A product takes longer than what leads to it."""
        return None

    def close(self) -> None:
        """Nothing is held."""
