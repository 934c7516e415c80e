"""Weights kept for the next load: believed only when whole, never needed."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from aiki_kernel.models import arena_file
from aiki_kernel.models.arena_file import ArenaFile
from aiki_kernel.models.llama import Llama
from aiki_kernel.models.local import LocalModel

IDS = [70, 71, 72, 90, 100]


def load(path: Path, cache: Path) -> tuple[LocalModel, bool]:
    """The model, once its weights are stored or not, and whether they were mapped."""
    model = LocalModel.load(path, cache=cache, engine="numpy")
    assert isinstance(model.engine, Llama)
    if model.engine.storing is not None:
        model.engine.storing.join()
    return model, model.engine.mapped


def stored(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.weights*"))


def flip(path: Path, position: int) -> None:
    """One bit, with size and times left as they were."""
    info = path.stat()
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def test_the_second_load_computes_nothing(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, mapped = load(tiny_path, tmp_path)
    assert not mapped
    assert [path.name for path in stored(tmp_path)] == [f"{first.sha256}.v1.weights"]

    def refuse(*_: object) -> None:
        raise AssertionError("dequantised although the weights are stored")

    monkeypatch.setattr("aiki_kernel.models.llama_weights.dequantize", refuse)
    second, mapped = load(tiny_path, tmp_path)
    assert mapped
    assert np.array_equal(first.logprobs(IDS), second.logprobs(IDS))


@pytest.mark.parametrize("position", [0, 8, 20, 50, 60, 4000, 4096, 30000, -1])
def test_one_wrong_bit_anywhere_is_found_and_mended(
    tiny_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, position: int
) -> None:
    first, _ = load(tiny_path, tmp_path)
    flip(stored(tmp_path)[0], position)
    with caplog.at_level(logging.WARNING):
        again, mapped = load(tiny_path, tmp_path)
    assert not mapped
    assert "is damaged; it is made again" in caplog.text
    third, mapped = load(tiny_path, tmp_path)
    assert mapped
    for model in (again, third):
        assert np.array_equal(first.logprobs(IDS), model.logprobs(IDS))


@pytest.mark.parametrize("size", [0, 10, 4096, 20000])
def test_a_file_cut_short_is_made_again(tiny_path: Path, tmp_path: Path, size: int) -> None:
    load(tiny_path, tmp_path)
    os.truncate(stored(tmp_path)[0], size)
    assert not load(tiny_path, tmp_path)[1]
    assert load(tiny_path, tmp_path)[1]


def test_weights_of_another_model_are_not_believed(tiny_path: Path, tmp_path: Path) -> None:
    tiny, _ = load(tiny_path, tmp_path)
    other = ArenaFile(tmp_path, "ab" * 32)
    stored(tmp_path)[0].rename(other.path)
    assert isinstance(tiny.engine, Llama)
    assert other.map((other.path.stat().st_size - 4096) // 4) is None


def test_a_folder_that_cannot_be_written_costs_a_line(
    tiny_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            model, mapped = load(tiny_path, Path("/proc/nowhere"))
            assert not mapped
            assert model.logprobs(IDS).shape == (model.engine.vocabulary,)
    assert "weights are not stored in /proc/nowhere" in caplog.text


def test_a_read_only_folder_is_read_and_left_alone(tiny_path: Path, tmp_path: Path) -> None:
    load(tiny_path, tmp_path)
    before = stored(tmp_path)[0].stat()
    tmp_path.chmod(0o500)
    try:
        assert load(tiny_path, tmp_path)[1]
    finally:
        tmp_path.chmod(0o700)
    assert os.path.samestat(stored(tmp_path)[0].stat(), before)


def test_the_last_of_the_disk_is_left_to_others(
    tiny_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(arena_file, "KEEP_FREE", 1 << 60)
    with caplog.at_level(logging.WARNING):
        assert not load(tiny_path, tmp_path)[1]
    assert "of disk are free" in caplog.text
    assert stored(tmp_path) == []


def test_older_layouts_and_what_a_killed_writer_left_are_removed(
    tiny: LocalModel, tiny_path: Path, tmp_path: Path
) -> None:
    for name in ("v0.weights", "v0.weights.part", "v1.weights.part"):
        (tmp_path / f"{tiny.sha256}.{name}").write_bytes(b"x" * 500_000)
    other = tmp_path / f"{'0' * 64}.v0.weights"
    other.write_bytes(b"of another model")
    load(tiny_path, tmp_path)
    ours = tmp_path / f"{tiny.sha256}.v1.weights"
    assert set(stored(tmp_path)) == {ours, other}
    assert load(tiny_path, tmp_path)[1]


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    room = np.random.default_rng(1).standard_normal(1 << 20).astype(np.float32)
    wrote: list[bool] = []
    threads = [
        threading.Thread(target=lambda: wrote.append(ArenaFile(tmp_path, "cd" * 32).write(room)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wrote) == [False] * 7 + [True]
    assert len(stored(tmp_path)) == 1
    found = ArenaFile(tmp_path, "cd" * 32).map(len(room))
    assert found is not None
    assert np.array_equal(found, room)
    assert not found.flags.writeable


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage/enabled").exists()
    or "[never]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text("utf-8"),
    reason="this system has no huge pages",
)
def test_stored_weights_ask_for_huge_pages(tmp_path: Path) -> None:
    file = ArenaFile(tmp_path, "ab" * 32)
    room = np.arange(1 << 20, dtype=np.float32)
    assert file.write(room)
    found = file.map(len(room))
    assert found is not None
    assert np.array_equal(found, room)
    _, _, after = Path("/proc/self/smaps").read_text("utf-8").partition(str(file.path))
    flags = next(line for line in after.splitlines() if line.startswith("VmFlags"))
    assert "hg" in flags.split()


def test_what_lies_in_small_pages_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = np.arange(3 << 20, dtype=np.float32)  # 12 MB
    arena = ArenaFile(tmp_path, "ab" * 32)
    arena.write(room)
    asked: list[int] = []

    def some(found: np.ndarray) -> int:
        asked.append(found.nbytes)
        return 1 << 21

    monkeypatch.setattr(arena_file, "_in_huge_pages", some)
    found = arena.map(len(room))
    assert asked == [room.nbytes]
    assert found is not None
    assert np.array_equal(found, room)


def test_huge_pages_are_counted_or_said_to_be_none(tmp_path: Path) -> None:
    arena = ArenaFile(tmp_path, "cd" * 32)
    arena.write(np.ones(3 << 20, np.float32))
    found = arena.map(3 << 20)
    assert found is not None
    assert 0 <= arena_file._in_huge_pages(found) <= found.nbytes
    assert arena_file._in_huge_pages(np.ones(4, np.float32)) == 0
