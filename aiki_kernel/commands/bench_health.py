"""``aiki bench health``: what the health daemon takes, measured from outside over a while.

A real daemon in a home of its own, with a provider behind TLS that never answers, so that
everything it may load is loaded. Its first seconds (start, settings) are told apart.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.progress import Step, progress
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import AikiError, UsageError
from aiki_kernel.health.__main__ import LEAN

RESIDENT_MB, CPU_PART, AT_S = 25.0, 0.002, 60.0
_START_S = 60.0


@command("bench health")
def health(
    context: Context,
    seconds: Annotated[float, Arg("how long the daemon is watched")] = 600.0,
    interval: Annotated[float, Arg("seconds between its samples")] = 60.0,
) -> Result:
    """Measure the health daemon's memory and processor time over a while.

    The limits are 25 MB resident and 0.2 % of a core at a sample a minute; for another
    interval the cost of one sample is reckoned for a minute.
    """
    if seconds <= 0 or interval <= 0:
        raise UsageError("--seconds and --interval must be above 0.")
    if not Path("/proc/self/status").exists():
        raise UsageError("`aiki bench health` reads /proc, which this system does not have.")
    with progress(context, "Watching the daemon") as step:
        data = measure(seconds, interval, step)
    met = data["resident_peak_mb"] <= RESIDENT_MB and data["core_part_at_60_s"] <= CPU_PART
    data |= {"limit_mb": RESIDENT_MB, "limit_core_part": CPU_PART, "met": met}
    rows = [
        ("resident, most", f"{data['resident_peak_mb']:.1f} MB", f"{RESIDENT_MB:.0f} MB"),
        ("resident, at the end", f"{data['resident_mb']:.1f} MB", ""),
        ("of these its own", f"{data['private_mb']:.1f} MB", ""),
        ("processor, one sample", f"{1000 * data['cpu_per_sample_s']:.1f} ms", ""),
        ("processor, at 60 s", f"{100 * data['core_part_at_60_s']:.4f} %", f"{100 * CPU_PART} %"),
        ("processor, its start", f"{data['start_cpu_s']:.2f} s", ""),
    ]
    columns: list[Column | str] = ["", Column("measured", right=True), Column("limit", right=True)]
    table = Table(columns, rows)
    said = (
        f"{data['samples']} samples in {data['seconds']:.0f} s, one each {interval:g} s, "
        f"{data['skipped']} left out; probes: {data['probes']}. "
        f"{'Within' if met else 'BEYOND'} the limits."
    )
    return Result(data, f"{table.text(context)}\n\n{said}", f"{table.html()}<p>{said}</p>")


def measure(seconds: float, interval: float, step: Step) -> dict[str, Any]:
    """Megabytes and seconds of the processor; ``core_part_at_60_s`` is a share of one core."""
    with tempfile.TemporaryDirectory(prefix="aiki-bench-") as name, _silent_port() as port:
        home = Path(name)
        with _daemon(home, interval, port) as child:
            first = _wait(home, child)
            begun, began = _usage(child.pid), time.monotonic()
            peak = 0.0
            while (passed := time.monotonic() - began) < seconds:
                step(int(passed), int(seconds))
                time.sleep(min(1.0, interval))
                peak = max(peak, _memory(child.pid)[0])
                if child.poll() is not None:
                    raise AikiError("The health daemon ended while it was watched.")
            passed = time.monotonic() - began
            used = _usage(child.pid) - begun
            resident, private, most = _memory(child.pid)
            last = json.loads((home / "system_health.json").read_text("utf-8"))
    samples = last["samples"] - first["samples"]
    each = used / samples if samples else used
    return {
        "seconds": round(passed, 1),
        "interval_s": interval,
        "samples": samples,
        "skipped": last["skipped"],
        "probes": len(last["probes"]),
        "resident_peak_mb": round(max(peak, most), 2),
        "resident_mb": round(resident, 2),
        "private_mb": round(private, 2),
        "cpu_s": round(used, 3),
        "cpu_per_sample_s": round(each, 5),
        "core_part": round(used / passed, 6),
        "core_part_at_60_s": round(each / AT_S, 6),
        "start_cpu_s": round(begun, 3),
    }


@contextlib.contextmanager
def _daemon(home: Path, interval: float, port: int) -> Iterator[subprocess.Popen[bytes]]:
    endpoint = {"base_url": f"https://127.0.0.1:{port}/v1", "api_key_env": "AIKI_BENCH_KEY"}
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("AIKI_")},
        "AIKI_HOME": str(home),
        "AIKI_ENDPOINTS": json.dumps({"bench": endpoint}),
        "AIKI_BENCH_KEY": "none",
        "AIKI_HEALTH__INTERVAL_S": str(interval),
        "AIKI_HEALTH__TIMEOUT_S": str(min(3.0, interval)),
        **LEAN,
    }
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "aiki_kernel.health"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def _silent_port() -> Iterator[int]:
    """A port that takes connections and says nothing: TLS is begun, and waits."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield int(door.getsockname()[1])


def _wait(home: Path, child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The daemon's first sample."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((home / "system_health.json").read_text("utf-8"))
            return found
        time.sleep(0.05)
    raise AikiError("The health daemon did not take a sample: run `aiki health daemon` and see.")


def _usage(pid: int) -> float:
    """Seconds of the processor that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> tuple[float, float, float]:
    """Megabytes (10^6 bytes): resident, private to it, and the most that was ever resident."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "RssAnon", "VmHWM"):
            found[name] = int(rest.split()[0]) * 1024 / 1e6
    return found["VmRSS"], found["RssAnon"], found["VmHWM"]
