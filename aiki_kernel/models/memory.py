"""How much memory this process may still take, and refusing a model that needs more.

What the machine has free is not the whole answer: a container or a systemd unit has a limit of its
own (cgroups, versions 1 and 2, at every level of the tree), and the system ends a process that
crosses it without a word. Page cache counts against such a limit but gives way, so it is free.
"""

from __future__ import annotations

import os
from pathlib import Path

from aiki_kernel.errors import ModelError

SPARE = 256 * 1024 * 1024
"""Bytes left for keys, values and the rest of the process."""

_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # version 1 writes a number near 2**63 for none


def available_bytes() -> int:
    """Bytes that can be had now, by the machine and by every control group around us."""
    import psutil

    free = int(psutil.virtual_memory().available)
    return max(0, min([free, *cgroup_rooms()]))


def cgroup_rooms(root: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> list[int]:
    """What is left below each limit that binds this process, in bytes."""
    rooms = []
    try:
        lines = membership.read_text("ascii").splitlines()
    except OSError:
        return []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, inside = rest.partition(":")
        if controllers == "":
            base, names = root, ("memory.max", "memory.current", "file")
        elif "memory" in controllers.split(","):
            base = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        for folder in _upwards(base, inside):
            room = _room(folder, *names)
            if room is not None:
                rooms.append(room)
    return rooms


def refuse_if_too_large(name: str, needed: int) -> None:
    """Raises :class:`ModelError` with the figures when ``needed`` bytes cannot be had."""
    free = available_bytes()
    if needed + SPARE > free:
        raise ModelError(
            f"{name} needs {(needed + SPARE) / 1e9:.1f} GB of memory here and {free / 1e9:.1f} GB "
            "are free: close other programs or choose a smaller model."
        )


def _upwards(base: Path, inside: str) -> list[Path]:
    """The group's own folder and all above it. A container may show only the root."""
    parts = [part for part in inside.split("/") if part not in ("", "..", ".")]
    return [base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _room(folder: Path, limit_name: str, usage_name: str, cache_key: str) -> int | None:
    try:
        limit = (folder / limit_name).read_text("ascii").strip()
        if limit == "max" or int(limit) >= _UNLIMITED:
            return None
        usage = int((folder / usage_name).read_text("ascii"))
        stat = (folder / "memory.stat").read_text("ascii").split()
        cache = dict(zip(stat[::2], stat[1::2], strict=False)).get(cache_key, "0")
    except (OSError, ValueError):
        return None
    return int(limit) - usage + int(cache)


def resident_bytes() -> int:
    """Memory of this process that is in RAM, in bytes."""
    import psutil

    return int(psutil.Process(os.getpid()).memory_info().rss)
