"""``python -m aiki_kernel.health``, ``aiki-health-daemon``: be the health daemon."""

from __future__ import annotations

import os
import sys

from aiki_kernel.health.daemon import main


def script() -> None:
    """The console script. A probe that hangs must not keep the process alive at its end."""
    status = main()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    script()
