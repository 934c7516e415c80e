"""Samples over time, in SQLite: each one for 48 hours, five minutes together for 30 days.

Both are written in one transaction of each sample, so a process that is killed leaves nothing
half-done and nothing is ever "downsampled later". What is too old, or from a future that a wrong
clock believed in, goes only after the clock has been steady for an hour: a clock that jumps ten
years ahead must not throw the history away. Beyond ``MOST`` rows the oldest go in any case.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

from aiki_kernel.health.reading import STATES
from aiki_kernel.health.sampler import Sample

VERSION = 1
RAW_S, COARSE_S, STEP_S = 48 * 3600.0, 30 * 86_400.0, 300.0
MOST = 250_000
STEADY_S = 3600.0
_PRUNE_EVERY = 64  # samples
_AHEAD_S = 600.0
_DAMAGED = ("not a database", "malformed", "encrypted")

_TABLES = """
CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS raw (
  probe INTEGER NOT NULL, at REAL NOT NULL, state INTEGER NOT NULL, value REAL,
  PRIMARY KEY (probe, at)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS coarse (
  probe INTEGER NOT NULL, at REAL NOT NULL, count INTEGER NOT NULL, bad INTEGER NOT NULL,
  worst INTEGER NOT NULL, figures INTEGER NOT NULL, total REAL, low REAL, high REAL,
  PRIMARY KEY (probe, at)
) STRICT, WITHOUT ROWID;
"""
# The worst of several: down before degraded before unknown before ok.
_RANK = "CASE {} WHEN 2 THEN 3 WHEN 1 THEN 2 WHEN 3 THEN 1 ELSE 0 END"
_COARSE = f"""INSERT INTO coarse VALUES (?1, ?2, 1, ?4, ?3, ?5 IS NOT NULL, ?5, ?5, ?5)
ON CONFLICT (probe, at) DO UPDATE SET count = count + 1, bad = bad + ?4,
  worst = CASE WHEN {_RANK.format("?3")} > {_RANK.format("worst")} THEN ?3 ELSE worst END,
  figures = figures + (?5 IS NOT NULL), total = coalesce(total + ?5, total, ?5),
  low = coalesce(min(low, ?5), low, ?5), high = coalesce(max(high, ?5), high, ?5)
"""  # noqa: S608 - fixed words


class Point(NamedTuple):
    """A probe at ``at`` (seconds since 1970): for one sample ``low``, ``value`` and ``high`` are
    the same; for five minutes ``value`` is the mean. ``bad`` is the share of bad samples."""

    at: float
    state: str
    value: float | None
    low: float | None
    high: float | None
    bad: float


class History:
    """The file at ``path``; made by the first sample. For one thread and one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._open: sqlite3.Connection | None = None
        self._ids: dict[str, int] = {}
        self._added = 0

    def add(self, sample: Sample, steady_s: float = 0.0) -> None:
        """Keep a sample; ``steady_s`` is for how long the clock has not jumped.

        A damaged file is moved aside, with a note. Raises ``sqlite3.Error`` or ``OSError``.
        """
        try:
            self._add(sample, steady_s)
        except sqlite3.DatabaseError as error:
            self.close()
            if not any(word in str(error) for word in _DAMAGED):
                raise
            aside = self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}")
            self.path.rename(aside)
            for ending in ("-wal", "-shm"):
                with contextlib.suppress(OSError):
                    Path(f"{self.path}{ending}").unlink()
            self.notes.append(f"The history was damaged and lies in {aside}: a new one begins.")
            self._add(sample, steady_s)

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        if self._open is not None:
            self._open.close()
        self._open, self._ids = None, {}

    def _add(self, sample: Sample, steady_s: float) -> None:
        db = self._connection()
        step = sample.wall // STEP_S * STEP_S
        with db:
            for one in sample.readings:
                probe = self._id(db, one.probe)
                state = STATES.index(one.state)
                db.execute(
                    "INSERT OR REPLACE INTO raw VALUES (?, ?, ?, ?)",
                    (probe, sample.wall, state, one.value),
                )
                db.execute(_COARSE, (probe, step, state, one.bad, one.value))
            self._added += 1
            if self._added % _PRUNE_EVERY == 0:
                prune(db, sample.wall, steady_s)

    def _connection(self) -> sqlite3.Connection:
        if self._open is not None and not self.path.exists():
            self.close()  # somebody removed it
        if self._open is None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            db = sqlite3.connect(self.path, timeout=2.0)
            try:
                db.execute("PRAGMA cache_size = -128")
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute("PRAGMA wal_autocheckpoint = 100")
                (version,) = db.execute("PRAGMA user_version").fetchone()
                if version > VERSION:
                    raise sqlite3.NotSupportedError(f"{self.path} is of a newer version")
                db.executescript(_TABLES)
                db.execute(f"PRAGMA user_version = {VERSION}")
                self._ids = dict(db.execute("SELECT name, id FROM probe"))
                self.path.chmod(0o600)
            except BaseException:
                db.close()
                raise
            self._open = db
        return self._open

    def _id(self, db: sqlite3.Connection, name: str) -> int:
        if name not in self._ids:
            made = db.execute("INSERT INTO probe (name) VALUES (?)", (name,)).lastrowid
            assert made is not None
            self._ids[name] = made
        return self._ids[name]


