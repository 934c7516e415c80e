"""Searches side by side, while rows change, after a fork."""

from __future__ import annotations

import multiprocessing
import os
import threading

import numpy as np
import pytest
from compute_suite import sentence_like

from aiki_kernel.compute.index import VectorIndex
from aiki_kernel.compute.native import native, runnable

NAMES = ["numpy", "mojo"] if runnable() else ["numpy"]


@pytest.mark.parametrize("name", NAMES)
def test_searches_run_while_rows_are_added_deleted_and_overwritten(name: str) -> None:
    dim = 64
    index = VectorIndex(dim, "dot", backend=name)
    steady = np.eye(dim, dtype=np.float32) * 1000
    index.append(steady)
    stop = threading.Event()
    failures: list[str] = []

    def search() -> None:
        turn = 0
        while not stop.is_set():
            turn = (turn + 1) % dim
            query = np.zeros(dim, np.float32)
            query[turn] = 1
            found = index.search(query, 2, method="exact" if turn % 2 else "auto")
            if found.rows[0] != turn or found.scores[0] != 1000:
                failures.append(f"{turn}: {found}")
            if len(found.scores) > 1 and found.scores[1] not in (0, 1, 2):
                failures.append(f"a torn row: {found}")

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    rng = np.random.default_rng(1)
    for _ in range(60):
        new = index.append(np.ones((50, dim), np.float32))
        some = rng.choice(np.array(new), 20, replace=False)
        index.overwrite(some, np.full((20, dim), 2, np.float32))
        index.delete(some[:7])
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    assert len(index) == dim + 60 * 43


def _child(index: VectorIndex, query: np.ndarray, row: int, pipe) -> None:  # type: ignore[no-untyped-def]
    pipe.send(index.search(query, 3).rows.tolist()[0] == row)
    index.append(query[None])
    pipe.send(len(index))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("name", NAMES)
def test_a_forked_child_searches_even_when_a_writer_was_busy(name: str) -> None:
    rows = sentence_like(5000, 96)
    index = VectorIndex(96, backend=name)
    index.append(rows)
    here, there = multiprocessing.Pipe()
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        with index._writing:
            holding.set()
            release.wait(20)

    writer = threading.Thread(target=hold)
    writer.start()
    holding.wait()
    child = multiprocessing.get_context("fork").Process(
        target=_child, args=(index, rows[11], 11, there)
    )
    child.start()
    assert here.poll(20)
    assert here.recv() is True
    assert here.poll(20)
    assert here.recv() == 5001
    child.join()
    release.set()
    writer.join()
    assert len(index) == 5000


@pytest.mark.skipif(native().kernels is None, reason=native().reason)
def test_python_runs_while_a_search_does() -> None:
    """The lock is released: another thread counts during one long native call."""
    index = VectorIndex(768, backend="mojo")
    index.append(sentence_like(20000, 768))
    queries = sentence_like(64, 768, seed=3)
    counted = 0
    done = threading.Event()

    def work() -> None:
        index.search(queries, 10, method="exact")
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        counted += 1
    thread.join()
    assert counted > 1000


@pytest.mark.skipif(native().kernels is None, reason=native().reason)
def test_an_index_may_be_dropped_while_it_is_searched() -> None:
    """The kernels hold the memory they read: growing frees nothing under a search."""
    index = VectorIndex(128, backend="mojo")
    rows = sentence_like(4000, 128)
    index.append(rows)
    old = index.snapshot
    for _ in range(4):
        index.append(rows)
    del rows
    backend = index._made["mojo"]
    from aiki_kernel.compute.plan import plan_for

    query = np.array(old.parts.rows[:1])
    found = backend.search(old, query, plan_for("auto", 3, old.n, 128, True), None, old.n)
    assert found.rows[0, 0] == 0
