"""What this room exists to avoid: a compiler started for every question."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from aiki_kernel.compute.stopwatch import Exam

PROGRAM = Path(__file__).parents[2] / "mojo" / "search" / "search_once.mojo"
COMMON = PROGRAM.parents[1] / "common"
QUIET = {"MODULAR_TELEMETRY_ENABLED": "0", "MODULAR_CRASH_REPORTING_ENABLED": "0"}


def mojo_run(exam: Exam, rows: Path, calls: int) -> dict[str, Any]:
    """Time ``mojo run`` for each of a few queries: ``p50_ms``, ``p95_ms``, ``recall``, ``calls``;
    or ``missing`` with the reason where the compiler or the sources are not installed.

    ``rows`` is a file of the raw float32 rows. The first call is not counted: it compiles.
    """
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    mojo = shutil.which("mojo", path=beside)
    if mojo is None or not PROGRAM.exists():
        return {"missing": "needs the mojo command and a checkout of the sources"}
    query = rows.with_name("query.f32")
    seconds, right = [], 0
    for number in range(-1, calls):
        exam.queries[number].tofile(query)
        words = [mojo, "run", "-I", str(COMMON), str(PROGRAM), str(rows), str(query)]
        words += [str(count) for count in (*exam.rows.shape, exam.k)]
        started = time.perf_counter()
        done = subprocess.run(
            words, env=os.environ | QUIET, capture_output=True, text=True, check=False
        )
        ended = time.perf_counter()
        if done.returncode:
            return {"missing": f"mojo run failed: {' '.join(done.stderr.split())[-200:]}"}
        if number >= 0:
            seconds.append(ended - started)
            right += exam.right(number, np.array([int(word) for word in done.stdout.split()]))
    return {
        "p50_ms": float(np.median(seconds)) * 1e3,
        "p95_ms": max(seconds) * 1e3,
        "recall": right / (exam.k * calls),
        "calls": calls,
    }
