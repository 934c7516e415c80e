"""``aiki bench search``: a table whose ratios have their recall beside them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiki_kernel.compute import bench as search_bench
from aiki_kernel.compute.bandwidth import read_bandwidth
from aiki_kernel.compute.errors import VectorError
from aiki_kernel.compute.index import VectorIndex
from aiki_kernel.compute.peers import PEERS, Peer
from aiki_kernel.compute.sentences import sentence_vectors
from aiki_kernel.compute.stopwatch import Exam, bars

COMMAND = [sys.executable, "-m", "aiki_kernel.cli", "bench", "search"]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_table_is_one_json_document(aiki_home: Path) -> None:
    done = bench("--sizes", "500", "--no-peers", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {row["method"]: row for row in found["rows"]}
    assert rows["NumPy best, 1 thread"]["ratio"] == 1
    assert rows["NumPy best, default threads"]["ratio_default"] == 1
    assert rows["NumPy naive"]["recall"] == 1
    assert "mojo run, a process a query" in rows
    for name in ("mojo", "mojo, exact", "mojo-server"):
        if "missing" not in rows.get(name, {"missing": ""}):
            assert rows[name]["recall"] >= 0.99
            assert rows[name]["ratio"] > 0
    assert {row["batch"] for row in found["batches"]} == {16, 100}
    assert {row["floor"] for row in found["floors"]} == {"float32", "8-bit codes", "1-bit codes"}
    assert all(row["ms"] > 0 for row in found["floors"])
    assert "ours" in done.stderr  # progress


@pytest.mark.parametrize(
    "words",
    [("--sizes", "many"), ("--sizes", "10"), ("--data", "no.npz"), ("--limit", "0")],
)
def test_wrong_words_are_one_line(aiki_home: Path, words: tuple[str, ...]) -> None:
    done = bench(*words)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_nothing_behind(aiki_home: Path, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    started = subprocess.Popen(
        [*COMMAND, "--sizes", "2000"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    while "ours" not in started.stderr.readline():
        assert started.poll() is None
    (folder,) = tmp_path.glob("aiki-bench-*")
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=30)
    assert started.returncode == 130
    assert out == ""
    assert err.strip().splitlines()[-1] == "Stopped."
    assert not folder.exists()
    for _ in range(100):
        if subprocess.run(["pgrep", "-f", str(folder)], stdout=subprocess.DEVNULL).returncode:
            return
        time.sleep(0.1)
    pytest.fail("a worker still runs")


def exam_in(folder: Path, n: int = 400) -> Path:
    """What a worker finds in its folder."""
    search_bench._laid_out(folder, n, None, lambda text: None)
    return folder


def run(folder: Path, task: str, n: int = 400, limit: float = 60.0) -> list[dict[str, Any]]:
    return list(search_bench._run(folder, task, n, limit, lambda text: None))


def test_a_peer_is_built_once_and_searched_with_each_setting(tmp_path: Path) -> None:
    number = next(i for i, peer in enumerate(PEERS) if peer.library == "qdrant-edge")
    (row,) = run(exam_in(tmp_path), f"peer {number}")
    assert row["method"] == PEERS[number].settings[0].name
    assert row["recall"] == 1
    assert row["build_s"] > 0
    assert row["p95_ms"] >= row["p50_ms"] > 0


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.settings[0].name)
def test_a_peer_finds_neighbours(peer: Peer) -> None:
    pytest.importorskip(search_bench.MODULES[peer.library])
    vectors = sentence_vectors(400, queries=10)
    best = bars(vectors.rows, vectors.queries, 10)
    exam = Exam(vectors.rows, vectors.queries, best, 10)
    searches = peer.build(vectors.rows, 10, peer.settings)
    for search in searches:
        right = sum(exam.right(i, search(query)) for i, query in enumerate(vectors.queries))
        assert right > 30


def test_what_takes_too_long_is_a_row_with_its_reason(tmp_path: Path) -> None:
    (row,) = run(exam_in(tmp_path), "ours", limit=0.01)
    assert row == {"method": "ours", "missing": "starting took more than 0.01 s", "failed": True}


def test_what_crashes_is_a_row_with_its_reason(tmp_path: Path) -> None:
    exam_in(tmp_path)
    (tmp_path / "rows.f32").write_bytes(b"1234")
    (row,) = run(tmp_path, "default threads")
    assert row["failed"]
    assert row["missing"].startswith("ValueError: cannot reshape")


def test_a_peer_is_not_built_beyond_its_size(tmp_path: Path) -> None:
    number = next(i for i, peer in enumerate(PEERS) if peer.most < 1_000_000)
    rows = run(tmp_path, f"peer {number}", n=PEERS[number].most + 1)
    assert all("missing" in row for row in rows)


def test_the_summary_names_the_fastest_peer_at_equal_or_better_recall() -> None:
    def row(method: str, ms: float, recall: float, **more: Any) -> dict[str, Any]:
        return {"n": 10, "method": method, "p50_ms": ms, "recall": recall} | more

    rows = [
        row("NumPy best, 1 thread", 5, 1.0),
        row("mojo", 1, 0.99),
        row("mojo, exact", 2, 1.0),
        row("fast and careless", 0.5, 0.9, library="faiss"),
        row("equal", 3, 0.99, library="faiss"),
        row("better", 4, 0.995, library="usearch"),
    ]
    quick, exact = search_bench.summary(rows)
    assert (quick["peer"], quick["ratio"]) == ("equal", 3)
    assert "peer" not in exact


def test_an_answer_counts_by_its_score_and_once() -> None:
    rows = np.array([[1, 0], [0, 1], [1, 0], [0.6, 0.8]], np.float32)
    queries = np.array([[1, 0]], np.float32)
    exam = Exam(rows, queries, bars(rows, queries, 2), 2)
    assert exam.right(0, np.array([0, 2])) == 2
    assert exam.right(0, np.array([0, 0])) == 1
    assert exam.right(0, np.array([3, -1])) == 0


def test_bars_are_those_of_a_full_sort() -> None:
    vectors = sentence_vectors(3000, queries=20)
    scores = vectors.queries.astype(np.float64) @ vectors.rows.T.astype(np.float64)
    assert np.allclose(bars(vectors.rows, vectors.queries, 10), np.sort(scores)[:, -10], rtol=1e-12)


def test_made_vectors_are_like_those_of_sentences_and_say_that_they_are_made() -> None:
    vectors = sentence_vectors(10_000)
    again = sentence_vectors(10_000)
    assert vectors.source.startswith("MADE")
    assert vectors.real == 0
    assert np.array_equal(vectors.rows, again.rows)
    assert np.allclose(np.linalg.norm(vectors.rows, axis=1), 1, atol=1e-5)
    pairs = vectors.rows[:2000] @ vectors.rows[2000:4000].T
    assert 0.05 < pairs.mean() < 0.2
    assert 0.06 < pairs.std() < 0.14
    tenth = np.sort(vectors.queries @ vectors.rows.T)[:, -10]
    assert 0.35 < tenth.mean() < 0.6
    signs = VectorIndex(384, backend="numpy")
    signs.append(vectors.rows)
    best = bars(vectors.rows, vectors.queries, 10)
    exam = Exam(vectors.rows, vectors.queries, best, 10)
    right = sum(
        exam.right(i, signs.search(query, method="1bit").rows)
        for i, query in enumerate(vectors.queries[:40])
    )
    assert 0.95 < right / 400 <= 1  # a code of one bit loses some, not many


def test_real_vectors_are_read_and_extended_between_neighbours(tmp_path: Path) -> None:
    made = sentence_vectors(500, queries=20)
    file = tmp_path / "some.npz"
    codes = np.rint(made.rows * 127 / np.abs(made.rows).max(axis=1, keepdims=True))
    np.savez(file, codes=codes.astype(np.int8), queries=made.queries)
    vectors = sentence_vectors(800, file)
    assert (len(vectors.rows), vectors.real) == (800, 500)
    assert vectors.source.startswith("500 real sentence embeddings (some.npz) and 300 points")
    assert np.allclose(np.linalg.norm(vectors.rows, axis=1), 1, atol=1e-5)
    near = np.max(vectors.rows[500:] @ vectors.rows[:500].T, axis=1)
    assert near.min() > 0.5
    assert sentence_vectors(300, file).source == "real sentence embeddings (some.npz)"


@pytest.mark.parametrize("content", [{}, {"codes": np.ones(4), "queries": np.ones(4)}])
def test_a_file_without_embeddings_is_told_in_one_line(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    file = tmp_path / "no.npz"
    np.savez(file, **content)
    with pytest.raises(VectorError, match="codes and queries"):
        sentence_vectors(300, file)


def test_the_memory_floor_is_a_bandwidth() -> None:
    assert 1e8 < read_bandwidth(1_000_000) < 1e13
