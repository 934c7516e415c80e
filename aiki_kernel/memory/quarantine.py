"""Quarantine: memories that are kept and not recalled, until somebody releases them.

Each step leaves a row in the memory's history (``QUARANTINE``, ``RELEASE``) with who, when and
why, and a line in the audit log; each can be undone, and so can an update of a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.guard import LOW, missed
from aiki_kernel.memory.history import Change
from aiki_kernel.memory.payload import digest, from_payload
from aiki_kernel.memory.records import Record, now
from aiki_kernel.memory.store import Where

if TYPE_CHECKING:
    from aiki_kernel.memory.collection import Collection

HELD, RELEASED = "QUARANTINE", "RELEASE"


def held(collection: Collection, where: Where, limit: int) -> list[Record]:
    """Memories in quarantine, newest first."""
    points = collection.store.latest(replace(where, quarantined=True), limit)
    return [from_payload(point.id, point.payload) for point in points]


def hold(collection: Collection, record: Record, *, by: str, reason: str = "") -> Record:
    """Take a memory out of recall. Durable on return. Holding one twice changes nothing."""
    if record.metadata.get("quarantined"):
        return record
    why = {"reason": reason or "marked by hand", "at": now(), "by": by}
    notes = {"quarantined": True, "quarantine": why, "released": None}
    return _set(collection, record, notes, HELD, by, why["reason"])


def release(collection: Collection, record: Record, *, by: str, reason: str = "") -> Record:
    """Let a memory be recalled again, whatever its score. Durable on return.

    Raises :class:`StoreError` for one that is not in quarantine.
    """
    if not record.metadata.get("quarantined"):
        raise StoreError(f"{record.id} is not in quarantine: `aiki memory audit` shows what is.")
    notes = {"quarantined": None, "quarantine": None, "released": {"at": now(), "by": by}}
    return _set(collection, record, notes, RELEASED, by, reason or "released")


def undo(collection: Collection, record: Record, *, by: str) -> tuple[Record, str]:
    """Take back the last thing that was done to a memory; what it was.

    Raises :class:`StoreError` where that was neither a quarantine, a release nor an update.
    """
    rows = collection.log.of(record.id)
    last = rows[-1] if rows else {"event": ""}
    reason = f"undo of {last['event']}"
    if last["event"] == HELD:
        return release(collection, record, by=by, reason=reason), HELD
    if last["event"] == RELEASED:
        return hold(collection, record, by=by, reason=reason), RELEASED
    if last["event"] == "UPDATE" and last["old_memory"]:
        text = str(last["old_memory"])
        fresh = replace(record, data=text, hash=digest(text), updated_at=now())
        collection.put([fresh], actor=by, reason=reason, before={record.id: record.data})
        return fresh, "UPDATE"
    raise StoreError(
        f"The last thing that happened to {record.id} is {last['event'] or 'not known'}, which "
        f"cannot be undone here: see `aiki memory history {record.id}`."
    )


def screen(collection: Collection, records: Sequence[Record]) -> int:
    """Hold what looks planted among memories that were written without a look; how many."""
    count = 0
    for record in records:
        notes = missed(record)
        if "quarantined" in notes:
            why = notes["quarantine"]
            _set(collection, record, notes, HELD, "score", why["reason"], score=why["score"])
            count += 1
        elif notes:
            collection.annotate({record.id: notes})
    return count


def screen_all(collection: Collection, where: Where) -> tuple[int, int]:
    """Look at every memory of low trust, as for those of an older version; seen and held."""
    seen = list(collection.records(replace(where, trusts=LOW, quarantined=False)))
    return len(seen), screen(collection, seen)


def _set(
    collection: Collection,
    record: Record,
    notes: Mapping[str, Any],
    event: str,
    by: str,
    reason: str,
    **facts: Any,
) -> Record:
    row = Change(record.id, event, created_at=record.created_at, actor=by, reason=reason)
    changed = collection.annotate({record.id: notes}, [row])
    if not changed:
        raise StoreError(f"No memory {record.id!r}: it was forgotten meanwhile.")
    name = "memory.quarantine" if event == HELD else "memory.release"
    collection.audit.record(name, id=record.id, trust=record.trust, actor=by, **facts)
    return changed[0]
