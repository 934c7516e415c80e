"""The ledger: one row for each model call, in SQLite. What it cost, how long, how it ended.

A row is on disk (``synchronous=FULL``) when :meth:`Ledger.record` returns; many processes
write the same file (see ``ledger_file``). Beside what a call did cost stand two estimates of
what it could have cost: all by the smart tier's model, all by the cheap tier's. They are
written on the row of an answer, once for each message; a consultation or a rejected first
try carries zero there, since neither policy would have made that call.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import deque
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from aiki_kernel.mind.ledger_file import VERSION, LedgerError, LedgerFile, memory
from aiki_kernel.safety.audit import audit_of
from aiki_kernel.safety.secrets import redact

__all__ = ["STAGES", "VERSION", "Entry", "GroupBy", "Ledger", "LedgerError", "Stage"]

Stage = Literal["generate", "consult", "cascade", "form", "curate", "embed", "ask"]
STAGES: tuple[Stage, ...] = ("generate", "consult", "cascade", "form", "curate", "embed", "ask")

GroupBy = Literal[
    "day", "week", "month", "model", "provider", "session", "persona", "stage", "tier", "kind"
]
Result = TypeVar("Result")

# Days are the user's own (local time); a week is named by its Monday.
_GROUPS: dict[str, str] = {
    "day": "date(at, 'unixepoch', 'localtime')",
    "week": "date(at, 'unixepoch', 'localtime', 'weekday 0', '-6 days')",
    "month": "strftime('%Y-%m', at, 'unixepoch', 'localtime')",
    # The catalogue's name, so that two endpoints' models of one name stay two.
    "model": "CASE name WHEN '' THEN model WHEN 'local' THEN 'local/' || model ELSE name END",
    "provider": "provider",
    "session": "session_id",
    "persona": "persona",
    "stage": "stage",
    "tier": "coalesce(nullif(tier, ''), 'unknown')",
    "kind": "kind",
}

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
  coalesce(sum(latency_s), 0.0) AS latency_s,
  coalesce(sum(local_s), 0.0) AS local_s,
  coalesce(sum(hops), 0) AS hops,
  coalesce(sum(cost_usd) FILTER (WHERE smart_only_usd IS NOT NULL), 0.0) AS compared_usd,
  coalesce(sum(smart_only_usd) FILTER (WHERE cost_usd IS NOT NULL), 0.0) AS smart_only_usd,
  coalesce(sum(cheap_only_usd) FILTER (WHERE cost_usd IS NOT NULL), 0.0) AS cheap_only_usd,
  coalesce(sum(smart_only_usd IS NULL OR cost_usd IS NULL), 0) AS not_compared
"""


@dataclass(frozen=True)
class Entry:
    """One model call. ``when`` is ISO-8601; ``cost_usd`` None is an unknown price, not zero.

    ``latency_s`` and ``first_token_s`` are seconds of the stage; ``estimated`` says that the
    tokens were counted by us; ``error`` is one line, without keys. ``model`` is what the
    provider calls the model, ``name`` what the catalogue does; ``kind`` is why the call was
    made ("message", "rerun", ...); ``hops`` counts the models that failed before this one;
    ``local_s`` is time on this machine. ``smart_only_usd`` and ``cheap_only_usd`` are always
    estimates; None is unknown. ``recall_s``, ``route_s``, ``hits`` (memories that were recalled)
    and ``backend`` (what searched them) are of an answer, and None or "" for any other call.
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
    name: str = ""
    kind: str = "message"
    tier: str = ""
    hops: int = 0
    cache_write_tokens: int = 0
    local_s: float = 0.0
    price_source: str = ""
    smart_only_usd: float | None = None
    cheap_only_usd: float | None = None
    recall_s: float | None = None
    route_s: float | None = None
    hits: int | None = None
    backend: str = ""

    def to_json(self) -> dict[str, Any]:
        """A plain dict of all fields."""
        return asdict(self)


_COLUMNS = tuple(field.name for field in fields(Entry))
_NAMES = ", ".join(f'"{name}"' for name in _COLUMNS)
_INSERT = f"INSERT INTO entry (at, {_NAMES}) VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"  # noqa: S608 - names are the dataclass's own
_SESSIONS = """
SELECT session_id AS id, min("when") AS began, max("when") AS last, count(*) AS calls,
  count(DISTINCT CASE WHEN stage = 'generate' THEN nullif(turn_id, '') END) AS answers,
  coalesce(sum(cost_usd), 0.0) AS cost_usd, sum(cost_usd IS NULL) AS unpriced,
  sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
  json_group_array(DISTINCT model) AS models
