"""One task of the search benchmark in a process of its own: ``FOLDER TASK``.

What it finds goes to stdout, one JSON object a line: ``{"state": "..."}`` when a part of the
work begins, ``{"row": {...}}`` for every figure. A BLAS library reads its number of threads
once, an index may crash or take all memory: both end with this process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aiki_kernel.compute.bandwidth import read_bandwidth
from aiki_kernel.compute.index import VectorIndex
from aiki_kernel.compute.native import native
from aiki_kernel.compute.parts import Layout, round_up
from aiki_kernel.compute.peers import PEERS
from aiki_kernel.compute.per_query import mojo_run
from aiki_kernel.compute.plan import ROWS_FOR_LISTS
from aiki_kernel.compute.stopwatch import Exam, Floats, Search, measured

K = 10
ONE_THREAD = "NumPy best, 1 thread"
DEFAULT_THREADS = "NumPy best, default threads"
NAIVE = "NumPy naive"
SERVER = "mojo-server"
EVERY_QUERY = "mojo run, a process a query"
FAST = "mojo, recall fast"
BATCHES = (16, 100)
TIMES = 7  # how often a batch is timed; the least counts, for every method
BOUT = 0.5  # seconds of one bout of the two threads
Row = dict[str, Any]


def opened(folder: Path) -> Exam:
    """What the parent left in the folder. Rows are read, not mapped: a search among mapped
    pages is slower.
    """
    with np.load(folder / "exam.npz") as stored:
        queries, bars, shape = stored["queries"], stored["bars"], stored["shape"]
    rows = np.fromfile(folder / "rows.f32", np.float32).reshape(shape)
    return Exam(rows, queries, bars, K)


def numpy_naive(rows: Floats) -> Search:
    """What a first version does: lengths again for every query, and a full sort."""

    def search(query: Floats) -> Any:
        scores = rows @ query / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))
        return np.argsort(scores)[::-1][:K]

    return search


def numpy_best(rows: Floats) -> Search:
    """Rows of length 1 already, one matrix-vector product, a partition."""

    def search(query: Floats) -> Any:
        scores = rows @ query
        top = np.argpartition(scores, -K)[-K:]
        return top[np.argsort(-scores[top])]

    return search


def numpy_product(rows: Floats, queries: Floats) -> Any:
    """A batch by one matrix product and partitions."""
    scores = queries @ rows.T
    top = np.argpartition(scores, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(scores, top, 1), axis=1)
    return np.take_along_axis(top, order, 1)


def ours(exam: Exam) -> Iterator[Row]:
    """NumPy on one thread and every way of the kernels, in turn; then batches."""
    _state("building")
    methods = {ONE_THREAD: numpy_best(exam.rows), NAIVE: numpy_naive(exam.rows)}
    seconds: dict[str, float] = {}
    indexes: list[VectorIndex] = []
    if native().kernels is None:
        for name in ("mojo", SERVER):
            yield {"method": name, "missing": native().reason}
    else:
        for backend in ("mojo", SERVER):
            started = time.perf_counter()
            index = VectorIndex(exam.rows.shape[1], backend=backend)
            index.append(exam.rows)
            seconds[backend] = time.perf_counter() - started
            indexes.append(index)
        methods["mojo"] = _asks(indexes[0])
        methods["mojo, recall high"] = _asks(indexes[0], recall="high")
        for method in ("exact", "8bit", "1bit"):
            methods[f"mojo, {method}"] = _asks(indexes[0], method=method)
        methods[SERVER] = _asks(indexes[1])
        seconds = {name: seconds.get(name, seconds["mojo"]) for name in methods if "mojo" in name}
        if len(exam.rows) >= ROWS_FOR_LISTS:
            _state("building the coarse index")
            started = time.perf_counter()
            indexes[0].build_coarse()
            seconds[FAST] = seconds["mojo"] + time.perf_counter() - started
            methods[FAST] = _asks(indexes[0], recall="fast")
    _state("searching")
    for name, figures in measured(methods, exam).items():
        yield {"method": name, "build_s": seconds.get(name, 0.0)} | figures
    _state("batches")
    yield from _batches(exam, "NumPy product, 1 thread", partial(numpy_product, exam.rows))
    if indexes:
        yield from _batches(exam, "mojo", _asks(indexes[0]))
    for index in indexes:
        index.close()


def default_threads(exam: Exam) -> Iterator[Row]:
    """NumPy with as many threads as its BLAS library takes by itself."""
    _state("searching")
    for name, figures in measured({DEFAULT_THREADS: numpy_best(exam.rows)}, exam).items():
        yield {"method": name, "build_s": 0.0} | figures
    _state("batches")
    yield from _batches(exam, "NumPy product, default threads", partial(numpy_product, exam.rows))


def _asks(index: VectorIndex, **how: Any) -> Search:
    """A search that answers with the rows alone: of one query or of a batch."""
    if not how:
        return lambda query: index.search(query, K).rows
    return lambda query: index.search(query, K, **how).rows


def _batches(exam: Exam, name: str, work: Callable[[Floats], Any]) -> Iterator[Row]:
    for size in BATCHES:
        some = np.ascontiguousarray(exam.queries[:size])
        if len(some) < size:
            continue
        answers = work(some)
        right = sum(exam.right(i, answer) for i, answer in enumerate(answers))
        least = float("inf")
        for _ in range(TIMES):
            started = time.perf_counter()
            work(some)
            least = min(least, time.perf_counter() - started)
        yield {"batch": size, "method": name, "ms": least * 1e3, "recall": right / (K * size)}


def two_threads(exam: Exam) -> Iterator[Row]:
    """Searches a second by one thread and by two side by side, in turn."""
    if native().kernels is None:
        yield {"threads": 2, "missing": native().reason}
        return
    if _cpus() < 2:
        yield {"threads": 2, "missing": "this process may use one CPU only"}
        return
    _state("building")
    index = VectorIndex(exam.rows.shape[1], backend="mojo")
    index.append(exam.rows)
    _state("searching")
    one = two = 0.0
    for _ in range(4):
        one = max(one, _side_by_side(index, exam, 1))
        two = max(two, _side_by_side(index, exam, 2))
    index.close()
    yield {"threads": 2, "one_per_s": one, "two_per_s": two, "gain": two / one}


def _side_by_side(index: VectorIndex, exam: Exam, count: int) -> float:
    """Searches a second of ``count`` threads together."""
    done = [0] * count
    begin = threading.Barrier(count + 1)
    over = threading.Event()

    def work(number: int) -> None:
        begin.wait()
        while not over.is_set():
            index.search(exam.queries[(done[number] + 50 * number) % len(exam.queries)], K)
            done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    begin.wait()
    started = time.perf_counter()
    over.wait(BOUT)
    total, seconds = sum(done), time.perf_counter() - started
    over.set()
    for thread in threads:
        thread.join()
    return total / seconds


def floors(exam: Exam) -> Iterator[Row]:
    """The time to read all vectors once, and all codes, at the bandwidth measured now."""
    n, dim = exam.rows.shape
    _, codes8, _, codes1 = Layout(dim, round_up(n, 64), True).sizes()
    _state("reading")
    for what, size in {
        "float32": n * dim * 4,
        "8-bit codes": codes8,
        "1-bit codes": codes1,
    }.items():
        speed = read_bandwidth(size)
        yield {"floor": what, "bytes": size, "bytes_per_s": speed, "ms": size / speed * 1e3}


def every_query(exam: Exam, folder: Path) -> Iterator[Row]:
    """A process for every query, as the seeds of this project did it."""
    _state("searching")
    yield {"method": EVERY_QUERY} | mojo_run(exam, folder / "rows.f32", 3)


def peer(exam: Exam, number: int) -> Iterator[Row]:
    """One index of another library, with each of its settings."""
    index = PEERS[number]
    _state("building")
    started = time.perf_counter()
    searches = iter(index.build(exam.rows, K, index.settings))
    seconds = 0.0
    for setting in index.settings:
        search = next(searches)
        seconds = seconds or time.perf_counter() - started
        _pin()
        _state("searching")
        (figures,) = measured({setting.name: search}, exam).values()
        yield {"method": setting.name, "library": index.library, "build_s": seconds} | figures
    next(searches, None)  # lets it close what it opened


def _cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _pin() -> None:
    """Stay on one CPU: no wandering between caches while one thread is timed."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _state(text: str) -> None:
    _say({"state": text})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def rows_of(folder: Path, task: str) -> Iterator[Row]:
    """The figures of one task. Raises whatever an index raises."""
    exam = opened(folder)
    if task.startswith("peer "):
        yield from peer(exam, int(task.removeprefix("peer ")))
    elif task == "default threads":
        yield from default_threads(exam)
    elif task == "two threads":
        yield from two_threads(exam)
    else:
        _pin()
        if task == "ours":
            yield from ours(exam)
        elif task == "floors":
            yield from floors(exam)
        else:
            yield from every_query(exam, folder)


def _end_with_parent() -> None:
    """Wait until the parent is gone, however it went; then end this process and what it started."""
    os.read(0, 1)  # nobody writes: this returns when the pipe is closed
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def main() -> None:
    """Do one task; what goes wrong is told as ``{"failed": reason}`` with exit status 1."""
    folder, task = Path(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for row in rows_of(folder, task):
            _say({"row": row})
    except ImportError as error:
        _say({"missing": f"not installed ({error})"})
    except Exception as error:
        _say({"failed": " ".join(f"{type(error).__name__}: {error}".split())[:300]})
        sys.exit(1)


if __name__ == "__main__":
    main()
