"""The clock: whether the time of day has jumped since the last sample."""

from __future__ import annotations

from aiki_kernel.health.moment import Moment
from aiki_kernel.health.reading import DEGRADED, OK, Reading, span
from aiki_kernel.health.status_file import boot, iso, read, steady

JUMP_S = 10.0
TOLD_FOR_S = 900.0


class Clock:
    """Compares both clocks with those of ``system_health.json``; without one it knows nothing."""

    name, title, timeout_s = "clock", "Clock", 0.0

    def measure(self, moment: Moment) -> Reading | None:
        seen = read(moment.plan.status_file)
        if seen is None or seen.data.get("boot") != boot() or not boot():
            return None
        now = steady()
        jumped = moment.wall - float(seen.data["wall_s"]) - (now - float(seen.data["steady_s"]))
        at, when = now, moment.wall
        told = seen.data.get("clock_jump")
        if abs(jumped) < JUMP_S and isinstance(told, dict):
            jumped, at, when = (
                float(told["jumped_s"]),
                float(told["steady_s"]),
                float(told["wall_s"]),
            )
        if abs(jumped) >= JUMP_S and now - at < TOLD_FOR_S:
            way = "ahead" if jumped > 0 else "back"
            facts = {
                "jumped_s": round(jumped, 3),
                "steady_s": round(at, 3),
                "wall_s": round(when, 3),
            }
            reason = (
                f"The clock went {span(abs(jumped))} {way} at {iso(when)}: see `timedatectl`; "
                "times of memories and costs from before and after do not fit together."
            )
            return Reading(DEGRADED, reason, round(jumped, 1), "s", facts)
        return Reading(OK, "Has not jumped.", round(jumped, 3), "s")