FROM entry GROUP BY session_id
"""
_RELEASE = "DELETE FROM reservation WHERE turn_id = ? AND stage = ?"
_REMEMBERED = "INSERT INTO remembered (at, seconds, spooled) VALUES (?, ?, ?)"


class Ledger:
    """The ledger file at ``path``; nothing is created before the first record.

    Safe to share between threads. Every method raises :class:`LedgerError`, one line.
    """

    def __init__(self, path: Path) -> None:
        self.file = LedgerFile(path)
        self._remembered: deque[tuple[float, float, int]] = deque(maxlen=1000)

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def notes(self) -> list[str]:
        """Lines that the user must see once."""
        return self.file.notes

    def record(self, entry: Entry) -> None:
        """Write one row; it is on disk on return. Blocks for a disk sync: call from a thread.

        Money held for this call (``budget``) is let go in the same transaction.
        """
        row = (_epoch(entry.when), *(_plain(getattr(entry, name)) for name in _COLUMNS))

        def write(db: sqlite3.Connection) -> None:
            with db:
                db.execute(_INSERT, row)
                if entry.turn_id:
                    db.execute(_RELEASE, (entry.turn_id, entry.stage))
                self._put_remembered(db)

        self.file.use(write, verb="written")
        self._audit(entry)

    def remembered(self, seconds: float, *, spooled: bool = False) -> None:
        """Note how long a turn took to be remembered. It is written with the next row, or when
        the ledger is closed: a figure is not worth a disk sync of its own."""
        self._remembered.append((time.time(), seconds, int(spooled)))

    def _put_remembered(self, db: sqlite3.Connection) -> None:
        count = len(self._remembered)
        db.executemany(_REMEMBERED, [self._remembered.popleft() for _ in range(count)])

    def _audit(self, entry: Entry) -> None:
        told = ("turn_id", "session_id", "stage", "model", "provider", "name", "persona", "kind")
        counts = ("input_tokens", "output_tokens", "cost_usd", "finish_reason", "interrupted")
        facts = {name: getattr(entry, name) or None for name in (*told, *counts)}
        audit_of(self.path.parent).record("model.call", **facts, failed=bool(entry.error))

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

        return self.file.use(read, verb="read") if self.path.exists() else []

    def sessions(self) -> list[dict[str, Any]]:
        """All sessions: ``id``, ``began`` and ``last`` (ISO-8601), ``answers`` (messages that got
        one), ``calls``, ``cost_usd`` of the calls with a known price, ``unpriced`` ones,
        ``input_tokens``, ``output_tokens``, ``models``."""

        def read(db: sqlite3.Connection) -> list[dict[str, Any]]:
            cursor = db.execute(_SESSIONS)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

        found = self.file.use(read, verb="read") if self.path.exists() else []
        return [{**one, "models": sorted(json.loads(one["models"]))} for one in found]

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

        ``smart_only_usd`` and ``cheap_only_usd`` are estimates over the calls that can be
        compared, ``compared_usd`` what those did cost; ``not_compared`` counts the others.

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

        found = self.file.use(read, verb="read") if self.path.exists() else {}
        if group_by:
            return found
        return found.get("") or _nothing()

    def close(self) -> None:
        """Write what waits and close the file. The ledger opens it again when needed."""
        if self._remembered:
            with contextlib.suppress(LedgerError):  # figures alone: nothing that was promised

                def write(db: sqlite3.Connection) -> None:
                    with db:
                        self._put_remembered(db)

                self.file.use(write, verb="written")
        self.file.close()


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
    with contextlib.closing(memory()) as db:
        cursor = db.execute(f"SELECT {_SUMS} FROM entry")  # noqa: S608
        return dict(zip([c[0] for c in cursor.description], cursor.fetchone(), strict=True))
