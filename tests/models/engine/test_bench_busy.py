"""The benchmark's row about busy cores: the row is there, and its processes end with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiki_kernel.compute.native import load_best
from aiki_kernel.models.bench_busy import WORK, busy_cores
from aiki_kernel.models.bench_generate import measure
from aiki_kernel.models.bitnet_sample import TINY, write_bitnet


def test_a_busy_process_a_core_ends_with_the_measurement() -> None:
    with busy_cores() as running:
        assert len(running) == len(os.sched_getaffinity(0))
        assert all(process.poll() is None for process in running)
        cores = {core for process in running for core in os.sched_getaffinity(process.pid)}
        assert cores == os.sched_getaffinity(0)
    assert all(process.returncode is not None for process in running)


@pytest.mark.skipif(load_best("language").library is None, reason="no compiled kernels here")
def test_the_row_compares_all_threads_with_one(tmp_path: Path) -> None:
    file = write_bitnet(tmp_path / "tiny.gguf", TINY)
    data = measure(file, tmp_path, threads=(1, 2), repeats=1, peers=False, say=lambda text: None)
    one, every = (row for row in data["rows"] if row["work"] == WORK)
    assert (one["threads"], every["threads"]) == (1, min(2, len(os.sched_getaffinity(0))))
    assert one["mojo_times"] == every["tokens_s"] / one["tokens_s"]
    prefill = next(row for row in data["rows"] if row["work"] == "prefill 512")
    decode = next(row for row in data["rows"] if row["work"] == "decode after 64")
    assert 100 < decode["token_bytes"] / prefill["token_bytes"] <= 192
