"""The coarse index: every row is in one list, and answers stay right while rows change."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from compute_suite import index_with, sentence_like
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aiki_kernel.compute import plan as plans
from aiki_kernel.compute.backend import Backend
from aiki_kernel.compute.errors import VectorError
from aiki_kernel.compute.index import VectorIndex
from aiki_kernel.compute.index_file import load, save
from aiki_kernel.compute.plan import planned


def check_lists(index: VectorIndex) -> None:
    """Every live row has one place, in a chain that a search can walk."""
    coarse = index.snapshot.coarse
    assert coarse is not None
    parts = coarse.parts
    seen: dict[int, int] = {}
    for number, block in enumerate(parts.heads.tolist()):
        while block >= 0:
            assert coarse.owner[block] == number
            for place in range(block * 64, block * 64 + 64):
                row = int(parts.ids[place])
                if row != 0xFFFFFFFF:
                    assert row not in seen
                    seen[row] = place
            block = int(parts.links[block])
    state = index.snapshot
    live = range(state.n) if state.alive is None else np.flatnonzero(state.alive).tolist()
    assert set(live) <= set(seen)
    assert all(coarse.places[row] == place for row, place in seen.items())
    if parts.layout.coded:
        codes = parts.codes.reshape(-1, parts.layout.groups, 64)
        for row in list(live)[:200]:
            place = seen[row]
            signs = np.unpackbits(codes[place // 64, :, place % 64], bitorder="little")
            assert (signs[: state.dim] == (state.parts.rows[row] > 0)).all()


def truth(index: VectorIndex, query: NDArray) -> NDArray[np.float64]:
    rows = index.snapshot.parts.rows[: index.size].astype(np.float64)
    length = np.linalg.norm(query.astype(np.float64)) or 1
    return rows @ query.astype(np.float64) / length


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.sampled_from([1, 32, 33, 128, 129, 384, 4096]),
    n=st.integers(1, 300),
    lists=st.integers(1, 9),
    steps=st.integers(0, 6),
    k=st.integers(1, 40),
    whole=st.booleans(),
)
def test_any_changes_leave_every_row_in_its_list(
    backend: Backend, seed: int, dim: int, n: int, lists: int, steps: int, k: int, whole: bool
) -> None:
    rng = np.random.default_rng(seed)

    def some(count: int) -> NDArray[np.float32]:
        if whole:  # duplicates, ties, zero vectors
            return rng.integers(-1, 2, (count, dim)).astype(np.float32)
        return rng.standard_normal((count, dim)).astype(np.float32)

    index = index_with(backend, dim)
    index.append(some(n))
    lists = min(lists, n)
    index.build_coarse(lists)
    for _ in range(steps):
        state = index.snapshot
        live = np.arange(state.n) if state.alive is None else np.flatnonzero(state.alive)
        what = rng.integers(0, 5)
        if what <= 1:
            index.append(some(int(rng.integers(1, 200))))
        elif what == 2 and len(live):
            which = rng.choice(live, int(rng.integers(1, len(live) + 1)), replace=False)
            index.overwrite(which, some(len(which)))
        elif what == 3 and len(live) > lists:
            index.delete(rng.choice(live, int(rng.integers(1, len(live))), replace=False))
        elif what == 4:
            index.compact()
    check_lists(index)
    mask = None
    allowed = np.ones(index.size, np.bool_) if index.snapshot.alive is None else None
    if allowed is None:
        assert index.snapshot.alive is not None
        allowed = index.snapshot.alive.copy()
    if rng.random() < 0.5:
        mask = rng.random(index.size) < rng.choice([0.0, 0.05, 0.9])
        allowed &= mask
    query = some(1)[0]
    found = index.search(query, k, mask=mask, method="lists")
    want = min(k, int(allowed.sum()))
    assert found.rows.shape == found.scores.shape == (want,)
    assert allowed[found.rows].all()
    assert len(set(found.rows.tolist())) == want
    assert np.lexsort((found.rows, -found.scores)).tolist() == list(range(want))
    np.testing.assert_allclose(found.scores, truth(index, query)[found.rows], atol=2e-6)
    batch = index.search(np.stack([query, query]), k, mask=mask, method="lists")
    assert batch.rows[1].tolist() == found.rows.tolist() == batch.rows[0].tolist()


def test_lists_find_nearly_all(backend: Backend) -> None:
    rows = sentence_like(6000, 128)
    index = index_with(backend, 128)
    index.append(rows)
    index.build_coarse()
    queries = sentence_like(6000, 128)[:40] + 0.02
    coarse = index.snapshot.coarse
    assert coarse is not None
    assert coarse.probes < coarse.centroids.n
    found = index.search(queries, 10, method="lists")
    right = index.search(queries, 10, method="exact")
    hits = sum(len(set(a) & set(b)) for a, b in zip(found.rows, right.rows, strict=True))
    assert hits >= 0.95 * found.rows.size


def test_what_comes_later_is_found_at_once_and_lists_are_trained_anew(backend: Backend) -> None:
    rng = np.random.default_rng(3)
    index = index_with(backend, 128)
    index.append(sentence_like(500, 128))
    index.build_coarse(7)
    far = rng.standard_normal((300, 128)).astype(np.float32)
    numbers = index.append(far)
    coarse = index.snapshot.coarse
    assert coarse is not None
    assert coarse.trained == 500
    for row in (0, 150, 299):
        assert index.search(far[row], 1, method="lists").rows[0] == numbers[row]
    index.overwrite([3], -far[:1])
    assert index.search(-far[0], 1, method="lists").rows[0] == 3
    index.delete([3])
    assert index.search(-far[0], 1, method="lists").rows[0] != 3
    index.append(sentence_like(400, 128, seed=9))
    assert index.snapshot.coarse is not None
    assert index.snapshot.coarse.trained == 1199  # one is deleted
    assert index.snapshot.coarse.centroids.n == 7
    check_lists(index)


def test_rows_that_move_often_do_not_fill_the_memory(backend: Backend) -> None:
    rng = np.random.default_rng(3)
    index = index_with(backend, 32)
    index.append(rng.standard_normal((1000, 32)))
    index.build_coarse(10)
    sizes = set()
    for _ in range(12):
        index.overwrite(np.arange(1000), rng.standard_normal((1000, 32)))
        assert index.snapshot.coarse is not None
        sizes.add(index.snapshot.coarse.parts.layout.blocks)
    assert max(sizes) < 200
    check_lists(index)


def test_when_the_lists_are_used(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_with(backend, 128)
    index.append(sentence_like(2000, 128))
    with pytest.raises(VectorError, match="build_coarse"):
        index.search(np.ones(128), 3, method="lists")
    index.build_coarse()
    state = index.snapshot

    def method(recall: str, allowed: int = 2000) -> str:
        return planned(state, backend, index.coded, 10, allowed, "auto", recall).method  # type: ignore[arg-type]

    assert method("fast") != "lists"  # few rows
    monkeypatch.setattr(plans, "ROWS_FOR_LISTS", 1000)
    assert method("fast") == "lists"
    assert method("fast", 900) != "lists"  # a narrow mask
    assert method("usual") != "lists"
    assert method("exact") == "exact"
    query = state.parts.rows[5].copy()
    assert index.search(query, 3, recall="fast").rows[0] == 5
    narrow = np.zeros(2000, np.bool_)
    narrow[[1, 1999]] = True
    found = index.search(query, 3, mask=narrow, recall="fast")
    assert sorted(found.rows.tolist()) == [1, 1999]


def test_what_is_refused() -> None:
    index = VectorIndex(32)
    with pytest.raises(VectorError, match="do not fill"):
        index.build_coarse()
    index.append(np.eye(32))
    for lists in (0, -1, 33):
        with pytest.raises(VectorError, match="do not fill"):
            index.build_coarse(lists)
    with pytest.raises(VectorError, match="cosine"):
        VectorIndex(32, "dot").build_coarse()
    index.build_coarse(4)
    with pytest.raises(VectorError, match="finite"):
        index.search(np.full(32, np.nan), 1, method="lists")


@pytest.mark.parametrize("recall", ["usual", "high", "exact", "fast"])
def test_levels_of_recall(backend: Backend, recall: str) -> None:
    rows = sentence_like(4000, 256)
    queries = sentence_like(4000, 256)[:50] + 0.02
    index = index_with(backend, 256)
    index.append(rows)
    found = index.search(queries, 10, recall=recall)  # type: ignore[arg-type]
    right = index.search(queries, 10, method="exact")
    hits = sum(len(set(a) & set(b)) for a, b in zip(found.rows, right.rows, strict=True))
    assert hits >= (1.0 if recall in ("high", "exact") else 0.985) * found.rows.size


def test_lists_are_saved_and_come_back(tmp_path: Path) -> None:
    index = VectorIndex(130)
    rows = sentence_like(3000, 130)
    index.append(rows)
    index.delete([7, 2999])
    index.build_coarse(20)
    index.overwrite([1], -rows[:1])
    keys = np.zeros((3000, 16), np.uint8)
    save(tmp_path / "v", index, stamp="s", keys=keys)
    loaded = load(tmp_path / "v", stamp="s").index
    check_lists(loaded)
    queries = sentence_like(3000, 130)[:30] + 0.02
    a, b = (one.search(queries, 10, method="lists") for one in (index, loaded))
    assert a.rows.tolist() == b.rows.tolist()
    loaded.append(sentence_like(2000, 130, seed=5))
    loaded.overwrite([4], rows[9:10])
    check_lists(loaded)
    loaded.append(sentence_like(2000, 130, seed=6))
    assert loaded.snapshot.coarse is not None
    assert loaded.snapshot.coarse.trained == 6998
    whole = (tmp_path / "v").read_bytes()
    for at in range(len(whole) - 20 * 130 * 4 - 4096, len(whole), 997):
        if whole[at]:
            hurt = bytearray(whole)
            hurt[at] ^= 4
            (tmp_path / "v").write_bytes(hurt)
            with pytest.raises(VectorError):
                load(tmp_path / "v", stamp="s")
    (tmp_path / "v").write_bytes(whole[:-1])
    with pytest.raises(VectorError, match="short"):
        load(tmp_path / "v", stamp="s")


def test_lists_are_searched_while_rows_come_and_move(backend: Backend) -> None:
    dim = 64
    index = index_with(backend, dim)
    steady = np.eye(dim, dtype=np.float32)
    index.append(steady)
    index.build_coarse(8)
    stop = threading.Event()
    failures: list[str] = []

    def search() -> None:
        turn = 0
        while not stop.is_set():
            turn = (turn + 1) % dim
            found = index.search(steady[turn], 1, method="lists")
            if found.rows[0] != turn or found.scores[0] != 1:
                failures.append(f"{turn}: {found}")

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    rng = np.random.default_rng(1)
    for _ in range(25):
        new = np.array(index.append(rng.standard_normal((40, dim))))
        index.overwrite(new[:20], rng.standard_normal((20, dim)))
        index.delete(new[5:9])
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    check_lists(index)
