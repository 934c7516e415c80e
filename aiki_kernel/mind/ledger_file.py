"""The ledger's file: opened, brought to today's format, and saved when it is damaged.

Many processes open the same file. WAL lets them write at once; what a crash or a power cut
tore off the end of the journal is dropped by SQLite itself, back to the last whole row. A
file that is damaged beyond that is moved aside, never deleted, and every row that can still
be read is carried over into a new one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from aiki_kernel.errors import AikiError
from aiki_kernel.safety import wal
from aiki_kernel.safety.secrets import redact

BUSY_S = 10.0
_DAMAGED = ("file is not a database", "malformed", "file is encrypted")
_AT_ONCE = 64  # rows of a damaged file that are read together; halved where that fails
_ROW_BYTES = 60  # no row of ours is shorter on disk: bounds the ids that can exist

Result = TypeVar("Result")

_FORMATS: tuple[tuple[str, ...], ...] = (
    (  # 1: one row for each call
        """CREATE TABLE IF NOT EXISTS entry (
  id INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  "when" TEXT NOT NULL,
  session_id TEXT NOT NULL,
  turn_id TEXT NOT NULL,
  cell_id TEXT NOT NULL,
  stage TEXT NOT NULL,
  model TEXT NOT NULL,
  provider TEXT NOT NULL,
  persona TEXT NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  cost_usd REAL,
  estimated INTEGER NOT NULL,
  latency_s REAL NOT NULL,
  first_token_s REAL,
  finish_reason TEXT NOT NULL,
  error TEXT,
  interrupted INTEGER NOT NULL
) STRICT""",
        "CREATE INDEX IF NOT EXISTS entry_at ON entry (at)",
        "CREATE INDEX IF NOT EXISTS entry_session ON entry (session_id)",
        "CREATE INDEX IF NOT EXISTS entry_turn ON entry (turn_id)",
    ),
    (  # 2: who answered and at what price, what else it could have cost, money held for calls
        "ALTER TABLE entry ADD COLUMN name TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE entry ADD COLUMN kind TEXT NOT NULL DEFAULT 'message'",
        "ALTER TABLE entry ADD COLUMN tier TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE entry ADD COLUMN hops INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE entry ADD COLUMN cache_write_tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE entry ADD COLUMN local_s REAL NOT NULL DEFAULT 0.0",
        "ALTER TABLE entry ADD COLUMN price_source TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE entry ADD COLUMN smart_only_usd REAL",
        "ALTER TABLE entry ADD COLUMN cheap_only_usd REAL",
        """CREATE TABLE reservation (
  id TEXT PRIMARY KEY,
  at REAL NOT NULL,
  expires REAL,
  session_id TEXT NOT NULL,
  turn_id TEXT NOT NULL,
  stage TEXT NOT NULL,
  model TEXT NOT NULL,
  usd REAL NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  begun REAL NOT NULL
) STRICT""",
    ),
    (  # 3: the stages before an answer
        "ALTER TABLE entry ADD COLUMN recall_s REAL",
        "ALTER TABLE entry ADD COLUMN route_s REAL",
        "ALTER TABLE entry ADD COLUMN hits INTEGER",
        "ALTER TABLE entry ADD COLUMN backend TEXT NOT NULL DEFAULT ''",
    ),
    (  # 4: how long a turn took to be remembered, which is known after its row is written
        """CREATE TABLE remembered (
  id INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  seconds REAL NOT NULL,
  spooled INTEGER NOT NULL
) STRICT""",
        "CREATE INDEX remembered_at ON remembered (at)",
    ),
)
VERSION = len(_FORMATS)


class LedgerError(AikiError):
    """The ledger could not be read or written; the answer itself is not touched by it."""

    kind = "ledger"


class LedgerFile:
    """The SQLite file at ``path``; nothing is created before it is first used.

    Safe to share between threads. ``notes`` are lines that the user must see once.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None
        self._opened: tuple[int, int, int] | None = None

    def use(self, work: Callable[[sqlite3.Connection], Result], *, verb: str) -> Result:
        """Run ``work`` on the open file; a damaged one is moved aside and work done anew, once.

        ``work`` must do its writing in one transaction. Raises :class:`LedgerError`, one
        line; ``verb`` ("read", "written") is its word for what failed.
        """
        with self._lock:
            for attempt in (1, 2):
                try:
                    return work(self._connection())
                except sqlite3.Error as error:
                    self._drop()
                    if attempt == 1 and _is_damage(error):
                        self._move_aside(error)
                        continue
                    raise self._failure(error, verb) from None
                except OSError as error:
                    self._drop()
                    raise self._failure(error, verb) from None
        raise AssertionError("unreachable")  # both attempts return or raise

    def close(self) -> None:
        """Close the file. It is opened again when needed."""
        with self._lock:
            self._drop()

    def _failure(self, error: Exception, verb: str) -> LedgerError:
        reason = str(error.strerror if isinstance(error, OSError) else error)
        step = "check the file's permissions and the disk"
        if "full" in reason or "No space" in reason:
            step = "free some disk space"
        elif "locked" in reason:
            step = "another program holds it; close that and try again"
        return LedgerError(
            f"The cost ledger {self.path} could not be {verb} ({redact(reason)}): {step}."
        )

    def _connection(self) -> sqlite3.Connection:
        """The open file; opened anew after a fork and when the file was replaced under us."""
        if self._open is not None and self._opened == self._identity():
            return self._open
        self._drop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=BUSY_S, check_same_thread=False)
        try:
            _prepare(db, self.path)
        except BaseException:
            db.close()
            raise
        self._open, self._opened = db, self._identity()
        return db

    def _identity(self) -> tuple[int, int, int] | None:
        try:
            info = self.path.stat()
        except OSError:
            return None
        return os.getpid(), info.st_dev, info.st_ino

    def _drop(self) -> None:
        db, self._open = self._open, None
        if db is not None and self._opened is not None and self._opened[0] == os.getpid():
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _move_aside(self, error: sqlite3.Error) -> None:
        """Rename a damaged file and its journal. Processes take turns; the second finds it done."""
        with _turn(self.path.with_name(f"{self.path.name}.lock")):
            if not _still_damaged(self.path):
                return
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
            aside = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
            for ending in ("-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{ending}").rename(f"{aside}{ending}")
            saved = self._carry_over(aside)
            self.notes.append(
                f"The cost ledger was damaged ({error}): it was moved to {aside.name}; "
                f"{saved} {'row' if saved == 1 else 'rows'} could be read and stand in a new one."
            )

    def _carry_over(self, aside: Path) -> int:
        """Copy what can be read of a damaged file into a new one; how many rows that was."""
        fresh = sqlite3.connect(self.path, timeout=BUSY_S)
        try:
            _prepare(fresh, self.path)
            highest = aside.stat().st_size // _ROW_BYTES
            with contextlib.closing(_copy_of(aside)) as damaged, fresh:
                return sum(_carry(damaged, fresh, table, highest) for table in _tables(damaged))
        except sqlite3.Error:
            return 0  # nothing of it can be read: the file aside is all there is
        finally:
            fresh.close()


