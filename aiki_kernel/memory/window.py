"""The lexical window: what surrounds a message says what it is about.

"Yes, last Tuesday" is found by the question before it. So the sparse vector ``bm25`` of a
message is made from a few messages before it, the message, a few after it, and its date
in words; the neighbours are those of the same ``run_id`` and the same owner: what was said
to another persona must not show in what a memory is found by. When one arrives, changes or
goes, those whose window held it are indexed anew, so a forgotten text leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from aiki_kernel.memory.lexical import date_words
from aiki_kernel.memory.payload import from_payload
from aiki_kernel.memory.records import Record
from aiki_kernel.memory.store import MemoryStore, Where
from aiki_kernel.safety.permissions import SHARED, owner

_MOST_BETWEEN = 4096


@dataclass(frozen=True)
class Windows:
    """Lexical texts by id: of the records that are being written, and of their neighbours."""

    own: dict[str, str]
    neighbours: dict[str, str]


def moment(iso: str) -> float | None:
    """Seconds since 1970 (a time without a zone is UTC); None when it cannot be read."""
    try:
        when = datetime.fromisoformat(iso)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def in_session(record: Record) -> bool:
    """Whether ``record`` has neighbours: it is a message of a run, and has a date."""
    return (
        record.kind == "message" and bool(record.run_id) and moment(record.created_at) is not None
    )


def windows(
    store: MemoryStore,
    changed: Iterable[Record],
    *,
    gone: Iterable[Record] = (),
    before: int = 2,
    after: int = 2,
) -> Windows:
    """The windows of ``changed`` and of every stored message that ``changed`` or ``gone`` touch."""
    own: dict[str, str] = {}
    neighbours: dict[str, str] = {}
    sessions: dict[tuple[str, str, str], tuple[list[Record], list[Record]]] = {}
    for number, records in enumerate((changed, gone)):
        for record in records:
            whose = owner(record.agent_id)
            if in_session(record) and whose is not None:
                key = (record.user_id, str(record.run_id), whose)
                sessions.setdefault(key, ([], []))[number].append(record)
            elif number == 0:
                own[record.id] = text_of(record, (), ())
    for (user, run, whose), (fresh, lost) in sessions.items():
        merged = _surroundings(store, user, run, whose, [*fresh, *lost], before + after)
        merged.update({record.id: record for record in fresh})
        merged.update({record.id: record for record in lost})
        fresh_ids = {record.id for record in fresh}
        lost_ids = {record.id for record in lost}
        order = sorted(merged.values(), key=lambda record: (_when(record), record.id))
        dirty = {
            order[near].id
            for place, record in enumerate(order)
            if record.id in fresh_ids or record.id in lost_ids
            for near in range(max(0, place - after), min(len(order), place + before + 1))
        }
        alive = [record for record in order if record.id not in lost_ids]
        for place, record in enumerate(alive):
            if record.id not in dirty and record.id not in fresh_ids:
                continue
            text = text_of(
                record,
                [one.data for one in alive[max(0, place - before) : place]],
                [one.data for one in alive[place + 1 : place + 1 + after]],
            )
            (own if record.id in fresh_ids else neighbours)[record.id] = text
    return Windows(own, neighbours)


def text_of(record: Record, earlier: Sequence[str], later: Sequence[str]) -> str:
    """What the window slot indexes. ``record.previous`` stands in when nothing is ``earlier``."""
    ahead = list(earlier) or ([record.previous] if record.previous else [])
    return "\n".join([*ahead, record.data, *later, date_words(record.created_at)])


def _when(record: Record) -> float:
    return moment(record.created_at) or 0.0


def _surroundings(
    store: MemoryStore, user: str, run: str, whose: str, records: Sequence[Record], span: int
) -> dict[str, Record]:
    """Stored messages from ``span`` before the first of ``records`` to ``span`` after the last."""
    # Nearly every session has one owner: it is read plainly, and again where it has several.
    found = _around(store, Where(user_id=user, run_id=run, kind="message"), records, span)
    if any(owner(record.agent_id) != whose for record in found.values()):
        names = (SHARED, "") if whose == SHARED else (whose,)
        where = Where(user_id=user, run_id=run, kind="message", agent_ids=names)
        found = _around(store, where, records, span)
    return {name: record for name, record in found.items() if owner(record.agent_id) == whose}


def _around(
    store: MemoryStore, where: Where, records: Sequence[Record], span: int
) -> dict[str, Record]:
    ordered = sorted(records, key=_when)
    first, last = ordered[0].created_at, ordered[-1].created_at
    reach = span + len(records)
    found = store.latest(replace(where, until=first), reach)
    if first != last:
        between = replace(where, since=first, until=last)
        found += store.latest(between, _MOST_BETWEEN, oldest_first=True)
    found += store.latest(replace(where, since=last), reach, oldest_first=True)
    return {point.id: from_payload(point.id, point.payload) for point in found}
