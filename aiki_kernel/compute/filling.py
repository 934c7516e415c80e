"""Writing vectors and their codes into an index's arrays, and moving them to larger ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.backend import Metric, Snapshot
from aiki_kernel.compute.intake import STEP, check_rows
from aiki_kernel.compute.mojo_backend import encode
from aiki_kernel.compute.native import Kernels
from aiki_kernel.compute.parts import BLOCK, Layout, Parts, round_up

MOST_ROWS = 2**31 - BLOCK


def fill(
    parts: Parts,
    which: NDArray[np.int64],
    vectors: NDArray[np.float32],
    metric: Metric,
    longest: float,
    kernels: Kernels | None,
) -> float:
    """Write vectors into rows, of length 1 for cosine, and their codes. Returns the new bound on
    row lengths; raises VectorError, before anything is written, for one that is not finite.
    """
    check_rows(vectors)
    for at in range(0, len(which), STEP):
        some = vectors[at : at + STEP]
        lengths = np.sqrt(np.einsum("ij,ij->i", some, some, dtype=np.float64))
        if metric == "cosine":
            lengths[lengths == 0] = 1
            parts.rows[which[at : at + STEP]] = some / lengths[:, None]
            longest = max(longest, 1.0)
        else:
            parts.rows[which[at : at + STEP]] = some
            longest = max(longest, float(lengths.max()))
    if kernels is not None and len(which):
        if int(which[-1]) - int(which[0]) == len(which) - 1 and bool((np.diff(which) == 1).all()):
            encode(kernels, parts, int(which[0]), int(which[-1]) + 1)
        else:
            for row in which:
                encode(kernels, parts, int(row), int(row) + 1)
    return longest


def grown(
    state: Snapshot, rows: int, allocate: Callable[[Layout], Parts], kernels: Kernels | None
) -> Parts:
    """A snapshot's rows in new arrays with room for at least ``rows`` and half as many more."""
    old = state.parts
    capacity = round_up(max(rows, rows + rows // 2, 256), BLOCK)
    parts = allocate(Layout(state.dim, min(capacity, MOST_ROWS), kernels is not None))
    parts.rows[: state.n] = old.rows[: state.n]
    if kernels is not None:
        parts.codes8[: state.n] = old.codes8[: state.n]
        parts.scales[: state.n] = old.scales[: state.n]
        parts.codes1[: len(old.codes1)] = old.codes1
    return parts


def compacted(
    state: Snapshot,
    keep: NDArray[np.int64],
    allocate: Callable[[Layout], Parts],
    kernels: Kernels | None,
) -> Parts:
    """Only these rows, one after another."""
    capacity = round_up(max(1, len(keep)), BLOCK)
    parts = allocate(Layout(state.dim, capacity, kernels is not None))
    for at in range(0, len(keep), STEP):
        some = keep[at : at + STEP]
        parts.rows[at : at + len(some)] = state.parts.rows[some]
    if kernels is not None and len(keep):
        encode(kernels, parts, 0, len(keep))
    return parts
