"""The generation queue: fair turns, bounds, curation that makes room. No model is loaded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki_kernel.daemon.generation import (
    GenerationQueue,
    Job,
    PreemptedError,
    QueueFullError,
    StoppingError,
)
from aiki_kernel.daemon.waiting import Priority, WaitingLine

SESSIONS = ("a", "b", "c")


class Work:
    """Generations that note when they begin and run until they are let go or cancelled."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go = threading.Semaphore(0)

    def of(self, name: str, items: int = 1):  # type: ignore[no-untyped-def]
        def produce(cancelled: threading.Event) -> Iterator[str]:
            self.begun.append(name)
            while not self.go.acquire(timeout=0.005):
                if cancelled.is_set():
                    return
            for number in range(items):
                yield f"{name}{number}"

        return produce

    async def until(self, count: int) -> None:
        while len(self.begun) < count:
            await asyncio.sleep(0.002)


@pytest.fixture
def work() -> Work:
    return Work()


async def take_all(job: Job) -> list[str]:
    return [item async for item in job]


async def test_sessions_take_turns(work: Work) -> None:
    queue = GenerationQueue(limit=20)
    first = queue.submit(work.of("a0"), session="a")
    await work.until(1)
    order = [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2"), ("c", "c1")]
    jobs = [queue.submit(work.of(name), session=session) for session, name in order]
    health = queue.health()
    assert health["sessions"] == {"a": 3, "b": 2, "c": 1}
    assert health["by_priority"]["cell"] == {"running": 1, "waiting": 6}
    for _ in range(7):
        work.go.release()
    await asyncio.gather(*(take_all(job) for job in [first, *jobs]))
    assert work.begun == ["a0", "b1", "c1", "a1", "b2", "a2", "a3"]
    health = queue.health()
    assert (health["served"], health["waiting"], health["oldest_wait_s"]) == (7, 0, 0.0)
    assert health["longest_wait_s"] >= 0
    queue.close()


async def test_a_session_that_waits_already_leaves_places_to_others(work: Work) -> None:
    queue = GenerationQueue(limit=4)
    queue.submit(work.of("a"), session="a")
    await work.until(1)
    for _ in range(3):
        queue.submit(work.of("a"), session="a")
    with pytest.raises(QueueFullError, match="try again in"):
        queue.submit(work.of("a"), session="a")
    queue.submit(work.of("b"), session="b")
    with pytest.raises(QueueFullError):
        queue.submit(work.of("c"), session="c")
    assert queue.health()["refused"] == 2
    await asyncio.sleep(0.01)
    assert queue.health()["oldest_wait_s"] > 0
    queue.close()


async def test_a_cell_stops_running_curation_and_goes_first(work: Work) -> None:
    queue = GenerationQueue(limit=8)
    curated = queue.submit(work.of("curation"), session="x", priority="curation")
    await work.until(1)
    again = queue.submit(work.of("later"), session="x", priority="curation")
    cell = queue.submit(work.of("cell"), session="a")
    with pytest.raises(PreemptedError, match="begins again"):
        await take_all(curated)
    await work.until(2)
    assert work.begun == ["curation", "cell"], "what waits of curation waits on"
    work.go.release()
    assert await take_all(cell) == ["cell0"]
    work.go.release()
    assert await take_all(again) == ["later0"]
    health = queue.health()
    assert (health["preempted"], health["served"]) == (1, 2)
    queue.close()


async def test_curation_waits_while_any_cell_runs(work: Work) -> None:
    queue = GenerationQueue(limit=8, parallel=3)
    cell = queue.submit(work.of("cell"), session="a")
    curated = queue.submit(work.of("curation"), priority="curation")
    await work.until(1)
    await asyncio.sleep(0.05)
    assert work.begun == ["cell"], "two places are free, and curation would share the steps"
    assert queue.health()["by_priority"]["curation"]["waiting"] == 1
    work.go.release()
    await take_all(cell)
    work.go.release()
    assert await take_all(curated) == ["curation0"]
    queue.close()


async def test_a_thread_runs_curation_and_is_told_of_the_cell(work: Work) -> None:
    queue = GenerationQueue(limit=8)
    outcome: list[object] = []

    def curate() -> None:
        for _ in range(2):
            try:
                outcome.append(list(queue.run(work.of("curation", 3), session="curation")))
            except PreemptedError as error:
                outcome.append(error)

    thread = threading.Thread(target=curate)
    thread.start()
    await work.until(1)
    cell = queue.submit(work.of("cell"), session="a")
    await work.until(2)
    work.go.release()
    await take_all(cell)
    work.go.release()
    await asyncio.to_thread(thread.join, 10)
    assert isinstance(outcome[0], PreemptedError)
    assert outcome[1] == ["curation0", "curation1", "curation2"]
    queue.close()


async def test_a_cancelled_cell_lets_curation_begin(work: Work) -> None:
    queue = GenerationQueue(limit=8)
    cell = queue.submit(work.of("cell"), session="a")
    await work.until(1)
    second = queue.submit(work.of("second"), session="a")
    curated = queue.submit(work.of("curation"), priority="curation")
    queue.cancel(second)
    assert await take_all(second) == []
    queue.cancel(cell)
    await work.until(2)
    work.go.release()
    assert await take_all(curated) == ["curation0"]
    assert work.begun == ["cell", "curation"]
    queue.close()


async def test_those_who_wait_are_told_when_the_daemon_stops(work: Work) -> None:
    queue = GenerationQueue(limit=8)
    queue.submit(work.of("cell"), session="a")
    await work.until(1)
    waiting = [queue.submit(work.of("b"), session="b"), queue.submit(work.of("c"), session="c")]
    queue.refuse()
    for job in waiting:
        with pytest.raises(StoppingError):
            await take_all(job)
    with pytest.raises(StoppingError):
        queue.submit(work.of("d"))
    queue.close()


@given(
    st.lists(
        st.tuples(st.sampled_from(SESSIONS), st.sampled_from(("cell", "cell", "curation"))),
        max_size=40,
    )
)
def test_the_line_loses_nothing_and_is_fair(asked: list[tuple[str, Priority]]) -> None:
    line: WaitingLine[int] = WaitingLine(limit=100)
    for number, (session, priority) in enumerate(asked):
        line.put(number, session, priority)
    taken: list[int] = []
    while (place := line.take()) is not None:
        taken.append(place.item)
    assert sorted(taken) == list(range(len(asked)))
    kinds = [asked[number][1] for number in taken]
    assert kinds == sorted(kinds, key=("cell", "curation").index), "cells before curation"
    cells = [number for number in taken if asked[number][1] == "cell"]
    for session in SESSIONS:
        mine = [number for number in cells if asked[number][0] == session]
        assert mine == sorted(mine), "a session's own order stays"
    # Fair: while a session waits, no other is served twice before it is served once.
    left = Counter(asked[number][0] for number in cells)
    since: dict[str, Counter[str]] = {session: Counter() for session in SESSIONS}
    for number in cells:
        session = asked[number][0]
        left[session] -= 1
        since[session].clear()
        for other in SESSIONS:
            if other != session and left[other]:
                since[other][session] += 1
                assert since[other][session] <= 1


async def test_many_sessions_at_once_are_all_served() -> None:
    queue = GenerationQueue(limit=400, parallel=4)

    def produce(cancelled: threading.Event) -> Iterator[int]:
        time.sleep(0.0005)
        yield 1

    jobs = [queue.submit(produce, session=str(number % 7)) for number in range(200)]
    done = await asyncio.gather(*(take_all(job) for job in jobs))
    assert done == [[1]] * 200
    assert queue.health()["served"] == 200
    queue.close()
