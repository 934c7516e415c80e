"""Our units of the user's systemd, where there is a user manager and a unit is installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from aiki_kernel.health.moment import Moment
from aiki_kernel.health.reading import DEGRADED, DOWN, OK, UNKNOWN, Reading

_SHOWN = "Id,LoadState,ActiveState,SubState,NRestarts,Result"


class Units:
    """Failed units are down, such as come up again and again degraded."""

    name, title, timeout_s = "systemd", "systemd units", 0.0

    def __init__(self) -> None:
        self._restarts: dict[str, int] = {}

    def measure(self, moment: Moment) -> Reading | None:
        runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
        program = shutil.which("systemctl")
        units = moment.plan.units
        if not units or not program or not (Path(runtime) / "systemd").exists():
            return None
        found = _shown(program, units, moment.patience)
        if isinstance(found, str):
            return Reading(
                UNKNOWN,
                f"The user's systemd does not answer ({found}): see `systemctl --user status`.",
            )
        installed = {n: unit for n, unit in found.items() if unit.get("LoadState") == "loaded"}
        if not installed:
            return None
        facts = {n: f"{u.get('ActiveState')}/{u.get('SubState')}" for n, u in installed.items()}
        up = float(sum(u.get("ActiveState") == "active" for u in installed.values()))
        failed = [n for n, u in installed.items() if u.get("ActiveState") == "failed"]
        again = self._again(installed)
        if failed:
            why = ", ".join(f"{n} ({installed[n].get('Result')})" for n in failed)
            return Reading(
                DOWN, f"Failed: {why}: see `journalctl --user -u {failed[0]}`.", up, "units", facts
            )
        if again:
            return Reading(
                DEGRADED,
                (
                    f"Restarted since the last look: {', '.join(again)}: see `journalctl --user "
                    f"-u {again[0]}`."
                ),
                up,
                "units",
                facts,
            )
        return Reading(
            OK, ", ".join(f"{n} {state}" for n, state in facts.items()) + ".", up, "units", facts
        )

    def _again(self, installed: dict[str, dict[str, str]]) -> list[str]:
        found = []
        for name, unit in installed.items():
            restarts = int(unit.get("NRestarts") or 0)
            if restarts > self._restarts.get(name, restarts):
                found.append(name)
            self._restarts[name] = restarts
        return found


def _shown(
    program: str, units: tuple[str, ...], patience: float
) -> dict[str, dict[str, str]] | str:
    """Properties by unit, or why they cannot be had."""
    import subprocess

    try:
        done = subprocess.run(
            [program, "--user", "show", "--property", _SHOWN, *units],
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"within {patience:.1f} s"
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return said[-1] if said else f"status {done.returncode}"
    found = {}
    for block in done.stdout.strip().split("\n\n"):
        unit = dict(line.partition("=")[::2] for line in block.splitlines())
        if unit.get("Id"):
            found[unit["Id"]] = unit
    return found
