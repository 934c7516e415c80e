"""The file beside the store: what was saved comes back, and damage is noticed."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from compute_suite import sentence_like
from numpy.typing import NDArray

from aiki_kernel.compute.index import VectorIndex
from aiki_kernel.compute.index_file import IndexFileError, load, save


def keys_for(n: int) -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(0, 256, (n, 16), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, VectorIndex, NDArray[np.float32]]:
    rows = sentence_like(3000, 130)
    index = VectorIndex(130)
    index.append(rows)
    index.delete([7, 2999])
    save(tmp_path / "index.vec", index, stamp="store 1", keys=keys_for(3000))
    return tmp_path / "index.vec", index, rows


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("n", [0, 1, 64, 1000])
def test_what_was_saved_comes_back(tmp_path: Path, n: int, metric: str) -> None:
    index = VectorIndex(40, metric)  # type: ignore[arg-type]
    rows = sentence_like(n, 40) * 3 if n else np.empty((0, 40), np.float32)
    index.append(rows)
    save(tmp_path / "v", index, stamp="s", keys=keys_for(n))
    loaded = load(tmp_path / "v", stamp="s")
    assert (loaded.keys == keys_for(n)).all()
    query = sentence_like(2, 40)[0]
    for method in ("exact", "auto"):
        a, b = index.search(query, 5, method=method), loaded.index.search(query, 5, method=method)
        assert a.rows.tolist() == b.rows.tolist()
        assert a.scores.tolist() == b.scores.tolist()


def test_a_loaded_index_changes_and_its_file_does_not(saved) -> None:
    path, _, rows = saved
    before = path.read_bytes()
    loaded = load(path, stamp="store 1").index
    assert len(loaded) == 2998
    assert loaded.search(rows[7], 1).rows[0] != 7
    numbers = loaded.append(sentence_like(2000, 130, seed=9))  # past the room in the file
    assert numbers == range(3000, 5000)
    loaded.overwrite([0], -rows[:1])
    assert loaded.search(-rows[0], 1).rows.tolist() == [0]
    assert loaded.search(rows[5], 1).rows.tolist() == [5]
    assert path.read_bytes() == before
    save(path, loaded, stamp="store 2", keys=keys_for(5000))
    again = load(path, stamp="store 2").index
    assert again.search(-rows[0], 1).rows.tolist() == [0]
    assert len(again) == 4998


@pytest.mark.parametrize("backend", ["numpy", "mojo-server"])
def test_other_backends_take_a_mapped_file(saved, backend: str) -> None:
    path, index, rows = saved
    if index.choice().name == "numpy" and backend != "numpy":
        pytest.skip(index.choice().reason)
    loaded = load(path, stamp="store 1", backend=backend).index
    assert loaded.search(rows[5], 1).rows.tolist() == [5]
    loaded.close()


def test_a_file_of_another_state_or_none_is_refused(saved, tmp_path: Path) -> None:
    path, _, _ = saved
    with pytest.raises(IndexFileError, match="older or newer"):
        load(path, stamp="store 2")
    with pytest.raises(IndexFileError, match="cannot be read"):
        load(tmp_path / "nothing", stamp="store 1")


def test_every_kind_of_damage_is_noticed(saved) -> None:
    path, _, _ = saved
    whole = path.read_bytes()
    rng = random.Random(1)
    used = [i for i in range(0, len(whole), 97) if whole[i : i + 64].strip(b"\0")]
    for at in [0, 8, 20, 40, *rng.sample(used, 80)]:
        if not whole[at]:
            continue  # perhaps room to grow, which nobody reads
        hurt = bytearray(whole)
        hurt[at] ^= 1 << rng.randrange(8)
        path.write_bytes(hurt)
        with pytest.raises(IndexFileError):
            load(path, stamp="store 1")
    for size in (0, 10, 4095, 4096, 50000, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(IndexFileError):
            load(path, stamp="store 1")


@pytest.mark.long
def test_a_million_rows_are_ready_in_two_seconds(tmp_path: Path) -> None:
    n, dim = 1_000_000, 384
    index = VectorIndex(dim)
    rng = np.random.default_rng(0)
    for _ in range(20):
        index.append(rng.standard_normal((n // 20, dim), np.float32))
    query = index.vectors([123456])[0]
    save(tmp_path / "big", index, stamp="s", keys=np.zeros((n, 16), np.uint8))
    del index
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        loaded = load(tmp_path / "big", stamp="s").index
        assert loaded.search(query, 1).rows.tolist() == [123456]
        seconds.append(time.perf_counter() - started)
        del loaded
    (tmp_path / "big").unlink()
    assert min(seconds) < 2, seconds
