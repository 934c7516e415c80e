"""Other people's indexes for the benchmark, at their usual settings and at a few others.

Each is built on every CPU and searched on one thread. One that is not installed raises
ImportError; one that would take more than minutes to build says so by its ``most``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Search = Callable[[Floats], NDArray[np.int64]]
TRAINED = 100_000  # rows that are enough to train on
GRAPH_MOST = 200_000  # rows up to which a graph is built within minutes
MANY = 2_000_000


@dataclass(frozen=True)
class Setting:
    """What a search is asked for: the row's name, ``effort`` (ef of a graph), ``probe`` (the part
    of the cells that is looked into), ``refine`` (how many times as many candidates as asked
    for are scored again in float32).
    """

    name: str
    effort: int = 0
    probe: float = 0
    refine: int = 0


@dataclass(frozen=True)
class Peer:
    """An index, built once and searched with each of its settings in turn.

    ``build(rows, k, settings)`` yields a search for each setting, to be used before the next
    is taken. ``most`` is the number of rows up to which it is affordable.
    """

    library: str
    build: Callable[[Floats, int, Sequence[Setting]], Iterator[Search]] = field(repr=False)
    settings: tuple[Setting, ...]
    most: int = MANY


def faiss_index(kind: str) -> Callable[[Floats, int, Sequence[Setting]], Iterator[Search]]:
    """A faiss index by factory string, in which ``{cells}`` is the square root of the rows."""

    def build(rows: Floats, k: int, settings: Sequence[Setting]) -> Iterator[Search]:
        import faiss

        faiss.omp_set_num_threads(os.cpu_count() or 1)
        cells = max(8, round(len(rows) ** 0.5))
        factory = kind.format(cells=cells)
        index: Any = faiss.index_factory(rows.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if "HNSW" in kind:
            index.hnsw.efConstruction = 80
        few = np.random.default_rng(3).permutation(len(rows))[:TRAINED]
        index.train(rows if len(few) == len(rows) else rows[few])
        index.add(rows)
        flat = faiss.IndexFlat(rows.shape[1], faiss.METRIC_INNER_PRODUCT)
        if any(setting.refine for setting in settings):
            flat.add(rows)
        faiss.omp_set_num_threads(1)
        for setting in settings:
            asked = index
            if setting.effort:
                index.hnsw.efSearch = setting.effort
            if setting.probe:
                index.nprobe = max(1, round(cells * setting.probe))
            if setting.refine:
                asked = faiss.IndexRefine(index, flat)
                asked.k_factor = setting.refine
            yield lambda query, asked=asked: asked.search(query[None], k)[1][0]  # type: ignore[misc]

    return build


def usearch_exact(rows: Floats, k: int, settings: Sequence[Setting]) -> Iterator[Search]:
    """usearch's scan of all rows."""
    from usearch.index import search

    for _ in settings:
        yield lambda query: np.asarray(
            search(rows, query, k, metric="ip", exact=True, threads=1).keys, np.int64
        )


def usearch_graph(dtype: str) -> Callable[[Floats, int, Sequence[Setting]], Iterator[Search]]:
    """usearch's HNSW over components of a type, at its default settings (ef 64)."""

    def build(rows: Floats, k: int, settings: Sequence[Setting]) -> Iterator[Search]:
        from usearch.index import Index

        index = Index(ndim=rows.shape[1], metric="ip", dtype=dtype)
        index.add(np.arange(len(rows)), rows, threads=os.cpu_count() or 1)
        for _ in settings:
            yield lambda query: np.asarray(index.search(query, k, threads=1).keys, np.int64)

    return build


