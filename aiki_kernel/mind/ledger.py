"""The ledger: one row for each model call, in SQLite. What it cost, how long, how it ended.

Many processes write the same file: WAL, a busy timeout, one connection a thread at a
time. A row is on disk (``synchronous=FULL``) when :meth:`Ledger.record` returns. A file
that is damaged is moved aside, never deleted, and a new one begun; ``Ledger.notes`` says so.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from aiki_kernel.errors import AikiError
from aiki_kernel.safety.secrets import redact

VERSION = 1
_BUSY_S = 10.0
_DAMAGED = ("file is not a database", "malformed", "file is encrypted")

GroupBy = Literal["day", "week", "month", "model", "provider", "session", "persona", "stage"]
Result = TypeVar("Result")

# Days are the user's own (local time); a week is named by its Monday.
_GROUPS: dict[str, str] = {
    "day": "date(at, 'unixepoch', 'localtime')",
    "week": "date(at, 'unixepoch', 'localtime', 'weekday 0', '-6 days')",
    "month": "strftime('%Y-%m', at, 'unixepoch', 'localtime')",
    "model": "model",
    "provider": "provider",
    "session": "session_id",
    "persona": "persona",
    "stage": "stage",
}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
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
) STRICT;
CREATE INDEX IF NOT EXISTS entry_at ON entry (at);
CREATE INDEX IF NOT EXISTS entry_session ON entry (session_id);
CREATE INDEX IF NOT EXISTS entry_turn ON entry (turn_id);
"""

_SUMS = """
  count(*) AS calls,
  coalesce(sum(input_tokens), 0) AS input_tokens,
  coalesce(sum(output_tokens), 0) AS output_tokens,
  coalesce(sum(cached_tokens), 0) AS cached_tokens,
  coalesce(sum(cost_usd), 0.0) AS cost_usd,
  coalesce(sum(cost_usd IS NULL), 0) AS unpriced,
  coalesce(sum(estimated), 0) AS estimated,
  coalesce(sum(error IS NOT NULL AND NOT interrupted), 0) AS errors,
  coalesce(sum(interrupted), 0) AS interrupted,
  coalesce(sum(latency_s), 0.0) AS latency_s
"""


class LedgerError(AikiError):
    """The ledger could not be read or written; the answer itself is not touched by it."""

    kind = "ledger"


@dataclass(frozen=True)
class Entry:
    """One model call. ``when`` is ISO-8601; ``cost_usd`` None is an unknown price, not zero.

    ``latency_s`` and ``first_token_s`` are seconds of the stage; ``estimated`` says that the
    tokens were counted by us; ``error`` is one line, without keys.
    """

    when: str
    session_id: str
    turn_id: str
    model: str
    provider: str
    cell_id: str = ""
    stage: str = "generate"
    persona: str = "default"
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = None
    estimated: bool = False
    latency_s: float = 0.0
    first_token_s: float | None = None
    finish_reason: str = "stop"
    error: str | None = None
    interrupted: bool = False

    def to_json(self) -> dict[str, Any]:
        """A plain dict of all fields."""
        return asdict(self)


_COLUMNS = tuple(field.name for field in fields(Entry))
_NAMES = ", ".join(f'"{name}"' for name in _COLUMNS)
_INSERT = f"INSERT INTO entry (at, {_NAMES}) VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"  # noqa: S608 - names are the dataclass's own


