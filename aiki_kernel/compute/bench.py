"""The measurements behind every claim about search: one table, one run, recall beside speed.

:func:`search_table` gives each method a process of its own (:mod:`.bench_worker`): a BLAS
library reads its number of threads once, and an index of another library that crashes, hangs
or builds for too long becomes a row with its reason. Ratios are to NumPy at the same size in the
same run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiki_kernel.compute.bench_worker import DEFAULT_THREADS, EVERY_QUERY, ONE_THREAD, K
from aiki_kernel.compute.errors import BackendError
from aiki_kernel.compute.native import native
from aiki_kernel.compute.peers import PEERS, Peer
from aiki_kernel.compute.sentences import sentence_vectors
from aiki_kernel.compute.stopwatch import bars

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many tasks are done, and of how many."""

Row = dict[str, Any]
BEAT = 10.0  # seconds after which long work is told of again
TWO_FROM = 50_000  # rows from which two threads are worth measuring
EVERY_QUERY_MOST = 200_000  # rows up to which a process a query is tried
MODULES = {"faiss": "faiss", "usearch": "usearch", "qdrant-edge": "qdrant_edge"}
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


def search_table(
    sizes: Sequence[int],
    *,
    data: Path | None = None,
    peers: bool = True,
    limit: float = 300.0,
    progress: Progress = lambda text, done, total: None,
) -> dict[str, Any]:
    """The table as plain data.

    ``data`` is an ``.npz`` with real embeddings; without it vectors are made, and ``data`` of
    the answer says so. ``limit`` is the seconds that one method may take to build its index,
    and again to search.

    ``rows``: ``method``, ``n`` and either ``p50_ms``, ``p95_ms``, ``recall`` (of the best 10),
    ``build_s``, ``ratio`` and ``ratio_default`` (how many times faster than the best NumPy on
    one thread and on its default number), or ``missing`` with the reason. ``batches``,
    ``threads`` and ``floors`` are of :mod:`.bench_worker`; ``summary`` is :func:`summary`;
    ``failed`` names what of ours did not run although it should. Raises VectorError for a file
    without embeddings, BackendError when there is no room for the vectors.
    """
    plan = [(n, task) for n in sizes for task in ["", *_tasks(n, peers)]]
    found: dict[str, Any] = {"k": K, "kernels": native().reason, "cpus": os.cpu_count()}
    lists: dict[str, list[Row]] = {"rows": [], "batches": [], "threads": [], "floors": []}
    found |= {"data": [], "made": data is None, "dim": 0} | lists | {"failed": []}
    done = 0
    for n in sizes:
        with tempfile.TemporaryDirectory(prefix="aiki-bench-") as name:
            folder = Path(name)
            told = _told(progress, n, done, len(plan))
            try:
                source, found["dim"] = _laid_out(folder, n, data, told)
            except OSError as error:
                raise BackendError(
                    f"No room for {n:,} vectors in {folder.parent}: {error.strerror}. "
                    "Set TMPDIR to a roomier folder."
                ) from error
            found["data"].append({"n": n, "source": source})
            done += 1
            for task in _tasks(n, peers):
                told = _told(progress, n, done, len(plan))
                for row in _run(folder, task, n, limit, told):
                    if row.get("failed"):
                        found["failed"].append(f"{row['method']} at {n:,}: {row['missing']}")
                    kind = "floors" if "floor" in row else "batches" if "batch" in row else "rows"
                    lists["threads" if "threads" in row else kind].append({"n": n} | row)
                done += 1
    _add_ratios(lists["rows"], lists["batches"])
    found["summary"] = summary(lists["rows"])
    progress("done", done, len(plan))
    return found


def _told(progress: Progress, n: int, done: int, total: int) -> Callable[[str], None]:
    return lambda text: progress(f"{n:,} memories, {text}", done, total)


def _tasks(n: int, peers: bool) -> list[str]:
    tasks = ["floors", "ours", "default threads"]
    tasks += ["two threads"] if n >= TWO_FROM else []
    tasks += [EVERY_QUERY] if n <= EVERY_QUERY_MOST else []
    return tasks + ([f"peer {number}" for number in range(len(PEERS))] if peers else [])


def _laid_out(
    folder: Path, n: int, data: Path | None, told: Callable[[str], None]
) -> tuple[str, int]:
    """Put vectors and right answers where the workers find them."""

    def step(what: str) -> Callable[[int, int], None]:
        last = [time.monotonic()]

        def tell(done: int, total: int) -> None:
            if time.monotonic() - last[0] > BEAT / 2:
                last[0] = time.monotonic()
                told(f"{what}: {done * 100 // total} %")

        return tell

    told("vectors")
    vectors = sentence_vectors(n, data, step=step("vectors"))
    vectors.rows.tofile(folder / "rows.f32")
    told("the right answers")
    right = bars(vectors.rows, vectors.queries, K, step("the right answers"))
    np.savez(
        folder / "exam.npz", queries=vectors.queries, bars=right, shape=np.array(vectors.rows.shape)
    )
    return vectors.source, vectors.rows.shape[1]


