"""What this room exists to avoid: a compiler started for every question."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PROGRAM = Path(__file__).parents[2] / "mojo" / "search" / "search_once.mojo"
QUIET = {"MODULAR_TELEMETRY_ENABLED": "0", "MODULAR_CRASH_REPORTING_ENABLED": "0"}


def mojo_run(rows: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> dict[str, Any]:
    """Time ``mojo run`` for each of a few queries: ``p50_ms``, ``recall``, ``calls``; or
    ``missing`` with the reason where the compiler or the sources are not installed.
    """
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    mojo = shutil.which("mojo", path=beside)
    if mojo is None or not PROGRAM.exists():
        return {"missing": "needs the mojo command and a checkout of the sources"}
    with tempfile.TemporaryDirectory(prefix="aiki-bench-") as folder:
        stored, asked = Path(folder) / "rows", Path(folder) / "query"
        rows.tofile(stored)
        seconds, hits = [], 0
        for query in queries:
            query.tofile(asked)
            words = [mojo, "run", str(PROGRAM), str(stored), str(asked)]
            words += [str(n) for n in (*rows.shape, k)]
            started = time.perf_counter()
            done = subprocess.run(
                words, env=os.environ | QUIET, capture_output=True, text=True, check=False
            )
            seconds.append(time.perf_counter() - started)
            if done.returncode:
                return {"missing": f"mojo run failed: {done.stderr.strip()[-200:]}"}
            right = set(np.argsort(-(rows.astype(np.float64) @ query))[:k].tolist())
            hits += len(right & {int(word) for word in done.stdout.split()})
    return {
        "p50_ms": float(np.median(seconds)) * 1e3,
        "p95_ms": max(seconds) * 1e3,
        "recall": hits / (k * len(queries)),
        "calls": len(seconds),
    }
