"""One suite for all backends; NumPy in float64 is the judge."""

from __future__ import annotations

import numpy as np
import pytest
from compute_suite import index_with, sentence_like
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aiki_kernel.compute.backend import Backend
from aiki_kernel.compute.errors import VectorError

SOME = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
DIMS = st.sampled_from([1, 3, 8, 31, 32, 33, 64, 100, 127, 128, 384, 400, 768])
METHODS = ["exact", "8bit", "1bit", "auto"]


def judged(rows: NDArray[np.float32], query: NDArray[np.float32], metric: str) -> NDArray:
    wide, q = rows.astype(np.float64), query.astype(np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(wide, axis=1)
        wide = wide / np.where(lengths == 0, 1, lengths)[:, None]
        q = q / (np.linalg.norm(q) or 1)
    return wide @ q


def check_sorted(found: tuple[NDArray, NDArray]) -> None:
    rows, scores = found
    assert len(set(rows.tolist())) == len(rows)
    order = np.lexsort((rows, -scores))
    assert order.tolist() == list(range(len(rows)))


@SOME
@given(
    data=st.data(),
    dim=DIMS,
    n=st.integers(0, 400),
    k=st.integers(0, 30),
    metric=st.sampled_from(["cosine", "dot"]),
    method=st.sampled_from(METHODS),
    seed=st.integers(0, 2**32 - 1),
)
def test_small_whole_numbers_have_one_right_answer(
    backend: Backend,
    data: st.DataObject,
    dim: int,
    n: int,
    k: int,
    metric: str,
    method: str,
    seed: int,
) -> None:
    """With components of -2 to 2 every sum is exact: duplicates and ties abound."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, (n, dim)).astype(np.float32)
    query = rng.integers(-2, 3, dim).astype(np.float32)
    index = index_with(backend, dim, metric)
    index.append(rows)
    alive = np.ones(n, np.bool_)
    if n and data.draw(st.booleans()):
        gone = rng.choice(n, size=data.draw(st.integers(0, n)), replace=False)
        index.delete(gone)
        alive[gone] = False
    mask = None
    if data.draw(st.booleans()):
        mask = rng.random(n) < data.draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
        alive &= mask
    found = index.search(query, k, mask=mask, method=method)
    allowed = np.flatnonzero(alive)
    want = min(k, len(allowed))
    assert found.rows.shape == found.scores.shape == (want,)
    assert found.rows.dtype == np.int64
    assert found.scores.dtype == np.float32
    assert alive[found.rows].all()
    check_sorted(found)
    true = judged(rows, query, metric)
    np.testing.assert_allclose(found.scores, true[found.rows], atol=1e-6, rtol=1e-6)
    if method == "exact" or (method == "auto" and n < 192):
        best = np.sort(true[allowed])[::-1][:want]
        np.testing.assert_allclose(found.scores, best, atol=1e-6, rtol=1e-6)
        if metric == "dot":
            right = allowed[np.lexsort((allowed, -true[allowed]))][:want]
            assert found.rows.tolist() == right.tolist()


@SOME
@given(
    dim=st.integers(1, 300),
    n=st.integers(1, 700),
    k=st.integers(1, 20),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
    metric=st.sampled_from(["cosine", "dot"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_exact_finds_the_best_real_vectors(
    backend: Backend, dim: int, n: int, k: int, scale: float, metric: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((n, dim)) * scale).astype(np.float32)
    rows[rng.random(n) < 0.05] = 0
    query = rng.standard_normal(dim).astype(np.float32)
    index = index_with(backend, dim, metric)
    index.append(rows)
    found = index.search(query, k, method="exact")
    true = judged(rows, query, metric)
    unit = 1.0 if metric == "cosine" else scale
    best = np.sort(true)[::-1][:k]
    np.testing.assert_allclose(found.scores / unit, best / unit, atol=3e-6 * dim**0.5)
    np.testing.assert_allclose(found.scores / unit, true[found.rows] / unit, atol=1e-6 * dim**0.5)
    check_sorted(found)


@pytest.mark.parametrize("dim", [32, 128, 384, 1000, 4096])
@pytest.mark.parametrize("method", ["8bit", "1bit", "auto"])
def test_codes_lose_next_to_nothing(backend: Backend, dim: int, method: str) -> None:
    rows = sentence_like(3000 if dim < 4096 else 400, dim)
    queries = sentence_like(len(rows), dim)[:20] + 0.02
    if method == "1bit" and dim < 128:
        pytest.skip("sign bits need many dimensions; auto does not use them here")
    index = index_with(backend, dim)
    index.append(rows)
    batch = index.search(queries, 10, method=method)
    hits = 0
    for query, got in zip(queries, batch.rows, strict=True):
        one = index.search(query, 10, method=method)
        assert one.rows.tolist() == got.tolist()
        true = judged(rows, query, "cosine")
        hits += len(set(got.tolist()) & set(np.argsort(-true)[:10].tolist()))
    assert hits >= 0.985 * 10 * len(queries)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 63, 64, 65, 300, 9000])
def test_all_rows_alike_come_back_from_the_lowest(backend: Backend, method: str, n: int) -> None:
    index = index_with(backend, 130)
    index.append(np.ones((n, 130), np.float32))
    assert index.search(np.ones(130), 7, method=method).rows.tolist() == list(range(min(7, n)))
    zero = index.search(np.zeros(130), 7, method=method)
    assert zero.rows.tolist() == list(range(min(7, n)))
    assert not zero.scores.any()


@pytest.mark.parametrize("method", METHODS)
def test_a_mask_with_few_rows_finds_all_of_them(backend: Backend, method: str) -> None:
    rows = sentence_like(20000, 128)
    index = index_with(backend, 128)
    index.append(rows)
    mask = np.zeros(20000, np.bool_)
    mask[[5, 8191, 8192, 19999]] = True
    found = index.search(rows[0], 10, mask=mask, method=method)
    assert sorted(found.rows.tolist()) == [5, 8191, 8192, 19999]


def test_what_is_refused(backend: Backend) -> None:
    index = index_with(backend, 32)
    assert index.search(np.ones(32), 5).rows.shape == (0,)
    for bad in (np.nan, np.inf, -np.inf, 3e38):
        with pytest.raises(VectorError, match="finite"):
            index.append(np.full((2, 32), bad))
    with pytest.raises(VectorError, match="components"):
        index.append(np.ones((2, 31)))
    with pytest.raises(VectorError, match="numbers"):
        index.append([["a"] * 32])  # type: ignore[list-item]
    index.append(np.eye(32, dtype=np.float32))
    for bad in (np.nan, np.inf, 3e38):
        query = np.ones(32, np.float32)
        query[7] = bad
        with pytest.raises(VectorError, match="finite"):
            index.search(query, 3)
    for query in (np.ones(31), np.ones((2, 2, 32)), np.float32(1)):
        with pytest.raises(VectorError, match="components"):
            index.search(query, 3)
    with pytest.raises(VectorError, match="negative"):
        index.search(np.ones(32), -1)
    with pytest.raises(VectorError, match="booleans"):
        index.search(np.ones(32), 1, mask=np.ones(31, np.bool_))
    with pytest.raises(VectorError, match="no row 32"):
        index.delete([32])
    index.delete([3])
    with pytest.raises(VectorError, match="no row 3"):
        index.overwrite([3], np.ones((1, 32)))
    with pytest.raises(VectorError, match="once"):
        index.delete([4, 4])
    assert len(index) == 31
    assert index.search(np.eye(32)[3], 100).rows.shape == (31,)


@SOME
@given(
    seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 12), dim=st.sampled_from([32, 129, 384])
)
def test_changes_in_any_order_match_a_plain_list(
    backend: Backend, seed: int, steps: int, dim: int
) -> None:
    rng = np.random.default_rng(seed)
    index = index_with(backend, dim, "dot")
    model: dict[int, NDArray] = {}
    for _ in range(steps):
        what = rng.integers(0, 4)
        ids = np.array(list(model))
        if what <= 1 or not model:
            new = rng.integers(-3, 4, (int(rng.integers(1, 90)), dim)).astype(np.float32)
            model |= dict(zip(index.append(new), new, strict=True))
        elif what == 2:
            some = rng.choice(ids, size=int(rng.integers(1, len(ids) + 1)), replace=False)
            new = rng.integers(-3, 4, (len(some), dim)).astype(np.float32)
            index.overwrite(some, new)
            model |= dict(zip(some.tolist(), new, strict=True))
        else:
            some = rng.choice(ids, size=int(rng.integers(1, len(ids) + 1)), replace=False)
            index.delete(some)
            for row in some.tolist():
                del model[row]
    if rng.integers(0, 2):
        kept = index.compact()
        model = {new: model[old] for new, old in enumerate(kept.tolist())}
    assert len(index) == len(model)
    query = rng.integers(-3, 4, dim).astype(np.float32)
    ids = np.array(list(model), np.int64)
    true = np.array([row @ query for row in model.values()])
    right = ids[np.lexsort((ids, -true))][:9]
    assert index.search(query, 9, method="exact").rows.tolist() == right.tolist()
