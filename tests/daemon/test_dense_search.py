"""The index behind a real daemon: killed, damaged, asked by two, and seen in health."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from aiki_kernel.commands.command import Context
from aiki_kernel.commands.registry import run
from aiki_kernel.compute.native import native
from aiki_kernel.config import Paths, Settings
from aiki_kernel.daemon import lifecycle
from aiki_kernel.daemon.connect import Connection, connect
from aiki_kernel.daemon.lock import holder
from aiki_kernel.errors import UsageError
from aiki_kernel.memory.dense import FILE
from aiki_kernel.memory.records import Draft, Scope

KARI = Scope("kari")
FAST = "mojo" if native().kernels else "numpy"


async def _fill(connection: Connection, first: int, count: int) -> list[str]:
    texts = [f"memory {first + n} about topic {(first + n) % 23}" for n in range(count)]
    await connection.admin.add_many([Draft(text, KARI) for text in texts])
    return texts


async def _in_step(connection: Connection, *, saved: bool = False) -> dict[str, object]:
    for _ in range(600):
        search = (await connection.health())["search"]
        if search.get("state") == "in step" and (not saved or "saved_s_ago" in search):
            return dict(search)
        await asyncio.sleep(0.05)
    raise AssertionError(search)


async def _found_by(connection: Connection, text: str, backend: str = "numpy") -> str:
    recall = await connection.memory.recall(text, scope=KARI, limit=3, backend=backend)
    assert text in {hit.text for hit in recall.hits}
    return recall.backend.name


async def test_each_request_names_its_backend(connection: Connection) -> None:
    texts = await _fill(connection, 0, 60)
    await _in_step(connection)
    for backend, name in (("auto", FAST), ("numpy", "numpy"), ("qdrant", "qdrant"), ("", FAST)):
        assert await _found_by(connection, texts[7], backend) == name
    found = await connection.admin.search(texts[8], KARI, 3, "numpy")
    assert found.backend.name == "numpy"
    assert found.backend.reason == "chosen"
    with pytest.raises(UsageError, match="There is no backend 'gpu'"):
        await connection.admin.search(texts[8], KARI, 3, "gpu")
    told = await connection.admin.backends("numpy")
    assert told["chosen"] == {"name": "numpy", "reason": "chosen"}
    search = (await connection.health())["search"]
    assert search["rows"] == 60
    assert search["backend"] == FAST
    assert search["last"]["ms"] > 0


@pytest.mark.slow
async def test_after_kill_9_recall_finds_all(settings: Settings, paths: Paths) -> None:
    connection = connect(settings, paths)
    old = await _fill(connection, 0, 200)
    await _in_step(connection, saved=True)
    stamp = (paths.memory / FILE).read_bytes()[:4096]
    new = await _fill(connection, 200, 40)
    gone = (await connection.admin.list(KARI, limit=1000))[120]
    await connection.admin.forget(gone.id)
    os.kill(holder(paths.lock)["pid"], signal.SIGKILL)
    assert (paths.memory / FILE).read_bytes()[:4096] == stamp  # the file knows nothing of them
    for text in (new[0], new[39], next(text for text in old if text != gone.data)):
        assert await _found_by(connection, text) == "numpy"  # the index, not the store
    search = await _in_step(connection)
    assert search["rows"] == 239
    recall = await connection.memory.recall(gone.data, scope=KARI, limit=5, backend="numpy")
    assert gone.id not in {hit.id for hit in recall.hits}
    await connection.aclose()


@pytest.mark.slow
async def test_a_damaged_file_costs_nobody_a_memory(settings: Settings, paths: Paths) -> None:
    connection = connect(settings, paths)
    texts = await _fill(connection, 0, 200)
    await _in_step(connection)
    await asyncio.to_thread(lifecycle.stop, paths)
    whole = (paths.memory / FILE).read_bytes()
    (paths.memory / FILE).write_bytes(whole[:20_000] + bytes(64) + whole[20_064:])
    assert await _found_by(connection, texts[3]) in ("qdrant", "numpy")
    await _in_step(connection)
    assert await _found_by(connection, texts[3]) == "numpy"
    status = await asyncio.to_thread(run, ["daemon", "status"], Context("cli"))
    (line,) = [line for line in status.text.splitlines() if line.startswith("search ")]
    assert "in step" in line
    assert "rows 200" in line
    assert f"backend {FAST}" in line
    await connection.aclose()
