"""How many threads a step uses when other programs keep the cores busy, and when they do not."""

from __future__ import annotations

from aiki_kernel.models.mojo_team import Pace, thread_count


def run(pace: Pace, steps: int, one: float, all_: float) -> float:
    """Seconds of so many steps that take ``one`` with one thread and ``all_`` with two."""
    total = 0.0
    for _ in range(steps):
        if pace.probing:
            pace.probed(one if pace.other == 1 else all_)
            total += (one + all_) / 10
            continue
        threads = pace.using
        seconds = one if threads == 1 else all_
        pace.note(threads, seconds)
        total += seconds
    return total


def test_quiet_cores_are_all_used() -> None:
    pace = Pace(2)
    total = run(pace, 1000, 1.0, 0.6)
    assert pace.using == 2
    assert total < 1.03 * 600


def test_busy_cores_leave_one_thread_which_is_hardly_slower_than_alone() -> None:
    pace = Pace(2)
    total = run(pace, 1000, 1.0, 4.0)
    assert pace.using == 1
    assert total < 1.06 * 1000


def test_it_changes_with_the_machine() -> None:
    pace = Pace(2)
    run(pace, 300, 1.0, 0.6)
    assert run(pace, 600, 1.5, 5.0) < 1.1 * 900
    run(pace, 2000, 1.0, 0.6)
    assert pace.using == 2


def test_cores_that_become_free_are_used_soon_however_long_they_were_busy() -> None:
    pace = Pace(2)
    run(pace, 2000, 2.0, 8.0)
    assert pace.using == 1
    run(pace, 12, 1.0, 0.7)
    assert pace.using == 2


def test_cores_that_are_busy_now_and_then_leave_one_thread() -> None:
    pace = Pace(2)
    total = 0.0
    for number in range(1000):  # most steps are fast, but every third waits for its turn
        total += run(pace, 1, 1.0, 4.0 if number % 3 == 0 else 0.6)
    assert pace.using == 1
    assert total < 1.1 * 1000


def test_one_thread_is_left_alone() -> None:
    pace = Pace(1)
    run(pace, 10, 1.0, 1.0)
    assert pace.using == 1
    assert thread_count(1) == 1
    assert thread_count(0) >= 1


def test_a_probe_that_is_slower_is_followed_by_no_trial() -> None:
    """Prompts of one thread take 1.6 times as long; a slow step before made that look near."""
    pace = Pace(2)
    for seconds in (1.0, 1.0, 1.4):  # the first does not count
        pace.note(2, seconds)
    assert pace.probing
    pace.probed(1.6)
    assert pace.using == 2
