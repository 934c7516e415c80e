"""Graphics processors: NVIDIA's through ``nvidia-smi``, AMD's through the kernel's own files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from aiki_kernel.health.moment import Moment
from aiki_kernel.health.reading import DEGRADED, DOWN, OK, Reading, size

_QUERY = "name,memory.used,memory.total,utilization.gpu,temperature.gpu"
_HOT = 90.0  # degrees Celsius
_FULL = 0.97
_EVERY_S = 300.0  # nvidia-smi is heavier than all other probes together


class Gpu:
    """Memory, use and temperature of each; nothing where there is none."""

    name, title, timeout_s = "gpu", "GPU", 0.0

    def __init__(
        self, proc: str = "/proc/driver/nvidia/version", drm: str = "/sys/class/drm"
    ) -> None:
        self._proc, self._drm = proc, drm
        self._last: tuple[float, Reading] | None = None

    def measure(self, moment: Moment) -> Reading | None:
        if self._last and moment.monotonic - self._last[0] < _EVERY_S and not self._last[1].bad:
            return self._last[1]
        found: Reading | None
        if Path(self._proc).exists():
            found = self._nvidia(moment)
        else:
            cards = _amd(self._drm)
            found = _judge(cards) if cards else None
        self._last = (moment.monotonic, found) if found else None
        return found

    def _nvidia(self, moment: Moment) -> Reading:
        import subprocess

        program = shutil.which("nvidia-smi")
        if program is None:
            return Reading(OK, "An NVIDIA driver is there, nvidia-smi is not.")
        try:
            done = subprocess.run(
                [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
                capture_output=True,
                text=True,
                timeout=moment.patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Reading(
                DEGRADED, f"nvidia-smi does not answer within {moment.patience:.1f} s: see `dmesg`."
            )
        cards = [card for line in done.stdout.splitlines() if (card := _card(line))]
        if done.returncode or not cards:
            said = (done.stdout + done.stderr).strip().splitlines()
            cause = said[-1] if said else f"status {done.returncode}"
            return Reading(
                DOWN,
                f"The NVIDIA driver does not answer ({cause}): reload it, or restart the machine.",
            )
        return _judge(cards)


def _card(line: str) -> dict[str, Any] | None:
    """One line of nvidia-smi; "[N/A]" for what a card does not tell."""
    words = [word.strip() for word in line.split(",")]
    if len(words) != 5:
        return None
    used, total, busy, heat = (_number(word) for word in words[1:])
    return {
        "name": words[0],
        "used_bytes": used * 2**20 if used is not None else None,
        "size_bytes": total * 2**20 if total is not None else None,
        "busy": busy / 100 if busy is not None else None,
        "celsius": heat,
    }


def _amd(folder: str) -> list[dict[str, Any]]:
    found = []
    for path in sorted(Path(folder).glob("card[0-9]*/device/mem_info_vram_total")):
        card = path.parent
        busy = _read(card / "gpu_busy_percent")
        heats = sorted(card.glob("hwmon/hwmon*/temp1_input"))
        heat = _read(heats[0]) if heats else None
        found.append(
            {
                "name": "AMD",
                "used_bytes": _read(card / "mem_info_vram_used"),
                "size_bytes": _read(path),
                "busy": busy / 100 if busy is not None else None,
                "celsius": heat / 1000 if heat is not None else None,
            }
        )
    return found


def _judge(cards: list[dict[str, Any]]) -> Reading:
    used, total = (sum(card[k] or 0 for card in cards) for k in ("used_bytes", "size_bytes"))
    heat = max((card["celsius"] for card in cards if card["celsius"] is not None), default=None)
    said = f"{', '.join(card['name'] for card in cards)}: {size(used)} of {size(total)} used"
    facts = {"cards": cards}
    if heat is not None and heat >= _HOT:
        return Reading(
            DEGRADED, f"A GPU is at {heat:.0f} °C: check its fans.", float(used), "bytes", facts
        )
    if total and used / total > _FULL:
        return Reading(
            DEGRADED,
            f"{said}: use a smaller model, or end other programs.",
            float(used),
            "bytes",
            facts,
        )
    return Reading(OK, f"{said}.", float(used), "bytes", facts)


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _read(path: Path) -> float | None:
    try:
        return float(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
