"""``python -m aiki_kernel.health``, ``aiki-health-daemon``: be the health daemon."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from aiki_kernel.health.daemon import main

LEAN = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "16384"}
"""For the C library: one arena for all threads (probes are many and short), little kept back."""


def become(environment: Mapping[str, str]) -> NoReturn:
    """Replace this process by the daemon, in an environment that keeps it small."""
    sys.stdout.flush()
    words = [sys.executable, "-P", "-m", "aiki_kernel.health"]
    os.execve(sys.executable, words, {**LEAN, **environment})  # noqa: S606


def script() -> None:
    """The console script."""
    become(os.environ)


def run() -> None:
    """Be the daemon. A probe that hangs must not keep the process alive at its end."""
    status = main()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    run()
