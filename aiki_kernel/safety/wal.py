"""SQLite's write-ahead log, switched on where several processes may open a new file at once."""

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
