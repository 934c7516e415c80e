"""Answers on disk by their request's key: one SQLite file, bounded, thrown away at will.

Several processes read and write at once (WAL). What is kept is the answer and its figures,
never the question; an answer in which something looks like a key is not kept at all. A file of
another version, or a damaged one, is begun anew: nothing in it cannot be had again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiki_kernel.safety import secrets, wal

VERSION = 1
_BUSY_S = 2.0
_OVERHEAD = 200  # bytes of a row and its places in the indexes, about
_ROOM = 0.9  # of the limit is left when room has been made
_LARGEST = 0.25  # of the limit that one answer may take

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS answer (
  key TEXT PRIMARY KEY,
  made REAL NOT NULL,
  used REAL NOT NULL,
  bytes INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS answer_used ON answer (used)",
    "CREATE TABLE IF NOT EXISTS figure (name TEXT PRIMARY KEY, value REAL NOT NULL) STRICT",
)
_ADD = (
    "INSERT INTO figure VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + "
    "excluded.value"
)
_PUT = "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?)"

T = TypeVar("T")


@dataclass(frozen=True)
class Kept:
    """An answer: its text, how it ended, its tokens as they were counted, and by whom.

    ``made`` is a Unix time; ``detail`` are the engine's own figures.
    """

    text: str
    reason: str
    usage: dict[str, Any]
    model: str
    provider: str
    detail: dict[str, Any] = field(default_factory=dict)
    made: float = 0.0


class ResponseCache:
    """The cache in the file at ``path``. Thread-safe. Nothing is made before the first write.

    ``most_bytes`` bounds what is kept, ``days`` how old it may be. Methods never raise for
    the file's sake: a cache that cannot be read has nothing, and :attr:`trouble` says why.
    """

    def __init__(self, path: Path, most_bytes: int, days: float) -> None:
        self.path, self.most_bytes, self.days = path, most_bytes, days
        self.trouble = ""
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    def get(self, key: str) -> Kept | None:
        """The answer under ``key``; counts a hit or a miss."""

        def read(db: sqlite3.Connection) -> Kept | None:
            now = time.time()
            with db:
                row = db.execute("SELECT made, body FROM answer WHERE key = ?", (key,)).fetchone()
                found = _read(*row) if row and now - row[0] <= self.days * 86400 else None
                db.execute(_ADD, ("misses" if found is None else "hits", 1))
                if found is not None:
                    db.execute("UPDATE answer SET used = ? WHERE key = ?", (now, key))
            return found

        return self._use(read, make=True)

    def put(self, key: str, kept: Kept) -> bool:
        """Keep an answer; whether it was. One that holds a secret, or is too large, is not."""
        body = json.dumps(
            {
                "text": kept.text,
                "reason": kept.reason,
                "usage": kept.usage,
                "model": kept.model,
                "provider": kept.provider,
                "detail": kept.detail,
            },
            ensure_ascii=False,
        )
        size = len(body.encode("utf-8", "replace")) + _OVERHEAD
        if size > _LARGEST * self.most_bytes or secrets.redact(body) != body:
            return False
        try:
            body.encode()
        except UnicodeEncodeError:  # half a character cannot be kept as it is
            return False

        def write(db: sqlite3.Connection) -> bool:
            now = time.time()
            with db:
                db.execute(_PUT, (key, now, now, size, body))
                self._make_room(db)
            return True

        return bool(self._use(write, make=True))

    def saved(self, usd: float) -> None:
        """Count what a hit has saved."""

        def write(db: sqlite3.Connection) -> None:
            with db:
                db.execute(_ADD, ("saved_usd", usd))

        self._use(write, make=True)

    def clear(self) -> int:
        """Forget all answers and figures; how many answers there were."""

        def write(db: sqlite3.Connection) -> int:
            with db:
                count = db.execute("DELETE FROM answer").rowcount
                db.execute("DELETE FROM figure")
            db.execute("VACUUM")
            return int(count)

        return self._use(write, make=False) or 0

    def health(self) -> dict[str, Any]:
        """Answers, bytes, hits, misses, the hit rate (None before the first look), what was
        saved in USD, and what is wrong with the file."""

        def read(db: sqlite3.Connection) -> dict[str, Any]:
            count, size = db.execute("SELECT count(*), total(bytes) FROM answer").fetchone()
            figures = dict(db.execute("SELECT name, value FROM figure").fetchall())
            return {"answers": count, "bytes": int(size), **figures}

        found = self._use(read, make=False) or {}
        hits, misses = int(found.get("hits", 0)), int(found.get("misses", 0))
        return {
            "answers": found.get("answers", 0),
            "bytes": found.get("bytes", 0),
            "limit_bytes": self.most_bytes,
            "hits": hits,
            "misses": misses,
            "hit_rate": hits / (hits + misses) if hits + misses else None,
            "saved_usd": float(found.get("saved_usd", 0.0)),
            "trouble": self.trouble,
        }

    def close(self) -> None:
        """Let go of the file. May be used again."""
        with self._lock:
            self._drop()

    # -- within -------------------------------------------------------------------------

    def _make_room(self, db: sqlite3.Connection) -> None:
        """Forget what is too old, then what was not used for longest, until there is room."""
        db.execute("DELETE FROM answer WHERE made < ?", (time.time() - self.days * 86400,))
        (size,) = db.execute("SELECT total(bytes) FROM answer").fetchone()
        if size <= self.most_bytes:
            return
        for key, bytes_ in db.execute("SELECT key, bytes FROM answer ORDER BY used").fetchall():
            if size <= _ROOM * self.most_bytes:
                return
            db.execute("DELETE FROM answer WHERE key = ?", (key,))
            size -= bytes_

    def _use(self, work: Callable[[sqlite3.Connection], T], *, make: bool) -> T | None:
        with self._lock:
            if not make and not self.path.exists():
                return None
            for attempt in (1, 2):
                try:
                    done = work(self._connection())
                except (sqlite3.Error, OSError) as error:
                    self._drop()
                    if attempt == 1 and _damaged(error):
                        self._remove()
                        continue
                    self.trouble = f"the response cache cannot be used ({error})"
                    return None
                self.trouble = ""
                return done
        return None

    def _connection(self) -> sqlite3.Connection:
        if self._open is not None and self._opened == _identity(self.path):
            return self._open
        self._drop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # before SQLite makes one that others can read
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        db = sqlite3.connect(self.path, timeout=_BUSY_S, check_same_thread=False)
        try:
            wal.switch_on(db, _BUSY_S)
            db.execute("PRAGMA synchronous = OFF")  # what a power cut takes can be had again
            (version,) = db.execute("PRAGMA user_version").fetchone()
            db.execute("BEGIN IMMEDIATE")
            with db:
                if version not in (0, VERSION):
                    db.execute("DROP TABLE IF EXISTS answer")
                    db.execute("DROP TABLE IF EXISTS figure")
                for statement in _SCHEMA:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")
        except BaseException:
            db.close()
            raise
        self._open, self._opened = db, _identity(self.path)
        return db

    def _drop(self) -> None:
        if self._open is not None:
            with contextlib.suppress(sqlite3.Error):
                self._open.close()
        self._open = self._opened = None

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink()


def _read(made: float, body: str) -> Kept | None:
    try:
        data = json.loads(body)
        return Kept(**{name: data[name] for name in data}, made=made)
    except (ValueError, TypeError):
        return None


def _damaged(error: Exception) -> bool:
    said = str(error)
    return isinstance(error, sqlite3.DatabaseError) and any(
        word in said for word in ("not a database", "malformed", "no such", "encrypted")
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
