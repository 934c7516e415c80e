"""Centroids for the coarse index: spherical k-means on a sample of unit rows.

Every round assigns the sample's rows to their nearest centroid with the same search that
answers questions, and moves each centroid to the mean direction of its rows. (Dhillon and
Modha, Concept decompositions for large sparse text data using clustering, 2001.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.backend import Backend, Snapshot
from aiki_kernel.compute.mojo_backend import bind, encode
from aiki_kernel.compute.native import Kernels
from aiki_kernel.compute.parts import BLOCK, Layout, in_memory, round_up
from aiki_kernel.compute.plan import plan_for

ROUNDS = 8
SAMPLE = 48  # rows a centroid
STEP = 16384  # rows assigned by one call


def snapshot_of(centroids: NDArray[np.float32], kernels: Kernels | None) -> Snapshot:
    """Unit rows ``(c, dim)`` as something that backends can search."""
    n, dim = centroids.shape
    parts = in_memory(Layout(dim, round_up(n, BLOCK), kernels is not None))
    parts.rows[:n] = centroids
    binding = None
    if kernels is not None:
        encode(kernels, parts, 0, n)
        binding = bind(kernels, parts)
    return Snapshot(parts, n, n, None, b"", 1.0, "cosine", binding)


def nearest(
    backend: Backend, centroids: Snapshot, rows: NDArray[np.float32], count: int
) -> NDArray[np.int64]:
    """The ``count`` centroids nearest to each row, ``(m, count)``, nearest first."""
    coded = backend.uses_codes and centroids.parts.layout.coded
    method = "8bit" if coded and count > 1 else "auto"
    plan = plan_for(method, count, centroids.n, centroids.dim, coded)
    found = np.empty((len(rows), count), np.int64)
    for at in range(0, len(rows), STEP):
        some = np.ascontiguousarray(rows[at : at + STEP])
        found[at : at + STEP] = backend.search(centroids, some, plan, None, centroids.n).rows
    return found


def train(
    rows: NDArray[np.float32], count: int, backend: Backend, kernels: Kernels | None
) -> Snapshot:
    """``count`` centroids of unit rows ``(m, dim)``; the same rows give the same centroids."""
    rng = np.random.default_rng(count)
    sample = rows
    if len(rows) > SAMPLE * count:
        sample = rows[np.sort(rng.choice(len(rows), SAMPLE * count, replace=False))]
    centroids = sample[rng.choice(len(sample), count, replace=False)]
    for _ in range(ROUNDS):
        labels = nearest(backend, snapshot_of(centroids, kernels), sample, 1)[:, 0]
        order = np.argsort(labels, kind="stable")
        used, starts = np.unique(labels[order], return_index=True)
        sums = np.add.reduceat(sample[order], starts, axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centroids = sample[rng.choice(len(sample), count, replace=False)]  # for the unused
        good = lengths[:, 0] > 1e-6
        centroids[used[good]] = sums[good] / lengths[good]
    return snapshot_of(centroids, kernels)
