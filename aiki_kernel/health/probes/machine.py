"""The machine: disk, memory, processor, load, battery. Linux is read from ``/proc``.

Elsewhere psutil is asked, which takes five megabytes that Linux is spared.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from aiki_kernel.health.moment import Moment
from aiki_kernel.health.reading import DEGRADED, DOWN, OK, Reading, size

_CGROUP = "/sys/fs/cgroup"
_BATTERIES = "/sys/class/power_supply"
_LOW_BATTERY, _EMPTY_BATTERY = 15.0, 5.0  # per cent, while it is not charged
_BUSY, _BUSY_FOR_S = 0.98, 300.0
_GLANCE_S = 0.1


class Disk:
    """Room where ``AIKI_HOME`` lies. A network's disk may hang; then it is unknown."""

    name, title, timeout_s = "disk", "Disk", 0.0

    def measure(self, moment: Moment) -> Reading:
        home = moment.plan.home
        found = os.statvfs(home if Path(home).is_dir() else Path(home).parent)
        free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        facts = {"free_bytes": free, "size_bytes": total, "free_files": found.f_favail}
        low, full = moment.plan.disk_free
        value = float(free)
        if found.f_files and not found.f_favail:
            return Reading(
                DOWN,
                f"The disk of {home} can take no more files: remove some.",
                value,
                "bytes",
                facts,
            )
        if free < full:
            return Reading(
                DOWN,
                (
                    f"The disk of {home} is full ({size(free)} free of {size(total)}): make "
                    "room, or nothing more is remembered."
                ),
                value,
                "bytes",
                facts,
            )
        if free < low:
            return Reading(
                DEGRADED,
                (
                    f"The disk of {home} is nearly full ({size(free)} free of {size(total)}): "
                    "make room; `aiki model list` shows what models take."
                ),
                value,
                "bytes",
                facts,
            )
        return Reading(OK, f"{size(free)} free of {size(total)}.", value, "bytes", facts)


class Ram:
    """Memory that programs can still get: of the machine, or of this container's limit."""

    name, title, timeout_s = "ram", "Memory", 0.0

    def measure(self, moment: Moment) -> Reading:
        total, free, swap = _ram()
        limit, used = _container()
        if limit and limit < total:
            total, free = limit, min(free, max(0, limit - used))
        part = free / total if total else 1.0
        facts = {"available_bytes": free, "size_bytes": total, "swap_used_bytes": swap}
        low, out = moment.plan.ram_free
        said = f"{size(free)} free of {size(total)}"
        if part < low:
            state = DOWN if part < out else DEGRADED
            reason = (
                f"The machine is short of memory ({said}): close programs or kernels, or use a "
                "smaller model."
            )
            return Reading(state, reason, float(free), "bytes", facts)
        return Reading(OK, f"{said}.", float(free), "bytes", facts)


class Cpu:
    """How busy the processors were since the last look; for a single look, for a moment."""

    name, title, timeout_s = "cpu", "Processor", 0.0

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._busy_since: float | None = None

    def measure(self, moment: Moment) -> Reading:
        before = self._last
        if before is None:
            before = _cpu_times()
            time.sleep(_GLANCE_S)
        now = self._last = _cpu_times()
        busy, all_ = now[0] - before[0], now[1] - before[1]
        part = min(1.0, max(0.0, busy / all_)) if all_ > 0 else 0.0
        count = os.cpu_count() or 1
        facts = {"cpus": count}
        if part < _BUSY:
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = moment.monotonic
        for_s = moment.monotonic - self._busy_since if self._busy_since is not None else 0.0
        if for_s >= _BUSY_FOR_S:
            reason = (
                f"All {count} processors have been busy for {for_s / 60:.0f} min: answers are "
                "slow; `top` shows who it is."
            )
            return Reading(DEGRADED, reason, round(part, 4), "of all", facts)
        return Reading(
            OK, f"{100 * part:.0f} % of {count} processors.", round(part, 4), "of all", facts
        )


