"""How to search: which method, how many rows survive each of its stages, and why so many.

========  =========================================================================
exact     every row in float32
8bit      every row by its 8-bit codes, the best few of them exactly
1bit      every row by its signs, the best ``depth`` by 8-bit codes, few exactly
lists     as 1bit, but only rows of the lists whose centroids are nearest (the
          coarse index, :mod:`aiki_kernel.compute.coarse`)
========  =========================================================================

``recall`` says what the answer may miss and so picks method and depths. The shares are those
of the true best ten that were found on sentence embeddings, measured by the benchmark.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple

from aiki_kernel.compute.errors import VectorError

if TYPE_CHECKING:
    from aiki_kernel.compute.backend import Backend, Snapshot

Method = Literal["exact", "8bit", "1bit", "lists"]
Recall = Literal["fast", "usual", "high", "exact"]
METHODS: dict[str, int] = {"exact": 0, "8bit": 1, "1bit": 2, "lists": 3}
RECALLS: dict[str, float] = {"fast": 0.97, "usual": 0.995, "high": 0.9995, "exact": 1.0}
SIGNS_FROM = 128  # dimensions; under them sign bits say too little
ROWS_FOR_CODES = 192  # for fewer rows one pass over the floats is as fast
ROWS_FOR_LISTS = 150_000  # for fewer rows the scan of all signs is as fast
DEEPEST = 15_000  # what the kernels take


class Plan(NamedTuple):
    """``depth`` rows survive the 1-bit scan, ``few`` are scored exactly, ``k`` are answered;
    ``probes`` lists are looked into.
    """

    method: Method
    k: int
    depth: int
    few: int
    probes: int = 0

    def flat(self) -> Plan:
        """The same search without lists."""
        return self._replace(method="1bit", probes=0)


@lru_cache(maxsize=1024)
def plan_for(
    method: Method | Literal["auto"],
    k: int,
    n: int,
    dim: int,
    coded: bool,
    recall: Recall = "usual",
    probes: int = 0,
) -> Plan:
    """The plan for ``k`` of ``n`` rows. ``coded`` says whether codes may be used, ``probes`` how
    many lists of a coarse index may be looked into, 0 when it should not be used.

    The 1-bit scan needs more survivors among more rows: ``8.5 k (n / 1000)^0.25``, and never
    fewer than ``15 k``, finds 0.995 of the best ten, four times as many all but a few in
    ten thousand.
    """
    wide = 4 if recall == "high" else 1
    depth = min(n, wide * max(64, ceil(k * max(15.0, 8.5 * (n / 1000) ** 0.25))))
    if method == "auto":
        if recall == "exact" or not coded or n < ROWS_FOR_CODES or k * 8 > n:
            method = "exact"
        elif dim < SIGNS_FROM:
            method = "8bit"
        else:
            method = "lists" if recall == "fast" and probes else "1bit"
    if depth > DEEPEST or (method != "exact" and not coded):
        method = "exact"
    # float32 sums need a few rows more than asked for: their last digits may be wrong
    more = max(4, k // 4) if method == "exact" or recall == "high" else max(2, k // 5)
    few = min(n, k + more)
    if few > DEEPEST:
        few = k
    return Plan(method, k, max(depth, few), few, probes if method == "lists" else 0)


def planned(
    state: Snapshot,
    backend: Backend,
    coded: bool,
    k: int,
    allowed: int,
    method: Method | Literal["auto"],
    recall: Recall,
) -> Plan:
    """What the arguments of a search ask of a backend. ``coded`` says whether the index has codes,
    ``allowed`` how many rows may be answered.

    The coarse index serves many rows, and questions that most of them may answer: with a
    narrow mask most of what the lists hold would be thrown away.
    """
    probes = state.coarse.probes if state.coarse is not None else 0
    if method == "lists":
        if not probes:
            raise VectorError("There are no lists to search in: call build_coarse() first.")
    elif state.n < ROWS_FOR_LISTS or 2 * allowed < state.n or state.dim < SIGNS_FROM:
        probes = 0
    if not backend.uses_codes:  # the reference follows a method that is asked for by name
        coded = method != "auto" or (recall == "fast" and probes > 0)
    return plan_for(method, k, state.n, state.dim, coded, recall, probes)
