"""Whether a model fits is known before it is loaded; limits of control groups count."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from aiki_kernel.errors import ModelError
from aiki_kernel.models import memory
from aiki_kernel.models.bitnet_sample import TINY, write_bitnet
from aiki_kernel.models.local import LocalModel

GB = 10**9


def group(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, "ascii")


def test_a_limit_above_us_counts_and_page_cache_does_not(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/user.slice/me.service\n", "ascii")
    root = tmp_path / "fs"
    group(root, {"memory.stat": "file 0\n"})
    outer = {"memory.max": f"{8 * GB}\n", "memory.current": f"{5 * GB}\n"}
    group(root / "user.slice", {**outer, "memory.stat": f"anon 1\nfile {GB}\nslab 7\n"})
    inner = {"memory.max": "max\n", "memory.current": f"{GB}\n", "memory.stat": "file 0\n"}
    group(root / "user.slice" / "me.service", inner)
    assert memory.cgroup_rooms(root, membership) == [4 * GB]


def test_version_1_and_a_container_that_shows_only_its_own(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("9:cpu,cpuacct:/x\n4:memory:/docker/abc\n", "ascii")
    facts = {"memory.limit_in_bytes": f"{2 * GB}", "memory.usage_in_bytes": f"{GB}"}
    stat = f"cache 5\ntotal_inactive_file {GB // 2}\n"
    group(tmp_path / "fs" / "memory", {**facts, "memory.stat": stat})
    assert memory.cgroup_rooms(tmp_path / "fs", membership) == [GB + GB // 2]
    group(tmp_path / "fs" / "memory", {"memory.limit_in_bytes": "9223372036854771712"})
    assert memory.cgroup_rooms(tmp_path / "fs", membership) == []


def test_no_control_groups_no_limit(tmp_path: Path) -> None:
    assert memory.cgroup_rooms(tmp_path, tmp_path / "absent") == []


def test_what_does_not_fit_is_refused_with_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = memory.available_bytes()
    assert 0 < free < 10**14
    monkeypatch.setattr(memory, "cgroup_rooms", lambda: [GB])
    with pytest.raises(ModelError, match=r"needs 100\.3 GB .* 1\.0 GB are free"):
        memory.refuse_if_too_large("big.gguf", 100 * GB)
    path = write_bitnet(tmp_path / "b.gguf", dataclasses.replace(TINY, layers=1))
    monkeypatch.setattr(memory, "cgroup_rooms", lambda: [100 * 2**20])
    with pytest.raises(ModelError, match=r"b\.gguf needs 0\.3 GB"):
        LocalModel.load(path, cache=tmp_path)