class Load:
    """How many programs want to run, on average of one and of fifteen minutes."""

    name, title, timeout_s = "load", "Load", 0.0

    def measure(self, moment: Moment) -> Reading:
        one, five, fifteen = os.getloadavg()
        count = os.cpu_count() or 1
        facts = {"load1": one, "load5": five, "load15": fifteen, "cpus": count}
        if five > moment.plan.load_per_cpu * count:
            reason = (
                f"{five:.0f} programs want {count} processors (average of 5 min): answers are "
                "slow; `top` shows who it is."
            )
            return Reading(DEGRADED, reason, one, "programs", facts)
        return Reading(
            OK, f"{one:.2f} over one minute, {fifteen:.2f} over fifteen.", one, "programs", facts
        )


class Battery:
    """The battery that is emptied first, where there is one."""

    name, title, timeout_s = "battery", "Battery", 0.0

    def __init__(self, folder: str = _BATTERIES) -> None:
        self._folder = folder

    def measure(self, moment: Moment) -> Reading | None:
        found = _batteries(self._folder)
        if not found:
            return None
        percent, status = min(found)
        charging = status.lower() not in ("discharging", "not charging", "unknown")
        facts = {"status": status}
        if not charging and percent <= _LOW_BATTERY:
            state = DOWN if percent <= _EMPTY_BATTERY else DEGRADED
            return Reading(
                state,
                f"The battery is at {percent:.0f} %: plug the machine in.",
                percent,
                "%",
                facts,
            )
        return Reading(
            OK, f"{percent:.0f} %, {status.lower() or 'state unknown'}.", percent, "%", facts
        )


def _ram() -> tuple[int, int, int]:
    """Bytes: of the machine, of those that programs can get, of swap in use."""
    try:
        lines = (line.split(":") for line in _text("/proc/meminfo").splitlines())
        kib = {name: int(rest.split()[0]) for name, rest in lines}
    except OSError:
        import psutil

        memory = psutil.virtual_memory()
        return memory.total, memory.available, psutil.swap_memory().used
    free = kib.get("MemAvailable", kib.get("MemFree", 0))
    swap = kib.get("SwapTotal", 0) - kib.get("SwapFree", 0)
    return kib["MemTotal"] * 1024, free * 1024, swap * 1024


def _container() -> tuple[int, int]:
    """The limit of this control group and what of it cannot be given back, in bytes; 0 for none."""
    try:
        limit = int(_text(f"{_CGROUP}/memory.max"))
        used = int(_text(f"{_CGROUP}/memory.current"))
        stat = dict(line.split() for line in _text(f"{_CGROUP}/memory.stat").splitlines())
    except (OSError, ValueError):
        return 0, 0
    return limit, used - int(stat.get("inactive_file", 0)) - int(stat.get("active_file", 0))


def _cpu_times() -> tuple[float, float]:
    """Busy and all time of all processors together."""
    try:
        ticks = [float(word) for word in _text("/proc/stat").split("\n", 1)[0].split()[1:9]]
    except OSError:
        import psutil

        times = psutil.cpu_times()
        return sum(times) - times.idle, sum(times)
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, sum(ticks)


def _batteries(folder: str) -> list[tuple[float, str]]:
    """Charge in per cent and status of each."""
    try:
        supplies = sorted(Path(folder).iterdir())
    except OSError:
        return [] if Path("/proc/self").is_dir() else _battery_of_psutil()
    found = []
    for path in supplies:
        if _line(path / "type") != "Battery" or _line(path / "scope") == "Device":
            continue  # a power supply, or the battery of a mouse
        try:
            found.append((float(_line(path / "capacity")), _line(path / "status")))
        except ValueError:
            continue
    return found


def _battery_of_psutil() -> list[tuple[float, str]]:
    import psutil

    ask = getattr(psutil, "sensors_battery", None)
    found = ask() if ask else None
    if found is None:
        return []
    return [(float(found.percent), "Charging" if found.power_plugged else "Discharging")]


def _text(path: str) -> str:
    return Path(path).read_text("ascii")


def _line(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
