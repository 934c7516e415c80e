"""Mojo in this process: the compiled kernels, with the interpreter's lock released."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.backend import Found, Snapshot
from aiki_kernel.compute.errors import BackendError, VectorError
from aiki_kernel.compute.native import Kernels, load_variant, native
from aiki_kernel.compute.parts import Parts
from aiki_kernel.compute.plan import METHODS, Plan

SETTINGS = Struct("=8q")  # method, n, k, depth, few, guess, cosine, probes


def bind(kernels: Kernels, parts: Parts) -> Any:
    """The kernels' handle on parts. It holds their memory for as long as it lives."""
    layout = parts.layout
    return kernels.bind(
        parts.rows, parts.codes8, parts.scales, parts.codes1, layout.capacity, layout.dim
    )


def encode(kernels: Kernels, parts: Parts, first: int, last: int) -> None:
    """Write the codes of rows ``[first, last)``."""
    layout = parts.layout
    kernels.encode(
        parts.rows,
        parts.codes8,
        parts.scales,
        parts.codes1,
        layout.capacity,
        layout.dim,
        first,
        last,
    )


def settings(snapshot: Snapshot, plan: Plan, allowed: int) -> bytes:
    """What the kernels are told of a search besides its arrays."""
    return SETTINGS.pack(
        METHODS[plan.method],
        snapshot.n,
        plan.k,
        plan.depth,
        plan.few,
        2 * allowed > snapshot.n,
        snapshot.metric == "cosine",
        plan.probes,
    )


def checked(found: int, k: int) -> None:
    """Raise what a count of found rows below ``k`` means."""
    if found < 0:
        raise VectorError("A query is not finite or is longer than 1e16.")
    if found < k:
        raise BackendError(f"The kernels found {found} rows where {k} were allowed.")


class MojoBackend:
    """Compiled kernels; ``variant`` names one, the best that the CPU runs by default."""

    name = "mojo"
    uses_codes = True
    needs_shared_memory = False
    note = ""

    def __init__(self, variant: str = "") -> None:
        loaded = native()
        if variant:
            self.kernels = load_variant(variant)
        elif loaded.kernels is None:
            raise BackendError(f"No Mojo here: {loaded.reason}. Use the numpy backend.")
        else:
            self.kernels = loaded.kernels
        self.variant = variant or loaded.variant

    def search(
        self,
        snapshot: Snapshot,
        queries: NDArray[np.float32],
        plan: Plan,
        mask: NDArray[np.bool_] | None,
        allowed: int,
    ) -> Found:
        bitmap = snapshot.bitmap if mask is None else np.packbits(mask, bitorder="little")
        shape = plan.k if queries.ndim == 1 else (len(queries), plan.k)
        rows = np.empty(shape, np.int64)
        scores = np.empty(shape, np.float32)
        binding = snapshot.binding
        if binding is None:
            binding = bind(self.kernels, snapshot.parts)
        arguments = [binding, settings(snapshot, plan, allowed), queries, bitmap, scores, rows]
        if plan.method == "lists" and snapshot.coarse is not None:
            coarse = snapshot.coarse
            chosen = coarse.lists_for(self, queries, plan.probes)
            found = self.kernels.search(*arguments, coarse.binding, chosen)
            if 0 <= found < plan.k:  # too few allowed rows in these lists
                return self.search(snapshot, queries, plan.flat(), mask, allowed)
        else:
            found = self.kernels.search(*arguments)
        checked(found, plan.k)
        return Found(rows, scores)

    def asker(
        self, snapshot: Snapshot, plan: Plan
    ) -> Callable[[NDArray[np.float32]], Found] | None:
        if plan.method == "lists" or snapshot.binding is None:
            return None
        k, bitmap, binding = plan.k, snapshot.bitmap, snapshot.binding
        told = settings(snapshot, plan, snapshot.live)
        search, empty, int64, float32 = self.kernels.search, np.empty, np.int64, np.float32
        new = tuple.__new__

        def ask(query: NDArray[np.float32]) -> Found:
            rows, scores = empty(k, int64), empty(k, float32)
            found = search(binding, told, query, bitmap, scores, rows)
            if found != k:
                checked(found, k)
            return new(Found, (rows, scores))

        return ask

    def close(self) -> None:
        """Nothing is held: the libraries stay loaded."""
