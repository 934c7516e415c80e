"""What happened to each memory: mem0's ``history`` table, and who did it and why.

The file is SQLite in WAL mode with full synchronisation: a row that was written stays.
Its table ``pending`` is the memory's journal: what was acknowledged and may not be on the
store's own disk pages yet (``settle.py`` empties it). One small fsync acknowledges a turn;
making the store durable takes some ninety and happens afterwards. Its table ``moved`` names
the memories that the index file beside the store does not know as they are now.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.records import now
from aiki_kernel.safety.wal import step

_SCHEMA = """
CREATE TABLE IF NOT EXISTS history (
    id TEXT PRIMARY KEY,
    memory_id TEXT,
    old_memory TEXT,
    new_memory TEXT,
    event TEXT,
    created_at DATETIME,
    updated_at DATETIME,
    is_deleted INTEGER,
    actor_id TEXT,
    role TEXT,
    reason TEXT
);
CREATE INDEX IF NOT EXISTS history_of_memory ON history (memory_id);
CREATE TABLE IF NOT EXISTS pending (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    memory_id TEXT NOT NULL UNIQUE,
    record TEXT
);
CREATE TABLE IF NOT EXISTS moved (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    memory_id TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS buried (
    memory_id TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    reason TEXT,
    at DATETIME
);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value TEXT);
"""

_COLUMNS = (
    "id",
    "memory_id",
    "old_memory",
    "new_memory",
    "event",
    "created_at",
    "updated_at",
    "is_deleted",
    "actor_id",
    "role",
    "reason",
)


_LAST_ROW = "SELECT rowid, id FROM history ORDER BY rowid DESC LIMIT 1"


@dataclass(frozen=True)
class Change:
    """One row: ADD, UPDATE or DELETE. ``created_at`` is the memory's own."""

    memory_id: str
    event: str
    old: str | None = None
    new: str | None = None
    created_at: str = ""
    actor: str | None = None
    role: str | None = None
    reason: str = ""


