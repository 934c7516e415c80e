"""What is known of sessions beside their turns: names, notebooks, what is stale, what is kept.

::

    AIKI_HOME/sessions.sqlite
        session   id, name, whether you gave it, the notebook in which it began
        place     a notebook's path -> the session that goes on in it
        stale     turns that answered to something that was changed after them
        kept      answers pinned by ``# keep``: the text as the model wrote it, and its facts

Turns stay in the memory alone, and what they cost in the ledger. Only a kept answer is here
word for word, because its cell must show it again with the memory away; a cell without
``# keep`` has none. A name made from the first question is at most 60 characters of it.

Every write is one short transaction that is on disk when the method returns; many processes
may write. The first write makes the file, readable for its owner alone.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aiki_kernel.errors import AikiError
from aiki_kernel.memory.records import now
from aiki_kernel.safety.secrets import redact
from aiki_kernel.safety.wal import step

if TYPE_CHECKING:
    from aiki_kernel.mind.conversation import Conversation

NAME = 60
"""Characters of a name that is made; one that you give may have :data:`LONGEST`."""
LONGEST = 120
_BUSY_S = 10.0
_VERSION = 1
_SCHEMA = (
    """CREATE TABLE session (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    given INTEGER NOT NULL DEFAULT 0,
    notebook TEXT NOT NULL DEFAULT '',
    path TEXT NOT NULL DEFAULT '',
    began TEXT NOT NULL
) STRICT""",
    """CREATE TABLE place (
    path TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    at TEXT NOT NULL,
    source TEXT NOT NULL DEFAULT ''
) STRICT""",
    """CREATE TABLE stale (
    turn_id TEXT PRIMARY KEY,
    session_id TEXT NOT NULL
) STRICT""",
    """CREATE TABLE kept (
    place TEXT NOT NULL,
    asked TEXT NOT NULL,
    answer TEXT NOT NULL,
    metadata TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (place, asked)
) STRICT""",
)
_log = logging.getLogger(__name__)

Result = TypeVar("Result")


class SessionsError(AikiError):
    """The file of sessions could not be read or written; no answer is touched by it."""

    kind = "sessions"


@dataclass(frozen=True)
class Named:
    """A session's own facts. ``given``: you named it; ``path`` is where it began."""

    id: str
    name: str
    given: bool = False
    notebook: str = ""
    path: str = ""
    began: str = ""


@dataclass(frozen=True)
class Place:
    """Which session goes on in a notebook, and since when. ``source`` is the session whose
    answers a copied notebook brought with it."""

    path: str
    session_id: str
    at: str
    source: str = ""


@dataclass(frozen=True)
class Kept:
    """A pinned answer: its text and what its notebook kept of it, and when it was given."""

    asked: str
    answer: str
    metadata: Mapping[str, Any]
    at: str


