"""The daemon's lock: an ``flock`` that the kernel drops when its holder dies, however it dies.

A client that finds the lock free takes it and hands it, as an open file, to the daemon
that it starts: eight clients racing start one daemon, because only one of them ever had
the lock to give. The file's text says who holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiki_kernel.safety.same_file import same_file


@dataclass
class Lock:
    """A held lock. Closing it (or dying) lets it go, unless a child was given it."""

    path: Path
    handle: int

    @classmethod
    def take(cls, path: Path) -> Lock | None:
        """The lock, or None while somebody else holds it."""
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return None
            except OSError:
                os.close(handle)
                raise
            if same_file(handle, path):
                return cls(path, handle)
            # The file was removed between open and flock: what we hold locks nothing.
            os.close(handle)

    def sign(self, **who: Any) -> None:
        """Write who holds the lock into the file."""
        text = json.dumps({"pid": os.getpid(), **who}).encode() + b"\n"
        os.ftruncate(self.handle, 0)
        os.pwrite(self.handle, text, 0)

    def close(self) -> None:
        """Let go. The file stays: removing it would race with the next holder."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1


def holder(path: Path) -> dict[str, Any]:
    """What the last holder wrote: ``pid``, ``version``; empty when unreadable."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
