"""What callers hand in, made into arrays that are safe to compute with, or refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aiki_kernel.compute.backend import LONGEST, Snapshot
from aiki_kernel.compute.errors import VectorError

FLOAT32 = np.dtype(np.float32)
STEP = 16384  # rows taken in at a time, so that wide copies stay small


def queries_in(query: ArrayLike, dim: int) -> NDArray[np.float32]:
    """One query ``(dim,)`` or a batch ``(q, dim)``, contiguous float32; not yet finite."""
    if type(query) is not np.ndarray or query.dtype is not FLOAT32:
        query = _floats(query, dim)
    if not query.flags.c_contiguous:
        query = np.ascontiguousarray(query)
    if query.shape != (dim,) and (query.ndim != 2 or query.shape[1] != dim):
        raise VectorError(f"A query has {dim} components, not {_shape(query)}.")
    return query


def mask_in(mask: ArrayLike | None, state: Snapshot) -> tuple[NDArray[np.bool_] | None, int]:
    """A mask without deleted rows, ``None`` for none, and how many rows may be answered."""
    if mask is None:
        return None, state.live
    which = np.asarray(mask)
    if which.dtype != np.bool_ or which.shape != (state.n,):
        raise VectorError(f"A mask must be {state.n} booleans, one a row.")
    if state.alive is not None:
        which = which & state.alive
    return which, int(np.count_nonzero(which))


def rows_in(vectors: ArrayLike, dim: int) -> NDArray[np.float32]:
    """Vectors ``(m, dim)``; a single one becomes ``(1, dim)``. Not yet finite."""
    floats = _floats(vectors, dim)
    if floats.shape == (dim,):
        floats = floats[None]
    if floats.ndim != 2 or floats.shape[1] != dim:
        raise VectorError(f"Rows have {dim} components, not {_shape(floats)}.")
    return floats


def check_rows(vectors: NDArray[np.float32]) -> None:
    """Raise VectorError unless every row is finite and not too long."""
    for at in range(0, len(vectors), STEP):
        some = vectors[at : at + STEP]
        squares = np.einsum("ij,ij->i", some, some, dtype=np.float64)
        bad = np.flatnonzero(~(squares <= LONGEST**2))
        if len(bad):
            raise VectorError(f"Vector {at + int(bad[0])} is not finite or longer than 1e16.")


def known_rows(state: Snapshot, rows: ArrayLike) -> NDArray[np.int64]:
    """Row numbers that exist, are not deleted, and are named once."""
    which = np.atleast_1d(np.asarray(rows))
    if which.size == 0:
        return np.empty(0, np.int64)
    if which.ndim != 1 or which.dtype.kind not in "iu":
        raise VectorError("Rows are whole numbers.")
    which = which.astype(np.int64)
    inside = (which >= 0) & (which < state.n)
    if state.alive is not None:
        inside[inside] = state.alive[which[inside]]
    if not inside.all():
        raise VectorError(f"There is no row {int(which[~inside][0])}.")
    if len(np.unique(which)) != len(which):
        raise VectorError("A row may be named only once.")
    return which


def _floats(vectors: ArrayLike, dim: int) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(vectors, np.float32)
    except (TypeError, ValueError):
        raise VectorError(f"Vectors must be numbers, {dim} to a row.") from None


def _shape(array: NDArray[np.float32]) -> str:
    return " x ".join(str(n) for n in array.shape) or "a single number"