def prune(db: sqlite3.Connection, now: float, steady_s: float) -> None:
    """Drop what is too old (see above), and the oldest of too many."""
    for table, keep in (("raw", RAW_S), ("coarse", COARSE_S)):
        if steady_s >= STEADY_S:
            db.execute(
                f"DELETE FROM {table} WHERE at < ? OR at > ?",  # noqa: S608 - our own names
                (now - keep, now + _AHEAD_S),
            )
        (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
        if count > MOST:
            row = db.execute(
                f"SELECT at FROM {table} ORDER BY at LIMIT 1 OFFSET ?",  # noqa: S608
                (count - MOST * 9 // 10,),
            ).fetchone()
            db.execute(f"DELETE FROM {table} WHERE at < ?", row)  # noqa: S608


def series(path: Path, probe: str, since: float, until: float | None = None) -> list[Point]:
    """The points of a probe, oldest first: single samples as far back as there are any, before
    that five minutes each. Empty when there is no such file or probe."""
    return all_series(path, since, until, probe).get(probe, [])


def all_series(
    path: Path, since: float, until: float | None = None, only: str = ""
) -> dict[str, list[Point]]:
    """As :func:`series` for every probe that the file knows, by name; read in one go.

    Raises ``sqlite3.Error`` for a file that is damaged.
    """
    if not path.exists():
        return {}
    last = until if until is not None else float("inf")
    name = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    with contextlib.closing(sqlite3.connect(f"file:{name}?mode=ro", uri=True)) as db:
        known = db.execute(
            "SELECT name, id FROM probe WHERE ?1 IN ('', name) ORDER BY name", (only,)
        ).fetchall()
        return {probe: _points(db, id, since, last) for probe, id in known}


def _points(db: sqlite3.Connection, probe: int, since: float, last: float) -> list[Point]:
    raw = db.execute(
        "SELECT at, state, value FROM raw WHERE probe = ? AND at BETWEEN ? AND ? ORDER BY at",
        (probe, since, last),
    ).fetchall()
    (first,) = db.execute("SELECT min(at) FROM raw WHERE probe = ?", (probe,)).fetchone()
    coarse = db.execute(
        "SELECT at, worst, CASE figures WHEN 0 THEN NULL ELSE total / figures END, low, high,"
        " 1.0 * bad / count FROM coarse WHERE probe = ? AND at >= ? AND at < ? ORDER BY at",
        (probe, since, min(last, first - STEP_S) if first is not None else last),
    ).fetchall()
    points = [Point(at, STATES[state], *rest) for at, state, *rest in coarse]
    return points + [
        Point(at, STATES[state], value, value, value, float(STATES[state] in ("degraded", "down")))
        for at, state, value in raw
    ]
