"""Decoding while every core has another program to run: all threads against one.

The busy processes are this interpreter in an endless loop, one pinned to each core. They end with
the measurement, and also when this process dies.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from aiki_kernel.models.engine import LanguageModel

WORK = "decode after 64, cores busy"
_ROUNDS, _TOKENS = 12, 16
_NEVER = threading.Event()
_LOOP = """
import os, sys
core, parent = int(sys.argv[1]), int(sys.argv[2])
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
os.sched_setaffinity(0, {core})
print(core, flush=True)
while os.getppid() == parent:
    for _ in range(1000000):
        pass
"""


@contextmanager
def busy_cores() -> Iterator[list[subprocess.Popen[str]]]:
    """Keep each core that this process may use busy with a process, all started on entry."""
    running: list[subprocess.Popen[str]] = []
    try:
        for core in sorted(os.sched_getaffinity(0)):
            words = [sys.executable, "-S", "-c", _LOOP, str(core), str(os.getpid())]
            running.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        yield running
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.communicate()


def busy_rows(
    one: LanguageModel, every: LanguageModel, threads: int, ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Tokens a second of two engines on one file, in turn: with one thread, and with ``threads``
    at most. ``mojo_times`` of the first row is how many times as fast the second one is.

    No medians here: the moments in which a thread is put aside are what is measured. The first
    round, in which the number of threads adapts, does not count.
    """
    states = [model.new_state() for model in (one, every)]
    seconds = [0.0, 0.0]
    with busy_cores():
        for model, state in zip((one, every), states, strict=True):
            model.forward(ids[:64], state, _NEVER)
        for turn in range(_ROUNDS + 1):
            for number, model in enumerate((one, every)):
                states[number].truncate(64)
                begun = time.perf_counter()
                for token in ids[:_TOKENS]:
                    model.forward([token], states[number], _NEVER)
                seconds[number] += time.perf_counter() - begun if turn else 0.0
    speeds = [_ROUNDS * _TOKENS / total for total in seconds]
    common = {"work": WORK, "engine": "mojo"}
    return [
        {**common, "threads": 1, "tokens_s": speeds[0], "mojo_times": speeds[1] / speeds[0]},
        {**common, "threads": threads, "tokens_s": speeds[1]},
    ]
