"""Every backend that runs on this machine, each compiled variant among them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.backend import Backend
from aiki_kernel.compute.index import VectorIndex
from aiki_kernel.compute.mojo_backend import MojoBackend
from aiki_kernel.compute.native import runnable
from aiki_kernel.compute.numpy_backend import NumpyBackend
from aiki_kernel.compute.server_backend import ServerBackend

MAKERS: dict[str, Callable[[], Backend]] = {"numpy": NumpyBackend}
for _variant in runnable():
    MAKERS[f"mojo-{_variant}"] = lambda variant=_variant: MojoBackend(variant)
if runnable():
    MAKERS["mojo-server"] = ServerBackend


def index_with(backend: Backend, dim: int, metric: str = "cosine") -> VectorIndex:
    """An index that answers with exactly this backend."""
    index = VectorIndex(dim, metric, backend="numpy")  # type: ignore[arg-type]
    index._made["here"] = backend
    index.use("here")
    return index


def sentence_like(n: int, dim: int, seed: int = 7) -> NDArray[np.float32]:
    """Clustered directions, a little like embeddings: neighbours are truly near."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(2, n // 12), dim))
    rows = centres[rng.integers(0, len(centres), n)] + 0.7 * rng.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
