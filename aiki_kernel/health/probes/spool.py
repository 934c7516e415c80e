"""Turns that wait on disk for a memory that is away."""

from __future__ import annotations

import os

from aiki_kernel.health.moment import Moment
from aiki_kernel.health.reading import DEGRADED, DOWN, OK, Reading, size, span

_MANY = 1000
_NEXT = "`aiki daemon start` brings them in, `aiki health` says what keeps it"


class Spool:
    """How many turns wait, how much they weigh, and since when the oldest does."""

    name, title, timeout_s = "spool", "Spool", 0.0

    def measure(self, moment: Moment) -> Reading:
        folder = f"{moment.plan.home}/spool"
        count, weight, oldest = 0, 0, moment.wall
        bad = 0
        try:
            for entry in os.scandir(folder):
                if entry.name.startswith(".") or not entry.name.endswith(".json"):
                    continue
                info = entry.stat()
                count, weight = count + 1, weight + info.st_size
                oldest = min(oldest, info.st_mtime)
        except FileNotFoundError:
            return Reading(
                OK, "Nothing waits.", 0.0, "turns", {"turns": 0, "bytes": 0, "age_s": 0.0, "bad": 0}
            )
        try:
            bad = sum(not entry.name.endswith(".txt") for entry in os.scandir(f"{folder}/bad"))
        except OSError:
            bad = 0
        age = max(0.0, moment.wall - oldest)
        facts = {"turns": count, "bytes": weight, "age_s": round(age, 1), "bad": bad}
        value = float(count)
        late, very_late = moment.plan.spool_age_s
        if count and (age > late or count > _MANY):
            state = DOWN if age > very_late else DEGRADED
            reason = (
                f"{_turns(count)} for the memory ({size(weight)}), the oldest for "
                f"{span(age)}: {_NEXT}."
            )
            return Reading(state, reason, value, "turns", facts)
        if bad:
            return Reading(
                DEGRADED,
                f"{_files(bad)} of the spool could not be read, see {folder}/bad: "
                "look at them, then remove them.",
                value,
                "turns",
                facts,
            )
        said = f"{_turns(count)}." if count else "Nothing waits."
        return Reading(OK, said, value, "turns", facts)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _turns(count: int) -> str:
    return "1 turn waits" if count == 1 else f"{count:,} turns wait"
