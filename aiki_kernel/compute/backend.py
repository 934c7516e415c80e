"""The protocol of search backends, and what passes through it.

A backend answers questions about a :class:`Snapshot`: rows that do not change while it
works. All backends keep one contract, and one suite of tests runs on all of them:

* scores are the dot products of the stored float32 rows with the query, summed in float64
  and rounded to float32 (divided by the query's length for cosine; a zero query scores 0);
* the best score comes first, equal scores in the order of their rows;
* exactly ``k`` rows come back, for ``k`` is never more than the rows that are allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.errors import VectorError
from aiki_kernel.compute.parts import Parts

Metric = Literal["cosine", "dot"]
Method = Literal["exact", "8bit", "1bit"]
METHODS: dict[str, int] = {"exact": 0, "8bit": 1, "1bit": 2}
LONGEST = 1e16  # the longest vector taken: products of two stay within float32


class Found(NamedTuple):
    """``rows`` int64 and ``scores`` float32, both ``(k,)`` or ``(queries, k)``."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """An index at one moment. ``alive`` is ``None`` while no row was deleted.

    ``longest`` bounds the length of every row. ``binding`` is the kernels' own handle on
    the parts.
    """

    parts: Parts
    n: int
    live: int
    alive: NDArray[np.bool_] | None
    bitmap: bytes
    longest: float
    metric: Metric
    binding: Any = None

    @property
    def dim(self) -> int:
        return self.parts.layout.dim


def check_finite(queries: NDArray[np.float32]) -> None:
    """Raise VectorError unless every query is finite and not too long."""
    wide = queries.astype(np.float64)
    if not bool((np.einsum("...j,...j->...", wide, wide) <= LONGEST**2).all()):
        raise VectorError("A query is not finite or is longer than 1e16.")


class Plan(NamedTuple):
    """How to search: ``depth`` rows survive the 1-bit scan, ``few`` are scored exactly."""

    method: Method
    k: int
    depth: int
    few: int


@lru_cache(maxsize=256)
def plan_for(method: Method | Literal["auto"], k: int, n: int, dim: int, coded: bool) -> Plan:
    """Depths that keep recall@10 at 0.995 on sentence embeddings (measured; see the bench).

    The 1-bit scan needs more survivors among more rows: about ``10 k (n / 1000)^0.2``. Under
    128 dimensions sign bits say too little, and for few rows scanning them all is as fast.
    """
    depth = min(n, max(64, int(np.ceil(10 * k * max(1.0, n / 1000) ** 0.2))))
    if method == "auto":
        codes: Method = "1bit" if dim >= 128 else "8bit"
        method = codes if coded and n >= 192 and k * 8 <= n else "exact"
    if depth > 15000 or (method != "exact" and not coded):
        method = "exact"
    # float32 sums need a few rows more than asked for: their last digits may be wrong
    few = min(n, k + max(4, k // 4) if method == "exact" else k + max(2, k // 5))
    if few > 15000:
        few = k
    return Plan(method, k, max(depth, few), few)


class Backend(Protocol):
    """One way of computing."""

    name: str
    uses_codes: bool
    needs_shared_memory: bool

    @property
    def note(self) -> str:
        """What a user should know about the last answer (a fallback); usually empty."""
        ...

    def search(
        self,
        snapshot: Snapshot,
        queries: NDArray[np.float32],
        plan: Plan,
        mask: NDArray[np.bool_] | None,
        allowed: int,
    ) -> Found:
        """Answer one contiguous float32 query ``(dim,)`` with ``(plan.k,)`` rows, or a batch
        ``(q, dim)`` with ``(q, plan.k)``. Raises VectorError for one that is not finite.

        ``mask`` (bool, ``(n,)``, deleted rows already out of it) restricts the answer to
        ``allowed`` rows; ``None`` allows the snapshot's live rows.
        """
        ...

    def close(self) -> None:
        """Give up processes and memory. A closed backend may be used again."""
        ...