class Ledger:
    """The ledger file at ``path``; nothing is created before the first record.

    Safe to share between threads. Every method raises :class:`LedgerError`, one line.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None
        self._opened: tuple[int, int, int] | None = None

    def record(self, entry: Entry) -> None:
        """Write one row; it is on disk on return. Blocks for a disk sync: call from a thread."""
        row = (_epoch(entry.when), *(_plain(getattr(entry, name)) for name in _COLUMNS))

        def write(db: sqlite3.Connection) -> None:
            with db:
                db.execute(_INSERT, row)

        self._with(write, verb="written")

    def rows(
        self,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        session_id: str | None = None,
        turn_id: str | None = None,
        model: str | None = None,
        limit: int | None = None,
    ) -> list[Entry]:
        """Entries that fit, newest first. ``since`` is included, ``until`` is not."""
        where, values = _where(since, until, session_id, turn_id, model)
        sql = f"SELECT {_NAMES} FROM entry{where} ORDER BY at DESC, id DESC LIMIT ?"  # noqa: S608
        values.append(-1 if limit is None else limit)

        def read(db: sqlite3.Connection) -> list[Entry]:
            return [_entry(row) for row in db.execute(sql, values)]

        return self._with(read, verb="read") if self.path.exists() else []

    def totals(
        self,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        session_id: str | None = None,
        model: str | None = None,
        group_by: GroupBy | None = None,
    ) -> dict[str, Any]:
        """Sums: calls, tokens, cost_usd, unpriced calls, estimated calls, errors, interrupted.

        ``cost_usd`` adds what is known; ``unpriced`` counts the calls that it leaves out.
        With ``group_by`` a dict of such sums by key, in the order of the keys.
        """
        if group_by is not None and group_by not in _GROUPS:
            raise LedgerError(f"Cannot group by {group_by!r}: choose of {', '.join(_GROUPS)}.")
        where, values = _where(since, until, session_id, None, model)
        key = _GROUPS[group_by] if group_by else "''"
        group = "GROUP BY grouped ORDER BY grouped" if group_by else ""
        sql = f"SELECT {key} AS grouped, {_SUMS} FROM entry{where} {group}"  # noqa: S608

        def read(db: sqlite3.Connection) -> dict[str, Any]:
            cursor = db.execute(sql, values)
            names = [column[0] for column in cursor.description][1:]
            return {row[0]: dict(zip(names, row[1:], strict=True)) for row in cursor}

        found = self._with(read, verb="read") if self.path.exists() else {}
        if group_by:
            return found
        return found.get("") or _nothing()

    def close(self) -> None:
        """Close the file. The ledger opens it again when needed."""
        with self._lock:
            self._drop()

    # -- the file -----------------------------------------------------------------------

    def _with(self, work: Callable[[sqlite3.Connection], Result], *, verb: str) -> Result:
        """Run ``work`` on an open file; a damaged one is moved aside and a new one tried once."""
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
        db = sqlite3.connect(self.path, timeout=_BUSY_S, check_same_thread=False)
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
            self.notes.append(
                f"The cost ledger was damaged ({error}): it was moved to {aside.name} "
                "and a new one begun."
            )


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA synchronous=FULL")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise LedgerError(
            f"The cost ledger {path} was written by a newer AIKI (format {version}): "
            "upgrade with `pip install -U aiki-kernel`."
        )
    if version == VERSION:
        return
    # Many processes may come here at once. Changing to WAL does not wait for the busy
    # timeout when another process does the same, so it is tried again.
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
    db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")


def _is_damage(error: sqlite3.Error) -> bool:
    return any(sign in str(error) for sign in _DAMAGED)


def _still_damaged(path: Path) -> bool:
    try:
        db = sqlite3.connect(path, timeout=_BUSY_S)
        try:
            return bool(db.execute("PRAGMA quick_check").fetchone()[0] != "ok")
        finally:
            db.close()
    except sqlite3.Error as error:
        return _is_damage(error)


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


def _where(
    since: str | datetime | None,
    until: str | datetime | None,
    session_id: str | None,
    turn_id: str | None,
    model: str | None,
) -> tuple[str, list[Any]]:
    tests = {
        "at >= ?": None if since is None else _epoch(since),
        "at < ?": None if until is None else _epoch(until),
        "session_id = ?": session_id,
        "turn_id = ?": turn_id,
        "model = ?": model,
    }
    used = {test: value for test, value in tests.items() if value is not None}
    return (f" WHERE {' AND '.join(used)}" if used else ""), list(used.values())


def _epoch(when: str | datetime) -> float:
    """Seconds since 1970. A time without a zone is local time, as ``datetime`` has it."""
    try:
        return (datetime.fromisoformat(when) if isinstance(when, str) else when).timestamp()
    except ValueError:
        raise LedgerError(f"{when!r} is not an ISO-8601 time such as 2026-01-31.") from None


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return redact(value) if isinstance(value, str) else value


def _entry(row: tuple[Any, ...]) -> Entry:
    values = dict(zip(_COLUMNS, row, strict=True))
    for name in ("estimated", "interrupted"):
        values[name] = bool(values[name])
    return Entry(**values)


def _nothing() -> dict[str, Any]:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_SCHEMA)
        cursor = db.execute(f"SELECT {_SUMS} FROM entry")  # noqa: S608
        return dict(zip([c[0] for c in cursor.description], cursor.fetchone(), strict=True))
