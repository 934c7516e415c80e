"""The protocol of search backends, and what passes through it.

A backend answers questions about a :class:`Snapshot`: rows that do not change while it
works. All backends keep one contract, and one suite of tests runs on all of them:

* scores are the dot products of the stored float32 rows with the query, summed in float64
  and rounded to float32 (divided by the query's length for cosine; a zero query scores 0);
* the best score comes first, equal scores in the order of their rows;
* exactly ``k`` rows come back, for ``k`` is never more than the rows that are allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.errors import VectorError
from aiki_kernel.compute.parts import Parts
from aiki_kernel.compute.plan import Method as Method  # said here for those who search
from aiki_kernel.compute.plan import Plan

if TYPE_CHECKING:
    from aiki_kernel.compute.coarse import Coarse

Metric = Literal["cosine", "dot"]
LONGEST = 1e16  # the longest vector taken: products of two stay within float32


class Found(NamedTuple):
    """``rows`` int64 and ``scores`` float32, both ``(k,)`` or ``(queries, k)``."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """An index at one moment. ``alive`` is ``None`` while no row was deleted.

    ``longest`` bounds the length of every row. ``binding`` is the kernels' own handle on
    the parts. ``coarse`` holds every live row when there is one.
    """

    parts: Parts
    n: int
    live: int
    alive: NDArray[np.bool_] | None
    bitmap: bytes
    longest: float
    metric: Metric
    binding: Any = None
    coarse: Coarse | None = None

    @property
    def dim(self) -> int:
        return self.parts.layout.dim


def check_finite(queries: NDArray[np.float32]) -> None:
    """Raise VectorError unless every query is finite and not too long."""
    wide = queries.astype(np.float64)
    if not bool((np.einsum("...j,...j->...", wide, wide) <= LONGEST**2).all()):
        raise VectorError("A query is not finite or is longer than 1e16.")


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

    def asker(
        self, snapshot: Snapshot, plan: Plan
    ) -> Callable[[NDArray[np.float32]], Found] | None:
        """A shortcut for many single questions of one snapshot, where a backend has one: what it
        returns takes a contiguous float32 query ``(dim,)`` and does what :meth:`search` does.
        """
        ...

    def close(self) -> None:
        """Give up processes and memory. A closed backend may be used again."""
        ...