class Sessions:
    """The file at ``path``. Thread-safe; every method raises :class:`SessionsError`, one line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._noted: set[str] = set()

    # -- names ------------------------------------------------------------------------------

    def note(self, conversation: Conversation, question: str) -> None:
        """Name a session after its first question, beside the answer and not before it.

        Once a session and process; a failure is logged, since the name can be given later.
        """
        session_id = conversation.session_id
        with self._lock:
            if session_id in self._noted:
                return
            self._noted.add(session_id)
        row = Named(
            session_id,
            title(question),
            notebook=conversation.notebook or "",
            path=conversation.path,
            began=conversation.created_at,
        )
        threading.Thread(target=self._begin, args=(row,), name="aiki-session").start()

    def _begin(self, row: Named) -> None:
        try:
            self.begin(row)
        except AikiError as error:
            _log.warning("%s", error)

    def begin(self, row: Named) -> None:
        """Write a session down. Of one that is there only what is not known yet is set: a name
        may have been given before the first question was asked."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO session (id, name, given, notebook, path, began) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "name = iif(name = '' AND given = 0, excluded.name, name), "
                "notebook = iif(notebook = '', excluded.notebook, notebook), "
                "path = iif(path = '', excluded.path, path) "
                "WHERE (name = '' AND given = 0) OR notebook = '' OR path = ''",
                (row.id, row.name, int(row.given), row.notebook, row.path, row.began or now()),
            )

        self._write(write)

    def rename(self, session_id: str, name: str, *, given: bool = True) -> None:
        """Give a session a name. One line of at most 120 characters, without secrets."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO session (id, name, given, began) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET name = excluded.name, given = excluded.given",
                (session_id, title(name, LONGEST), int(given), now()),
            )

        self._write(write)

    def begin_at(self, session_id: str, path: str) -> None:
        """The notebook in which a session began lies at ``path`` now."""
        row = (path, Path(path).name, session_id)
        self._write(
            lambda db: db.execute("UPDATE session SET path = ?, notebook = ? WHERE id = ?", row)
        )

    def named(self) -> dict[str, Named]:
        """All sessions that are written down, by id."""
        rows = self._read("SELECT id, name, given, notebook, path, began FROM session")
        return {row[0]: Named(row[0], row[1], bool(row[2]), *row[3:]) for row in rows}

    # -- notebooks --------------------------------------------------------------------------

    def settle(self, path: str, session_id: str, source: str = "") -> None:
        """From now on ``session_id`` goes on in the notebook at ``path``."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO place (path, session_id, at, source) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (path) DO UPDATE SET session_id = excluded.session_id, "
                "at = excluded.at, source = excluded.source "
                "WHERE session_id != excluded.session_id",
                (path, session_id, now(), source),
            )

        self._write(write)

    def place(self, path: str) -> Place | None:
        """The session that goes on in the notebook at ``path``, if it is known here."""
        rows = self._read("SELECT path, session_id, at, source FROM place WHERE path = ?", path)
        return Place(*rows[0]) if rows else None

    def places(self, session_id: str) -> list[Place]:
        """The notebooks in which a session goes on."""
        rows = self._read(
            "SELECT path, session_id, at, source FROM place WHERE session_id = ? ORDER BY at DESC",
            session_id,
        )
        return [Place(*row) for row in rows]

    def leave(self, path: str) -> None:
        """The notebook is not at ``path`` any more: it was moved, and its session with it."""
        self._write(lambda db: db.execute("DELETE FROM place WHERE path = ?", (path,)))

    # -- stale turns ------------------------------------------------------------------------

    def mark_stale(self, session_id: str, turn_ids: Iterable[str]) -> None:
        """These turns answered to something that was changed after them."""
        rows = [(turn_id, session_id) for turn_id in turn_ids]

        def write(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR IGNORE INTO stale (turn_id, session_id) VALUES (?, ?)", rows)

        self._write(write)

    def clear_stale(self, turn_ids: Sequence[str]) -> None:
        """These turns are not stale, or not there, any more."""

        def write(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM stale WHERE turn_id = ?", [(one,) for one in turn_ids])

        if self.path.exists():
            self._write(write)

    def stale(self, session_id: str) -> set[str]:
        """The stale turns of a session."""
        rows = self._read("SELECT turn_id FROM stale WHERE session_id = ?", session_id)
        return {row[0] for row in rows}

    # -- kept answers -----------------------------------------------------------------------

    def keep(self, places: Iterable[str], kept: Kept) -> None:
        """Pin an answer at ``places`` (see :mod:`aiki_kernel.kernel.keeping`)."""
        text = json.dumps(kept.metadata, ensure_ascii=False, default=str)
        rows = [(place, kept.asked, kept.answer, text, kept.at) for place in places]

        def write(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?)", rows)

        self._write(write)

    def kept(self, place: str) -> list[Kept]:
        """The answers pinned at ``place``, the newest first."""
        rows = self._read(
            "SELECT asked, answer, metadata, at FROM kept WHERE place = ? ORDER BY at DESC", place
        )
        return [Kept(row[0], row[1], json.loads(row[2]), row[3]) for row in rows]

    def unkeep(self, place: str) -> None:
        """Let go of what is pinned at ``place``; nothing is written when there is none."""
        if self._read("SELECT 1 FROM kept WHERE place = ? LIMIT 1", place):
            self._write(lambda db: db.execute("DELETE FROM kept WHERE place = ?", (place,)))

    # -- the file ---------------------------------------------------------------------------

    def _read(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        if not self.path.exists():
            return []
        return self._use(lambda db: db.execute(sql, values).fetchall())

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        def write(db: sqlite3.Connection) -> None:
            with db:
                work(db)

        self._use(write)

    def _use(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            with closing(self._open()) as db:
                return work(db)
        except (sqlite3.Error, OSError, ValueError) as error:
            reason = redact(str(getattr(error, "strerror", None) or error))
            todo = step(reason, "a new one is made")
            raise SessionsError(
                f"The file of sessions {self.path} could not be used ({reason}): {todo}."
            ) from None

    def _open(self) -> sqlite3.Connection:
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        try:
            if _version(db, self.path) < _VERSION:
                db.execute("BEGIN IMMEDIATE")
                with db:
                    if _version(db, self.path) < _VERSION:  # another may have been first
                        for statement in _SCHEMA:
                            db.execute(statement)
                        db.execute(f"PRAGMA user_version = {_VERSION}")
            db.isolation_level = "IMMEDIATE"
        except BaseException:
            db.close()
            raise
        return db


def title(text: str, length: int = NAME) -> str:
    """``text`` as a name: one line without secrets, cut between words."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in redact(text)).split())
    flat = flat.lstrip("#> ").rstrip()
    if len(flat) <= length:
        return flat
    cut = flat[: length - 1]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) > length // 2 else cut).rstrip(" ,.;:–-") + "…"


def _version(db: sqlite3.Connection, path: Path) -> int:
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > _VERSION:
        raise SessionsError(
            f"{path} was written by a newer AIKI: update with `pip install -U aiki-kernel`."
        )
    return found
