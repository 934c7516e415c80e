"""Mojo in this process: the compiled kernels, with the interpreter's lock released."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.backend import METHODS, Found, Plan, Snapshot
from aiki_kernel.compute.errors import BackendError, VectorError
from aiki_kernel.compute.native import Kernels, load_variant, native
from aiki_kernel.compute.parts import Parts


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
        found = self.kernels.search(
            binding,
            METHODS[plan.method],
            queries,
            snapshot.n,
            plan.k,
            plan.depth,
            plan.few,
            bitmap,
            int(2 * allowed > snapshot.n),
            int(snapshot.metric == "cosine"),
            scores,
            rows,
        )
        if found < 0:
            raise VectorError("A query is not finite or is longer than 1e16.")
        if found < plan.k:
            raise BackendError(f"The kernels found {found} rows where {plan.k} were allowed.")
        return Found(rows, scores)

    def close(self) -> None:
        """Nothing is held: the libraries stay loaded."""
