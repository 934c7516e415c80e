"""Files that are held open while others may move them."""

from __future__ import annotations

import os
from pathlib import Path


def same_file(handle: int, path: Path) -> bool:
    """Whether what is open is still what lies at ``path``: it may have been moved or replaced."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(handle)
    return (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev)