def memory() -> sqlite3.Connection:
    """An empty ledger in memory, in today's format."""
    db = sqlite3.connect(":memory:")
    for statement in (statement for step in _FORMATS for statement in step):
        db.execute(statement)
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file to today's format, step by step and all in one transaction."""
    db.execute("PRAGMA synchronous=FULL")
    if _version(db, path) == VERSION:
        return
    wal.switch_on(db, BUSY_S)
    db.execute("BEGIN IMMEDIATE")
    with db:
        for step in _FORMATS[_version(db, path) :]:  # read anew: another may have been first
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version={VERSION}")


def _version(db: sqlite3.Connection, path: Path) -> int:
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        raise LedgerError(
            f"The cost ledger {path} was written by a newer AIKI (format {found}): "
            "upgrade with `pip install -U aiki-kernel`."
        )
    return found


def _is_damage(error: sqlite3.Error) -> bool:
    return any(sign in str(error) for sign in _DAMAGED)


def _still_damaged(path: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_S)) as db:
            return bool(db.execute("PRAGMA quick_check").fetchone()[0] != "ok")
    except sqlite3.Error as error:
        return _is_damage(error)


def _copy_of(aside: Path) -> sqlite3.Connection:
    """The damaged file, opened so that nothing in it changes."""
    db = sqlite3.connect(aside, timeout=BUSY_S)
    db.execute("PRAGMA query_only=ON")
    return db


def _tables(db: sqlite3.Connection) -> list[str]:
    """The tables whose rows are kept: what was held for calls under way is not."""
    rows = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return [name for (name,) in rows if name != "reservation" and not name.startswith("sqlite_")]


def _carry(damaged: sqlite3.Connection, fresh: sqlite3.Connection, table: str, highest: int) -> int:
    """Copy the readable rows of one table, which is made where there is none yet."""
    known = fresh.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    if known is None:
        made = "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql != '' ORDER BY type DESC"
        for (sql,) in damaged.execute(made, (table,)).fetchall():
            fresh.execute(sql)
    columns = [row[1] for row in fresh.execute(f'PRAGMA table_info("{table}")')]
    there = [row[1] for row in damaged.execute(f'PRAGMA table_info("{table}")')]
    names = [name for name in columns if name in there]
    if "id" not in names:
        return 0
    quoted = ", ".join(f'"{name}"' for name in names)
    places = ", ".join("?" * len(names))
    insert = f'INSERT OR IGNORE INTO "{table}" ({quoted}) VALUES ({places})'  # noqa: S608
    select = f'SELECT {quoted} FROM "{table}" NOT INDEXED WHERE id >= ? AND id < ?'  # noqa: S608
    count = 0
    for row in _readable(damaged, select, highest):
        if any(isinstance(value, str) and "\0" in value for value in row):
            continue  # a page of zeros, read as a row
        with contextlib.suppress(sqlite3.IntegrityError, sqlite3.DataError):
            count += fresh.execute(insert, row).rowcount
    return count


def _readable(db: sqlite3.Connection, select: str, highest: int) -> Iterator[tuple[object, ...]]:
    """Rows by ranges of ids, smaller and smaller where a page is gone."""
    ranges = [(low, low + _AT_ONCE) for low in range(0, highest + _AT_ONCE, _AT_ONCE)][::-1]
    while ranges:
        low, high = ranges.pop()
        try:
            yield from db.execute(select, (low, high)).fetchall()
        except (sqlite3.Error, UnicodeDecodeError):
            if high - low > 1:
                middle = (low + high) // 2
                ranges += [(middle, high), (low, middle)]


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Hold a lock file while the block runs (POSIX; elsewhere renaming alone decides)."""
    with path.open("a") as file:
        try:
            import fcntl
        except ImportError:
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
