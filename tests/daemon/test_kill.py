"""``kill -9`` of the daemon while it remembers: nothing acknowledged is lost, nothing doubles."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import random
import signal
import time

import pytest
from daemon.turns import a_turn

from aiki_kernel.config import Paths, Settings
from aiki_kernel.daemon import lifecycle
from aiki_kernel.daemon.connect import Connection, connect
from aiki_kernel.daemon.lock import holder
from aiki_kernel.daemon.spool import Spool
from aiki_kernel.memory.records import Scope, Turn

WRITERS = 3
LONGEST_S = 0.25
"""A turn takes a few ms to a few tens of ms: most kills fall into the middle of some."""

KARI = Scope("kari")


class Writers:
    """Clients that remember one turn after another until told to stop."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.acknowledged: dict[str, Turn] = {}
        self.spooled = 0
        self.stopping = False
        self.going = asyncio.Event()

    async def write(self, name: str) -> None:
        number = 0
        while not self.stopping:
            number += 1
            turn = a_turn(question=f"question {name} {number}", answer=f"answer {name} {number}")
            stored = await self.connection.memory.remember(turn)
            self.acknowledged[turn.id] = turn
            self.spooled += stored.spooled
            self.going.set()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills", [12, pytest.param(50, marks=pytest.mark.long)])
async def test_kills_lose_nothing_and_double_nothing(
    settings: Settings, paths: Paths, kills: int
) -> None:
    seed = int(time.time())
    chance = random.Random(seed)
    print(f"seed {seed}")
    connections = [connect(settings, paths) for _ in range(WRITERS)]
    killed = 0
    acknowledged: dict[str, Turn] = {}
    spooled = 0
    for number in range(kills):
        rounds = [Writers(connection) for connection in connections]
        tasks = [
            asyncio.create_task(writers.write(f"{number}-{index}"))
            for index, writers in enumerate(rounds)
        ]
        # A daemon answers, and turns are under way, when the moment is drawn.
        await rounds[0].going.wait()
        await asyncio.sleep(chance.uniform(0, LONGEST_S))
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder(paths.lock)["pid"], signal.SIGKILL)
            killed += 1
        for writers in rounds:
            writers.stopping = True
        await asyncio.gather(*tasks)
        for writers in rounds:
            acknowledged.update(writers.acknowledged)
            spooled += writers.spooled

    assert killed == kills
    await connections[0].admin.replay()
    assert not Spool(paths.spool).waiting()
    expected = collections.Counter(
        text for turn in acknowledged.values() for text in (turn.question, turn.answer)
    )
    found = collections.Counter(
        record.data for record in await connections[0].admin.list(KARI, limit=10_000)
    )
    print(f"{len(acknowledged)} turns acknowledged, {spooled} of them spooled first")
    assert not expected - found, "lost"
    assert not found - expected, "doubled, or never acknowledged"
    assert len(acknowledged) >= kills
    # The store is whole: it opens without the process that was killed, and finds.
    await asyncio.to_thread(lifecycle.stop, paths)
    some = chance.choice(list(acknowledged.values()))
    recall = await connections[0].memory.recall(some.question, scope=KARI, limit=20)
    assert some.question in {hit.text for hit in recall.hits}
    for connection in connections:
        await connection.aclose()
