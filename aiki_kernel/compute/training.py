"""Making a coarse index: centroids from a sample, a list for every row, and how many lists a
search must look into.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.backend import Backend, Snapshot
from aiki_kernel.compute.coarse import Coarse
from aiki_kernel.compute.kmeans import SAMPLE, STEP, nearest, train
from aiki_kernel.compute.mojo_backend import MojoBackend
from aiki_kernel.compute.native import Kernels
from aiki_kernel.compute.numpy_backend import NumpyBackend
from aiki_kernel.compute.parts import Region
from aiki_kernel.compute.plan import RECALLS, plan_for

MOST_LISTS = 4096
ASKED = 200  # rows whose neighbours are looked for in the lists
SPARE = 0.012  # what the signs and other questions may miss besides
BETWEEN = 0.7  # how far a question may lie from a row towards another
NEIGHBOURS = 10


def trained(
    snapshot: Snapshot,
    kernels: Kernels | None,
    allocate: Callable[[int], Region],
    lists: int | None = None,
) -> Coarse:
    """A coarse index of a snapshot's live rows; ``lists`` is the square root of their number
    when it is not given. There must be at least as many rows as lists.
    """
    backend: Backend = NumpyBackend() if kernels is None else MojoBackend()
    live = np.arange(snapshot.n) if snapshot.alive is None else np.flatnonzero(snapshot.alive)
    count = lists or max(1, min(MOST_LISTS, isqrt(len(live))))
    rng = np.random.default_rng(len(live))
    sample = live
    if len(live) > SAMPLE * count:
        sample = live[np.sort(rng.choice(len(live), SAMPLE * count, replace=False))]
    centroids = train(snapshot.parts.rows[sample], count, backend, kernels)
    labels = np.full(snapshot.n, -1, np.int64)
    for at in range(0, len(live), STEP):
        some = live[at : at + STEP]
        labels[some] = nearest(backend, centroids, snapshot.parts.rows[some], 1)[:, 0]
    probes = probes_for(replace(snapshot, coarse=None), centroids, labels, live, backend, rng)
    return Coarse.dealt(
        centroids, labels, snapshot.parts, allocate, kernels, probes=probes, trained=len(live)
    )


def probes_for(
    snapshot: Snapshot,
    centroids: Snapshot,
    labels: NDArray[np.int64],
    live: NDArray[np.int64],
    backend: Backend,
    rng: np.random.Generator,
) -> int:
    """How many lists hold the promised share of the nearest neighbours, measured: questions are
    asked, and each neighbour's list is looked up in the order in which a search would come to
    it. Some rows are asked about, and, since a question may lie further from every row than
    rows lie from each other, points between two of them; the worse of the two counts.
    """
    asked = live[np.sort(rng.choice(len(live), min(ASKED, len(live)), replace=False))]
    own = np.array(snapshot.parts.rows[asked])
    between = own + BETWEEN * snapshot.parts.rows[rng.choice(live, len(asked))]
    k = min(NEIGHBOURS + 1, len(live))
    coded = backend.uses_codes and snapshot.parts.layout.coded
    plan = plan_for("auto", k, snapshot.n, snapshot.dim, coded, "high")
    probes = 1
    for queries in (own, between):
        near = backend.search(snapshot, queries, plan, snapshot.alive, len(live)).rows
        likeness = queries @ centroids.parts.rows[: centroids.n].T
        ranks = np.argsort(np.argsort(-likeness, axis=1, kind="stable"), axis=1)
        theirs = np.take_along_axis(ranks, labels[near], axis=1)[near != asked[:, None]]
        if len(theirs):
            share = RECALLS["fast"] + SPARE
            probes = max(probes, int(np.quantile(theirs, share, method="higher")) + 1)
    return probes
