"""What a memory's folder needs of the operating system: one owner, and names that are on disk."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from aiki_kernel.errors import StoreError


def lock(folder: Path) -> Any:
    """An open file that keeps other processes out until this one ends, in whatever way.

    Raises :class:`StoreError` when another process has the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = (folder / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.seek(0)
        owner = handle.read(20).strip()
        handle.close()
        raise StoreError(
            f"The memory in {folder} is in use by another process"
            f"{f' ({owner})' if owner else ''}: use the daemon, or stop it with `aiki daemon stop`."
        ) from error
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def fsync(path: Path) -> None:
    """Put the names in the folder ``path`` on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