def qdrant_edge(
    graph: bool, codes: str = ""
) -> Callable[[Floats, int, Sequence[Setting]], Iterator[Search]]:
    """The engine of the memory's own store: a scan, or its HNSW.

    ``codes`` are its quantisations: ``SQ8``, ``BQ`` (1 bit), ``TQ`` (4 bits). One segment and one
    search thread, which was its fastest here.
    """

    def build(rows: Floats, k: int, settings: Sequence[Setting]) -> Iterator[Search]:
        import qdrant_edge as edge

        quantised: dict[str, Callable[[], Any]] = {
            "": lambda: None,
            "SQ8": lambda: edge.ScalarQuantizationConfig(
                edge.ScalarType.Int8, quantile=0.99, always_ram=True
            ),
            "BQ": lambda: edge.BinaryQuantizationConfig(always_ram=True),
            "TQ": lambda: edge.TurboQuantQuantizationConfig(always_ram=True),
        }
        params = edge.EdgeVectorParams(
            size=rows.shape[1],
            distance=edge.Distance.Cosine,
            quantization_config=quantised[codes](),
            hnsw_config=edge.HnswIndexConfig(
                m=16 if graph else 0, ef_construct=100, full_scan_threshold=1
            ),
        )
        one = edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1)
        config = edge.EdgeConfig(vectors=params, optimizers=one, max_search_threads=1)
        with tempfile.TemporaryDirectory(prefix="edge-") as folder:
            shard = edge.EdgeShard.create(folder, config)
            for at in range(0, len(rows), 1000):
                points = [
                    edge.Point(id=at + i, vector=row.tolist(), payload={})
                    for i, row in enumerate(rows[at : at + 1000])
                ]
                shard.update(edge.UpdateOperation.upsert_points(points))
            shard.optimize()
            for setting in settings:
                how = edge.SearchParams(
                    hnsw_ef=setting.effort or None,
                    exact=not (graph or codes),
                    quantization=edge.QuantizationSearchParams(
                        rescore=True, oversampling=float(setting.refine)
                    )
                    if codes
                    else None,
                )

                def search(query: Floats, how: Any = how) -> NDArray[np.int64]:
                    nearest = edge.Query.Nearest(query.tolist())
                    found = shard.search(edge.SearchRequest(query=nearest, limit=k, params=how))
                    return np.array([point.id for point in found], np.int64)

                yield search
            shard.close()

    return build


PEERS: tuple[Peer, ...] = (
    Peer("faiss", faiss_index("Flat"), (Setting("faiss Flat"),)),
    Peer("faiss", faiss_index("SQ8"), (Setting("faiss SQ8"),)),
    Peer("faiss", faiss_index("SQfp16"), (Setting("faiss SQfp16"),)),
    Peer(
        "faiss",
        faiss_index("RaBitQfs"),
        tuple(Setting(f"faiss RaBitQfs + refine {r}", refine=r) for r in (10, 20)),
    ),
    Peer(
        "faiss",
        faiss_index("PQ192x4fs"),
        (Setting("faiss PQ192x4fs + refine 10", refine=10),),
    ),
    Peer(
        "faiss",
        faiss_index("IVF{cells},Flat"),
        tuple(Setting(f"faiss IVF Flat, probe {p:.0%}", probe=p) for p in (0.06, 0.25)),
    ),
    Peer(
        "faiss",
        faiss_index("IVF{cells},RaBitQfs"),
        tuple(
            Setting(f"faiss IVF RaBitQfs + refine 10, probe {p:.0%}", probe=p, refine=10)
            for p in (0.06, 0.12, 0.25)
        ),
    ),
    Peer(
        "faiss",
        faiss_index("HNSW32"),
        tuple(Setting(f"faiss HNSW32, ef {ef}", effort=ef) for ef in (32, 64, 128)),
        GRAPH_MOST,
    ),
    Peer("usearch", usearch_exact, (Setting("usearch exact"),)),
    Peer("usearch", usearch_graph("f16"), (Setting("usearch HNSW f16, ef 64"),), GRAPH_MOST),
    Peer("usearch", usearch_graph("i8"), (Setting("usearch HNSW i8, ef 64"),), GRAPH_MOST),
    Peer("qdrant-edge", qdrant_edge(False), (Setting("qdrant-edge exact"),), GRAPH_MOST),
    Peer(
        "qdrant-edge",
        qdrant_edge(False, "SQ8"),
        (Setting("qdrant-edge SQ8 + rescore", refine=2),),
        GRAPH_MOST,
    ),
    Peer(
        "qdrant-edge",
        qdrant_edge(False, "TQ"),
        (Setting("qdrant-edge TurboQuant + rescore", refine=4),),
        GRAPH_MOST,
    ),
    Peer(
        "qdrant-edge",
        qdrant_edge(True),
        tuple(Setting(f"qdrant-edge HNSW, ef {ef}", effort=ef) for ef in (64, 128)),
        GRAPH_MOST,
    ),
    Peer(
        "qdrant-edge",
        qdrant_edge(True, "SQ8"),
        tuple(
            Setting(f"qdrant-edge HNSW SQ8 + rescore, ef {ef}", effort=ef, refine=2)
            for ef in (64, 128)
        ),
        GRAPH_MOST,
    ),
    Peer(
        "qdrant-edge",
        qdrant_edge(True, "BQ"),
        (Setting("qdrant-edge HNSW BQ + rescore, ef 64", effort=64, refine=8),),
        GRAPH_MOST,
    ),
)
