"""``python -m aiki_kernel.daemon``: be the memory daemon."""

from __future__ import annotations

import os
import sys

from aiki_kernel.daemon.serve import main

status = main(sys.argv[1:])
sys.stdout.flush()
sys.stderr.flush()
# Everything is flushed and closed: a thread stuck in native code must not keep us alive.
os._exit(status)
