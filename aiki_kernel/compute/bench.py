"""The measurements behind every claim about search: one table, one run, recall beside speed.

:func:`search_table` starts a fresh process for each set of threads (a BLAS library reads its
thread count once) and puts the rows together. Every row holds the median and the 95th
percentile of the milliseconds a query takes, recall@k against exact search in float64, and
the ratio to the best NumPy on one thread at the same size in the same run. Peers that are
not installed are named with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.errors import BackendError
from aiki_kernel.compute.index import VectorIndex
from aiki_kernel.compute.native import native
from aiki_kernel.compute.peers import PEERS
from aiki_kernel.compute.per_query import mojo_run

Floats = NDArray[np.float32]
Search = Callable[[Floats], NDArray[np.int64]]
BASE = "numpy best, 1 thread"
K = 10
SECONDS = 1.5  # that one method may take at one size, after one warm round


def sentence_vectors(path: Path | None, n: int, queries: int) -> tuple[Floats, Floats]:
    """``n`` unit rows and some queries. From an ``.npz`` with ``codes`` and ``queries`` when
    given, extended by points between neighbours when it is too small; clustered random
    directions otherwise.
    """
    rng = np.random.default_rng(11)
    if path is None:
        centres = rng.standard_normal((max(8, n // 20), 384), np.float32)
        both = centres[rng.integers(0, len(centres), n + queries)]
        both += 0.9 * rng.standard_normal(both.shape, np.float32)
        both /= np.linalg.norm(both, axis=1, keepdims=True)
        return both[:n], both[n:]
    with np.load(path) as stored:
        rows = stored["codes"][:n].astype(np.float32)
        asked = stored["queries"][:queries].astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    if len(rows) < n:
        rows = np.concatenate([rows, *_between(rows, n - len(rows), rng)])
    return rows, asked


def _between(rows: Floats, count: int, rng: np.random.Generator) -> Iterator[Floats]:
    """New rows between a row and the nearest of a sample, with some noise."""
    for at in range(0, count, 2000):
        some = min(2000, count - at)
        one = rows[rng.integers(0, len(rows), some)]
        sample = rows[rng.integers(0, len(rows), 2000)]
        near = sample[np.argmax(one @ sample.T, axis=1)]
        part = rng.uniform(0.15, 0.5, (some, 1)).astype(np.float32)
        new = one * (1 - part) + near * part
        new += rng.standard_normal(new.shape, np.float32) * 0.012
        yield new / np.linalg.norm(new, axis=1, keepdims=True)


def numpy_naive(rows: Floats) -> Search:
    """What a first version does: lengths again for every query, and a full sort."""

    def search(query: Floats) -> NDArray[np.int64]:
        scores = rows @ query / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))
        return np.argsort(scores)[::-1][:K]

    return search


def numpy_best(rows: Floats) -> Search:
    """Rows normalised once, one matrix-vector product, a partition."""

    def search(query: Floats) -> NDArray[np.int64]:
        scores = rows @ query
        top = np.argpartition(scores, -K)[-K:]
        return top[np.argsort(-scores[top])]

    return search


def _timed(search: Search, queries: Floats, truth: list[set[int]]) -> dict[str, Any]:
    hits = sum(
        len(truth[i] & set(np.asarray(search(query)).tolist())) for i, query in enumerate(queries)
    )
    seconds: list[float] = []
    until = time.perf_counter() + SECONDS
    while True:
        for query in queries:
            started = time.perf_counter()
            search(query)
            seconds.append(time.perf_counter() - started)
        if time.perf_counter() > until:
            break
    return {
        "p50_ms": float(np.median(seconds)) * 1e3,
        "p95_ms": float(np.percentile(seconds, 95)) * 1e3,
        "recall": hits / (K * len(queries)),
        "calls": len(seconds),
    }


def _truth(rows: Floats, queries: Floats) -> list[set[int]]:
    wide = rows.astype(np.float64) if len(rows) <= 200_000 else rows
    return [set(np.argsort(-(wide @ query))[:K].tolist()) for query in queries]


def _product(rows: Floats, queries: Floats) -> NDArray[np.int64]:
    return np.argpartition(queries @ rows.T, -K, axis=1)


def _batches(rows: Floats, index: VectorIndex, queries: Floats) -> Iterator[dict[str, Any]]:
    """One batch through NumPy (a matrix product and partitions) and through the kernels."""
    for size in (16, 100):
        some = np.ascontiguousarray(queries[:size])
        works: dict[str, Callable[[], object]] = {
            f"numpy, batch of {size}": partial(_product, rows, some),
            f"mojo, batch of {size}": partial(index.search, some, K),
        }
        for name, work in works.items():
            work()
            seconds = []
            for _ in range(5):
                started = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - started)
            yield {"method": name, "n": len(rows), "p50_ms": float(np.median(seconds)) * 1e3}


def _rows_of_worker(size: int, data: Path | None, peers: bool) -> Iterator[dict[str, Any]]:
    rows, queries = sentence_vectors(data, size, 200)
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        truth = _truth(rows, queries)
        timed = _timed(numpy_best(rows), queries, truth)
        yield {"method": "numpy best, default threads", "n": size} | timed
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # no wandering between caches
    truth = _truth(rows, queries)
    methods: dict[str, Callable[[], Search]] = {
        BASE: lambda: numpy_best(rows),
        "numpy naive": lambda: numpy_naive(rows),
    }
    index: VectorIndex | None = None
    if native().kernels is not None:
        index = VectorIndex(rows.shape[1], backend="mojo")
        index.append(rows)
        held = index
        methods["mojo"] = lambda: lambda query: held.search(query, K).rows
        for method in ("exact", "8bit"):
            methods[f"mojo, {method}"] = lambda method=method: (  # type: ignore[misc]
                lambda query: held.search(query, K, method=method).rows
            )
        methods["mojo-server"] = lambda: _through_server(held)
    if peers:
        for name, make in PEERS.items():
            methods[name] = lambda make=make: make(rows, K)  # type: ignore[misc]
    for name, build in methods.items():
        row: dict[str, Any] = {"method": name, "n": size}
        try:
            started = time.perf_counter()
            search = build()
            row["build_s"] = time.perf_counter() - started
            yield row | _timed(search, queries, truth)
        except (ImportError, BackendError) as error:
            yield row | {"missing": str(error)}
    if index is not None:
        index.use("mojo")
        yield from _batches(rows, index, queries)
        index.close()
    yield {"method": "mojo run, a process a query", "n": size} | mojo_run(rows, queries[:3], K)


def _through_server(index: VectorIndex) -> Search:
    index.use("mojo-server")
    return lambda query: index.search(query, K).rows


def search_table(
    sizes: Sequence[int],
    *,
    data: Path | None = None,
    peers: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """The table as plain data: ``{"rows": [...], "kernels": ..., "k": 10}``.

    ``data`` is an ``.npz`` with real embeddings. A row has ``method``, ``n`` and either
    ``p50_ms``, ``p95_ms``, ``recall``, ``ratio`` (times faster than NumPy's best on one thread)
    or ``missing``.
    """
    rows: list[dict[str, Any]] = []
    for size in sizes:
        for threads in ("1", ""):
            progress(f"{size:,} memories, {'one thread' if threads else 'default threads'}")
            with tempfile.NamedTemporaryFile("r", suffix=".json") as out:
                words = [sys.executable, "-m", "aiki_kernel.compute.bench", str(size), out.name]
                words += ["--data", str(data)] if data else []
                words += [] if peers else ["--no-peers"]
                environment = dict(os.environ)
                for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
                    environment.pop(name, None)
                    if threads:
                        environment[name] = threads
                done = subprocess.run(words, env=environment, check=False, capture_output=True)
                if done.returncode:
                    text = done.stderr.decode("utf-8", "replace").strip().splitlines()
                    raise BackendError(f"A measurement failed: {text[-1] if text else 'no word'}.")
                rows += json.load(out)
    for row in rows:
        base = next((r for r in rows if r["method"] == BASE and r["n"] == row["n"]), None)
        if base and "p50_ms" in row and "batch" not in row["method"]:
            row["ratio"] = base["p50_ms"] / row["p50_ms"]
    return {
        "k": K,
        "dim": 384,
        "data": "real sentence embeddings" if data else "clustered random directions",
        "kernels": native().reason,
        "rows": rows,
    }


def main() -> None:
    """The worker: one size, this process's threads, rows as JSON into a file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("size", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--no-peers", action="store_true")
    words = parser.parse_args()
    rows = list(_rows_of_worker(words.size, words.data, not words.no_peers))
    words.out.write_text(json.dumps(rows), "utf-8")


if __name__ == "__main__":
    main()
