"""``system_health.json``: the last sample, whole at any moment, whoever is killed meanwhile.

It is written beside its name, brought to the disk and renamed. A reader tells its age by the
clock that never jumps while the machine is up since then (same boot), else by the wall clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aiki_kernel.health.plan import Plan
from aiki_kernel.health.reading import span
from aiki_kernel.health.sampler import Sample

SCHEMA = 1
_LARGEST = 4 << 20


def document(sample: Sample, plan: Plan, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The sample as plain JSON data. ``wall_s`` is seconds since 1970; ``stale_after_s`` is the
    age from which on it says nothing about now, ``stale_after`` that moment in local time."""
    return {
        "schema_version": SCHEMA,
        "version": plan.version,
        "pid": os.getpid(),
        "boot": boot(),
        "at": iso(sample.wall),
        "wall_s": round(sample.wall, 3),
        "monotonic_s": round(sample.monotonic, 3),
        "steady_s": round(steady() - (time.monotonic() - sample.monotonic), 3),
        "interval_s": plan.interval_s,
        "stale_after_s": plan.stale_after_s,
        "stale_after": iso(sample.wall + plan.stale_after_s),
        "status": sample.state,
        "seconds": round(sample.seconds, 4),
        **(more or {}),
        "probes": [reading.to_json() for reading in sample.readings],
    }


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Put ``text`` into ``path`` in one step; it is on disk on return. Raises ``OSError``."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            os.fchmod(handle, mode)
            data = text.encode("utf-8", "surrogatepass")
            while data:
                data = data[os.write(handle, data) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        part.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


class Seen(NamedTuple):
    """What the file says, and how old that is. ``data`` is empty when it cannot be read."""

    data: Mapping[str, Any]
    age_s: float
    stale: bool
    note: str = ""

    @property
    def bad(self) -> list[Mapping[str, Any]]:
        """Probes that are known to be wrong, the worst first."""
        probes = [one for one in self.data.get("probes", ()) if isinstance(one, dict)]
        wrong = [one for one in probes if one.get("state") in ("degraded", "down")]
        return sorted(wrong, key=lambda one: one.get("state") != "down")


def read(path: Path) -> Seen | None:
    """The file as it is; None when there is none, as nobody ever watched here."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(_LARGEST))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return Seen({}, 0.0, True, f"{path} cannot be read ({error})")
    if not isinstance(data, dict) or not isinstance(data.get("wall_s"), int | float):
        return Seen({}, 0.0, True, f"{path} is not what the health daemon writes")
    if data.get("schema_version", 0) > SCHEMA:
        return Seen({}, 0.0, True, f"{path} is of a newer version than this program")
    age = _age(data)
    return Seen(data, age, age > float(data.get("stale_after_s") or 0.0))


def line(home: Path) -> str:
    """What is wrong, on one line with the command that says more; "" when all is well."""
    seen = read(home / "system_health.json")
    if seen is None:
        return ""
    if seen.note:
        return f"Health: {seen.note}. `aiki health` looks now."
    if seen.stale:
        ago = f"for {span(seen.age_s)}" if seen.age_s < 3e9 else "for long"
        return (
            f"Health: nobody has looked {ago}, the health daemon is gone. `aiki health` looks now."
        )
    wrong = seen.bad
    if not wrong:
        return ""
    first, others = wrong[0], len(wrong) - 1
    more = f" (and {others} more)" if others else ""
    said = f"{first.get('title')} {first.get('state')}: {first.get('reason')}"
    return f"Health: {said}{more} `aiki health` says more."


def steady() -> float:
    """Seconds of a clock that never jumps and goes on while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def boot() -> str:
    """A name for this run of the machine; "" where the system gives none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def iso(wall: float, *, utc: bool = False) -> str:
    """Local time (or UTC) with its offset, to the second; far-off ones are held to year 9999."""
    held = min(max(wall, 0.0), 253_370_764_800.0)
    if utc:
        return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(held))
    moment = time.localtime(held)
    text = time.strftime("%Y-%m-%dT%H:%M:%S%z", moment)
    return f"{text[:-2]}:{text[-2:]}"


def _age(data: Mapping[str, Any]) -> float:
    same = bool(data.get("boot")) and data.get("boot") == boot()
    if same and isinstance(data.get("monotonic_s"), int | float):
        # A sleeping machine has not missed a sample: this clock slept, too.
        return max(0.0, time.monotonic() - float(data["monotonic_s"]))
    # Another boot, or none known: a clock that was set back must not make it young for ever.
    return abs(time.time() - float(data["wall_s"]))