class History:
    """The open history file. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            last = self._db.execute(_LAST_ROW).fetchone()
            self._db.executemany(
                "INSERT OR IGNORE INTO marks VALUES (?, ?)",
                # What was there before anybody curated is curated when the user asks for it.
                [("id", uuid.uuid4().hex), ("indexed", "0"), ("curated", _place(last))],
            )
            self._db.commit()
            self.id = str(self._mark("id"))
        except sqlite3.Error as error:
            todo = step(str(error), "or restore a snapshot")
            raise StoreError(f"{path} cannot be opened ({error}): {todo}.") from error

    def record(
        self,
        changes: Iterable[Change],
        pending: Mapping[str, str | None] | None = None,
        *,
        buried: Mapping[str, tuple[str, str]] | None = None,
        at: str = "",
    ) -> None:
        """Write rows, all or none; durable on return. An ADD is written once a memory.

        ``pending`` goes into the journal with them: id to the record as JSON, None for one
        that was removed. ``buried`` keeps whole records of what ends, each with the reason, so
        that it can be brought back; they have one date, ``at`` or the present.
        """
        rows = []
        for change in changes:
            added = change.event == "ADD"
            name = (
                str(uuid.uuid5(uuid.NAMESPACE_OID, f"ADD {change.memory_id} {change.created_at}"))
                if added
                else str(uuid.uuid4())
            )
            when = now()
            rows.append(
                (
                    name,
                    change.memory_id,
                    change.old,
                    change.new,
                    change.event,
                    change.created_at or when,
                    when,
                    int(change.event == "DELETE"),
                    change.actor,
                    change.role,
                    change.reason,
                )
            )
        if not rows and not pending:
            return
        marks = ",".join("?" * len(_COLUMNS))
        with self._lock:
            try:
                with self._db:
                    self._db.executemany(
                        f"INSERT OR IGNORE INTO history VALUES ({marks})",  # noqa: S608
                        rows,
                    )
                    self._db.executemany(
                        "INSERT OR REPLACE INTO pending (memory_id, record) VALUES (?, ?)",
                        list((pending or {}).items()),
                    )
                    self._db.executemany(
                        "INSERT OR REPLACE INTO buried VALUES (?, ?, ?, ?)",
                        [(name, *told, at or now()) for name, told in (buried or {}).items()],
                    )
            except sqlite3.Error as error:
                raise StoreError(
                    f"{self.path} refused ({error}): check free space and permissions there."
                ) from error

    def pending(self) -> tuple[int, dict[str, str | None]]:
        """The journal and the number of its last line."""
        with self._lock:
            rows = self._db.execute("SELECT seq, memory_id, record FROM pending").fetchall()
        return max((row[0] for row in rows), default=0), {row[1]: row[2] for row in rows}

    def settled(self, seq: int) -> None:
        """Strike the journal up to line ``seq``: the store has it on disk."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM pending WHERE seq <= ?", (seq,))

    def move(self, ids: Iterable[str]) -> None:
        """These memories are about to change in the store.

        It survives a killed process at once, and a power cut from the next :meth:`record` on:
        what is not recorded has not been acknowledged.
        """
        with self._lock:
            try:
                self._db.execute("PRAGMA synchronous=NORMAL")
                with self._db:
                    self._db.executemany(
                        "INSERT OR REPLACE INTO moved (memory_id) VALUES (?)",
                        [(name,) for name in ids],
                    )
            except sqlite3.Error as error:
                raise StoreError(
                    f"{self.path} refused ({error}): check free space and permissions there."
                ) from error
            finally:
                self._db.execute("PRAGMA synchronous=FULL")

    def moves(self) -> int:
        """The number of the last move there ever was."""
        with self._lock:
            row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'moved'")
            return int((row.fetchone() or (0,))[0])

    def moved_since(self, seq: int) -> list[str] | None:
        """Memories that moved after move ``seq``; None when that is no longer known."""
        if not int(self._mark("indexed")) <= seq <= self.moves():
            return None
        with self._lock:
            rows = self._db.execute("SELECT memory_id FROM moved WHERE seq > ?", (seq,))
            return [row[0] for row in rows.fetchall()]

    def indexed(self, seq: int) -> None:
        """An index file holds everything up to move ``seq``."""
        with self._lock, self._db:
            self._db.execute("UPDATE marks SET value = ? WHERE name = 'indexed'", (str(seq),))
            self._db.execute("DELETE FROM moved WHERE seq <= ?", (seq,))

    def buried(self, memory_id: str) -> str:
        """The last record of a memory that ended, as JSON; empty when none is kept."""
        with self._lock:
            row = self._db.execute(
                "SELECT record FROM buried WHERE memory_id = ?", (memory_id,)
            ).fetchone()
        return str(row[0]) if row else ""

    def graves(self, beginning: str, holding: str = "") -> list[tuple[str, str, str, str]]:
        """What ended for a reason that begins so and did not come back: id, record, reason and
        date, the last to end first; only records whose JSON holds ``holding``."""
        with self._lock:
            return self._db.execute(
                "SELECT memory_id, record, reason, at FROM buried "
                "WHERE substr(reason, 1, ?) = ? AND instr(record, ?) ORDER BY at DESC, memory_id",
                (len(beginning), beginning, holding),
            ).fetchall()

    def endings(self, beginning: str) -> dict[str, int]:
        """How many memories ended for each reason that begins so, and did not come back."""
        with self._lock:
            rows = self._db.execute(
                "SELECT reason, count(*) FROM buried WHERE substr(reason, 1, ?) = ? "
                "GROUP BY reason ORDER BY count(*) DESC",
                (len(beginning), beginning),
            ).fetchall()
        return dict(rows)

    def dig_up(self, memory_id: str) -> None:
        """A memory came back: its last record is in the store again."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM buried WHERE memory_id = ?", (memory_id,))

    def uncurated(self, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """The next rows that nobody has curated yet, each with its number, oldest first."""
        with self._lock:
            (mark,) = self._db.execute("SELECT value FROM marks WHERE name = 'curated'").fetchone()
            number, _, name = str(mark).partition(" ")
            after = int(number)
            if name:
                row = self._db.execute(
                    "SELECT id FROM history WHERE rowid = ?", (after,)
                ).fetchone()
                if row is None or row[0] != name:  # another history was put in its place
                    after = 0
            rows = self._db.execute(
                f"SELECT rowid, {','.join(_COLUMNS)} FROM history WHERE rowid > ? "  # noqa: S608
                "ORDER BY rowid LIMIT ?",
                (after, limit),
            ).fetchall()
        return [(row[0], dict(zip(_COLUMNS, row[1:], strict=True))) for row in rows]

    def curated(self, number: int) -> None:
        """Rows up to ``number`` are done with; 0 begins again from the first."""
        with self._lock, self._db:
            row = self._db.execute(
                "SELECT rowid, id FROM history WHERE rowid = ?", (number,)
            ).fetchone()
            self._db.execute("UPDATE marks SET value = ? WHERE name = 'curated'", (_place(row),))

    def left_to_curate(self) -> int:
        """How many rows :meth:`uncurated` still has."""
        waiting = self.uncurated(1)
        if not waiting:
            return 0
        with self._lock:
            (count,) = self._db.execute(
                "SELECT count(*) FROM history WHERE rowid >= ?", (waiting[0][0],)
            ).fetchone()
        return int(count)

    def note(self, name: str, value: str = "") -> None:
        """Keep ``value`` under ``name``, durably; an empty one takes it away."""
        with self._lock, self._db:
            if value:
                self._db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (name, value))
            else:
                self._db.execute("DELETE FROM marks WHERE name = ?", (name,))

    def noted(self, name: str) -> str:
        """What :meth:`note` keeps under ``name``, or nothing."""
        with self._lock:
            row = self._db.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def _mark(self, name: str) -> str:
        with self._lock:
            row = self._db.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    def of(self, memory_id: str) -> list[dict[str, Any]]:
        """All rows of one memory, oldest first."""
        with self._lock:
            rows = self._db.execute(
                f"SELECT {','.join(_COLUMNS)} FROM history WHERE memory_id = ? "  # noqa: S608
                "ORDER BY updated_at, rowid",
                (memory_id,),
            ).fetchall()
        return [
            {**dict(zip(_COLUMNS, row, strict=True)), "is_deleted": bool(row[7])} for row in rows
        ]

    def ended(self, ids: Sequence[str]) -> set[str]:
        """Those of ``ids`` whose last word is DELETE."""
        out = set()
        for name in ids:
            rows = self.of(name)
            if rows and rows[-1]["event"] == "DELETE":
                out.add(name)
        return out

    def copy_to(self, target: Path) -> None:
        """A consistent copy, without the write-ahead log."""
        with self._lock:
            copy = sqlite3.connect(target)
            try:
                self._db.backup(copy)
            finally:
                copy.close()

    def load_from(self, source: Path, *, only: Collection[str] | None = None) -> None:
        """Take the rows of another history file, ours or mem0's.

        Without ``only`` they replace all rows; with it, rows of those memories are added.
        The file is opened read-only and nothing but its rows is used. Raises
        :class:`StoreError` when it is no history.
        """
        other = sqlite3.connect(f"file:{quote(str(source))}?mode=ro&immutable=1", uri=True)
        try:
            there = {row[1] for row in other.execute("PRAGMA table_info(history)")}
            shared = [name for name in _COLUMNS if name in there]
            rows = other.execute(f"SELECT {','.join(shared)} FROM history").fetchall()  # noqa: S608
        except sqlite3.Error as error:
            raise StoreError(f"{source.name} is not a history file ({error}).") from error
        finally:
            other.close()
        if only is not None:
            place = shared.index("memory_id")
            rows = [row for row in rows if row[place] in only]
        marks = ",".join("?" * len(shared))
        with self._lock, self._db:
            if only is None:
                self._db.execute("DELETE FROM history")
            self._db.executemany(
                f"INSERT OR IGNORE INTO history ({','.join(shared)}) VALUES ({marks})",  # noqa: S608
                rows,
            )

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _place(row: tuple[int, str] | None) -> str:
    """A row as a mark remembers it: its number, and its id, which no other history has."""
    return f"{row[0]} {row[1]}" if row else "0"
