"""Other people's indexes, on one thread, for the benchmark: built at their usual settings."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Search = Callable[[Floats], NDArray[np.int64]]


def faiss_index(kind: str, effort: int = 0, refine: int = 0) -> Callable[[Floats, int], Search]:
    """A maker of a faiss index by factory string; ``effort`` is efSearch, ``refine`` the factor
    of candidates that are scored again in float32.
    """

    def make(rows: Floats, k: int) -> Search:
        import faiss

        faiss.omp_set_num_threads(1)
        if "HNSW" in kind and len(rows) > 20_000:
            raise ImportError("its graph takes minutes to build at this size")
        index: Any = faiss.index_factory(rows.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        index.train(rows)
        index.add(rows)
        if effort:
            index.hnsw.efSearch = effort
        if refine:
            flat = faiss.IndexFlat(rows.shape[1], faiss.METRIC_INNER_PRODUCT)
            flat.add(rows)
            index = (index, faiss.IndexRefine(index, flat), flat)
            index[1].k_factor = refine
            return lambda query: np.asarray(index[1].search(query[None], k)[1][0])
        return lambda query: np.asarray(index.search(query[None], k)[1][0])

    return make


def usearch_index(dtype: str, exact: bool) -> Callable[[Floats, int], Search]:
    """A maker of a usearch index (HNSW, or exact)."""

    def make(rows: Floats, k: int) -> Search:
        from usearch.index import Index, search

        if exact:
            return lambda query: np.asarray(search(rows, query, k, metric="ip", exact=True).keys)
        if len(rows) > 20_000:
            raise ImportError("its graph takes minutes to build at this size")
        index = Index(ndim=rows.shape[1], metric="ip", dtype=dtype)
        index.add(np.arange(len(rows)), rows, threads=1)
        return lambda query: np.asarray(index.search(query, k, threads=1).keys)

    return make


def qdrant_edge(rows: Floats, k: int) -> Search:
    """The memory's own store, exact search."""
    import qdrant_edge as edge

    if len(rows) > 200_000:
        raise ImportError("not built at this size")
    folder = tempfile.mkdtemp(prefix="aiki-bench-")
    config = edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(size=rows.shape[1], distance=edge.Distance.Cosine)
    )
    shard = edge.EdgeShard.create(folder, config)
    for at in range(0, len(rows), 1000):
        points = [
            edge.Point(id=at + i, vector=row.tolist(), payload={})
            for i, row in enumerate(rows[at : at + 1000])
        ]
        shard.update(edge.UpdateOperation.upsert_points(points))

    def search(query: Floats) -> NDArray[np.int64]:
        request = edge.SearchRequest(query=edge.Query.Nearest(query.tolist()), limit=k)
        return np.array([point.id for point in shard.search(request)], np.int64)

    weakref.finalize(search, shutil.rmtree, folder, True)
    return search


PEERS: dict[str, Callable[[Floats, int], Search]] = {
    "faiss flat": faiss_index("Flat"),
    "faiss SQ8": faiss_index("SQ8"),
    "faiss RaBitQ, refined": faiss_index("RaBitQfs", refine=20),
    "faiss PQ192x4fs, refined": faiss_index("PQ192x4fs", refine=10),
    "faiss HNSW32, ef 64": faiss_index("HNSW32", effort=64),
    "usearch exact": usearch_index("f32", exact=True),
    "usearch HNSW f16": usearch_index("f16", exact=False),
    "qdrant-edge exact": qdrant_edge,
}