def _run(
    folder: Path, task: str, n: int, limit: float, told: Callable[[str], None]
) -> Iterator[Row]:
    """The rows of one task; what did not come is a row with the reason."""
    peer = PEERS[int(task.removeprefix("peer "))] if task.startswith("peer ") else None
    waiting = [setting.name for setting in peer.settings] if peer else []
    name = waiting[0].partition(",")[0] if peer else task
    reason = _why_not(peer, n) if peer else ""
    if not reason:
        told(name)
        for said in _worker(folder, task, limit, lambda text: told(f"{name}: {text}")):
            if "row" in said:
                row = said["row"]
                if row.get("method") in waiting:
                    waiting.remove(row["method"])
                yield row
            else:
                reason = str(said.get("missing") or said["failed"])
        if reason and not waiting:
            waiting = [name]
    for method in waiting:
        row = {"method": method, "missing": reason or "no figures came"}
        yield row | ({"library": peer.library} if peer else {"failed": True})


def _why_not(peer: Peer, n: int) -> str:
    if importlib.util.find_spec(MODULES[peer.library]) is None:
        return "not installed: pip install 'aiki-kernel[bench]'"
    return f"not built for more than {peer.most:,} rows: it takes long" if n > peer.most else ""


def _worker(
    folder: Path, task: str, limit: float, told: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """What a worker says but its states; at last ``failed`` when it crashed or took too long.
    However this is left, the worker and what it started are gone afterwards.
    """
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    environment["TMPDIR"] = str(folder)  # what it leaves there goes with the folder
    if task not in ("default threads", "two threads"):
        environment |= dict.fromkeys(THREADS, "1")
    words = [sys.executable, "-P", "-m", "aiki_kernel.compute.bench_worker", str(folder), task]
    with (folder / "stderr").open("w+b") as errors:
        process = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.PIPE,  # its end tells the worker that nobody listens any more
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # so that it can be ended with all it started
        )
        try:
            late = False
            for said in _said(process, limit, told):
                late = "failed" in said
                yield said
            if not late and process.wait() not in (0, 1):
                errors.seek(0)
                last = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
                yield {"failed": " ".join([_ending(process.returncode), *last])[:300]}
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()


def _said(
    process: subprocess.Popen[str], limit: float, told: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def pump() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put("")

    threading.Thread(target=pump, daemon=True).start()
    state, since, beats = "starting", time.monotonic(), 0
    while True:
        left = since + limit - time.monotonic()
        try:
            line = lines.get(timeout=max(0.0, min(BEAT, left)))
        except queue.Empty:
            if time.monotonic() - since >= limit:
                yield {"failed": f"{state} took more than {limit:g} s"}
                return
            beats += 1
            told(f"{state}, {beats * BEAT:.0f} s")
            continue
        if not line:
            return
        said = json.loads(line)
        if "state" in said:
            state, since, beats = said["state"], time.monotonic(), 0
        else:
            yield said


def _ending(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-status).name}."
    return f"ended with status {status}."


def _add_ratios(rows: list[Row], batches: list[Row]) -> None:
    """To each figure, how many times faster it is than NumPy at its size in this run."""
    bases = {(row["n"], row["method"]): row.get("p50_ms") for row in rows}
    products = {(row["n"], row["batch"], row["method"]): row["ms"] for row in batches}
    for row in rows:
        if "p50_ms" in row:
            for key, base in (("ratio", ONE_THREAD), ("ratio_default", DEFAULT_THREADS)):
                if bases.get((row["n"], base)):
                    row[key] = bases[row["n"], base] / row["p50_ms"]
    for row in batches:
        for key, threads in (("ratio", "1 thread"), ("ratio_default", "default threads")):
            product = products.get((row["n"], row["batch"], f"NumPy product, {threads}"))
            if product:
                row[key] = product / row["ms"]


def summary(rows: Sequence[Row]) -> list[Row]:
    """For each row of ours the fastest index of another library at equal or better recall.

    ``n``, ``method``, ``p50_ms``, ``recall`` are ours; ``peer``, ``peer_p50_ms``,
    ``peer_recall`` the other's and ``ratio`` how many times faster ours is; without a
    ``peer`` none reached that recall.
    """
    measured = [row for row in rows if "p50_ms" in row]
    found = []
    for row in measured:
        if not row["method"].startswith("mojo") or row["method"] == EVERY_QUERY:
            continue
        rivals = [
            other
            for other in measured
            if "library" in other and other["n"] == row["n"] and other["recall"] >= row["recall"]
        ]
        line = {key: row[key] for key in ("n", "method", "p50_ms", "recall")}
        if rivals:
            best = min(rivals, key=lambda other: float(other["p50_ms"]))
            line |= {"peer": best["method"], "peer_p50_ms": best["p50_ms"]}
            line |= {"peer_recall": best["recall"], "ratio": best["p50_ms"] / row["p50_ms"]}
        found.append(line)
    return found
