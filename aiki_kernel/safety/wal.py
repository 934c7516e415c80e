"""SQLite's files: the write-ahead log, where several processes may open a new one at once, and
what a user can do about one that fails."""

from __future__ import annotations

import sqlite3
import time


def switch_on(db: sqlite3.Connection, seconds: float) -> None:
    """Bring the file of ``db`` to WAL, trying for ``seconds``.

    Changing to WAL does not wait for the busy timeout when another process does the same.
    Raises :class:`sqlite3.OperationalError` when the file stays locked.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def step(reason: str, instead: str) -> str:
    """What to do about a file that cannot be used, for SQLite's ``reason``. Only one that is
    beyond use is to be moved away, since what it holds goes with it; ``instead`` says what then.
    """
    if "locked" in reason or "busy" in reason:
        return "another program holds it; close that and try again"
    if "full" in reason or "No space" in reason:
        return "free some disk space; what is in it is not touched"
    if "not a database" in reason or "malformed" in reason:
        return f"move it away, {instead}"
    return "check its permissions and the disk"
