"""Sensor memories through the daemon and in-process, by the facade, and across kill -9."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import numpy as np
import pytest

from aiki_kernel import Aiki
from aiki_kernel.config import Paths, Settings
from aiki_kernel.daemon.connect import Connection, connect
from aiki_kernel.daemon.lock import holder
from aiki_kernel.errors import AikiError, UsageError
from aiki_kernel.memory.records import Scope
from aiki_kernel.memory.wave import pattern_in
from aiki_kernel.memory.wave_analysis import analyse
from aiki_kernel.memory.wave_signal import Signal

KARI = Scope("kari")


def hum(frequency: float, rate: int = 8000) -> tuple[np.ndarray, int]:
    return np.sin(2 * np.pi * frequency * np.arange(rate) / rate), rate


async def test_captured_found_and_compared(connection: Connection) -> None:
    admin = connection.admin
    begun = datetime(2026, 3, 1, tzinfo=UTC)
    record = await admin.capture({"audio": hum(440)}, KARI, note="a fork", at=begun)
    assert (record.kind, record.trust) == ("sensor", "sensor")
    assert record.created_at.startswith("2026-03-01T00:00:00")
    for k in range(6):
        await admin.capture({"audio": hum(100 * 2**k)}, KARI, note=f"other {k}")
    by_wave = await admin.like(hum(441, 22050), KARI, 3)
    assert by_wave.hits[0].id == record.id
    by_name = await admin.like({"audio": Signal(*hum(441))}, KARI, 3)
    assert by_name.hits[0].id == record.id
    assert not (await admin.like({"thermal": hum(441)}, KARI, 3)).hits
    by_memory = await admin.like(record, KARI, 3)
    assert by_memory.hits[0].id == record.id
    by_text = await admin.search("a fork, tone at 440 Hz", KARI, 3)
    assert by_text.hits[0].id == record.id
    found = await admin.patterns((begun, begun + timedelta(days=1)), KARI)
    assert (found.captures, dict(found.channels)) == (1, {"audio": 1})


async def test_samples_never_travel(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten million samples make a request of a few kB."""
    sizes: list[int] = []
    call = connection.door.call

    async def measured(method: str, path: str, body: object = None, **more: object) -> object:
        sizes.append(len(json.dumps(body)))
        return await call(method, path, body, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(connection.door, "call", measured)
    x = (1000 * np.sin(np.arange(10_000_000) / 20)).astype(np.int16)
    record = await connection.admin.capture({"audio": (x, 48000)}, KARI)
    assert max(sizes) < 8000
    pattern = pattern_in(record.metadata)
    assert pattern is not None
    assert pattern.channels[0].samples == 10_000_000


async def test_mistakes_are_one_line_and_reach_no_daemon(connection: Connection) -> None:
    for channels, told in (
        ({}, "nothing to capture"),
        ({"audio": ([], 10)}, "empty"),
        ({"audio": np.arange(20.0)}, "sampling rate"),
        ({"audio": (np.ones(50), 10)}, "constant"),
    ):
        with pytest.raises(UsageError, match=told) as caught:
            await connection.admin.capture(channels, KARI)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no time"):
        await connection.admin.capture({"a": hum(9)}, KARI, at="soon")
    with pytest.raises(UsageError, match="no period"):
        await connection.admin.patterns("a while", KARI)


async def test_the_door_believes_no_pattern(connection: Connection) -> None:
    good = analyse({"a": hum(50)}).to_json()
    for pattern in (
        {},
        {"version": 1, "channels": []},
        {"version": 1, "channels": [{**good["channels"][0], "vector": "!!"}]},
        {"version": 1, "channels": good["channels"] * 20},
    ):
        with pytest.raises(AikiError) as caught:
            await connection.door.call("POST", "/memory/capture", {"pattern": pattern})
        assert "\n" not in str(caught.value)
    with pytest.raises(AikiError, match="is no time"):
        await connection.door.call("POST", "/memory/capture", {"pattern": good, "at": "never"})
    nothing = {**good["channels"][0], "vector": "AAAA" * 149 + "AA=="}
    empty = {"version": 1, "channels": [nothing]}
    with pytest.raises(AikiError, match="wave to search with"):
        await connection.door.call("POST", "/memory/like", {"pattern": empty})
    assert (await connection.admin.stats())["memories"] == 0


@pytest.mark.timeout(120)
async def test_kill_9_loses_no_capture_that_was_acknowledged(
    settings: Settings, paths: Paths
) -> None:
    """The vector, the picture and the text of one capture are there together, or not at all."""
    connection = connect(settings, paths)
    acknowledged: dict[str, str] = {}
    for number in range(4):
        killed = asyncio.Event()

        async def write(number: int = number, killed: asyncio.Event = killed) -> None:
            for k in range(10_000):
                note = f"run {number} tone {k}"
                try:
                    record = await connection.admin.capture(
                        {"audio": hum(60 + 40 * (k % 5))}, KARI, note=note
                    )
                except (AikiError, httpx2.HTTPError):
                    if killed.is_set():
                        return
                else:
                    acknowledged[record.id] = note
                    if killed.is_set():
                        return

        task = asyncio.create_task(write())
        before = len(acknowledged)
        while len(acknowledged) < before + 5 + number:
            assert not task.done()
            await asyncio.sleep(0.01)
        os.kill(holder(paths.lock)["pid"], signal.SIGKILL)
        killed.set()
        await task
    there = {r.id: r for r in await connection.admin.list(KARI, limit=10_000)}
    assert set(acknowledged) <= set(there)
    like = await connection.admin.like(hum(100), KARI, 10_000)
    found = {hit.id for hit in like.hits}
    assert len(acknowledged) >= 20
    for id, note in acknowledged.items():
        pattern = pattern_in(there[id].metadata)
        assert pattern is not None
        assert pattern.channels[0].picture is not None
        assert there[id].data.startswith(note)
    wanted = [r for r in there.values() if "tone at 100 Hz" in r.data]
    assert {r.id for r in wanted} <= found
    assert len(wanted) >= 4
    await connection.aclose()


def test_the_facade(
    settings: Settings, paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    off = settings.model_copy(update={"daemon": "off"})
    with Aiki(off, paths=paths) as aiki:
        frame = np.add.outer(np.arange(30.0), np.arange(40.0))
        record = aiki.memory.capture(
            audio=hum(440), thermal=Signal(frame, unit="°C"), note="kjele", language="no"
        )
        assert record.metadata["channels"] == ["audio", "thermal"]
        assert record.provenance["channels"] == ["audio", "thermal"]
        assert "tone på 440 Hz" in record.data
        assert aiki.memory.search(wave=hum(442))[0].id == record.id
        assert aiki.memory.search(wave={"thermal": frame * 2})[0].id == record.id
        assert aiki.memory.search("kjele")[0].id == record.id
        assert aiki.memory.search("kjele", 1, wave=hum(440))[0].id == record.id
        assert aiki.memory.patterns("24h").captures == 1
        assert aiki.memory.patterns((datetime(2020, 1, 1), datetime(2020, 2, 1))).captures == 0
        aiki.memory.forget(record.id)
        assert aiki.memory.search(wave=hum(442)) == ()
