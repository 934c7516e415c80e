"""Forgetting what a question names, and undoing it: shown first, then done, kept in history.

What is forgotten leaves the store and every list. Its history keeps who, when and why, and
its last state is kept beside it, from which :func:`undo` brings it back.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.asking.question import Asked
from aiki_kernel.memory.records import Record, now
from aiki_kernel.memory.store import Where

if TYPE_CHECKING:
    from aiki_kernel.memory.access import View
    from aiki_kernel.memory.service import MemoryService

REASON = "forgotten"
_BATCH = 64
_EXAMPLES = 10

Visible = Callable[[Record], bool]


@dataclass(frozen=True)
class Chosen:
    """What would be forgotten: all ids, how many of each kind, and the first few whole."""

    ids: tuple[str, ...]
    kinds: Mapping[str, int]
    examples: tuple[Record, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "ids": list(self.ids),
            "kinds": dict(self.kinds),
            "examples": [record.to_json() for record in self.examples],
        }


def choose(memory: MemoryService, asked: Asked, view: View, limit: int) -> Chosen:
    """The memories that ``asked`` means, of those that ``view`` may change.

    With something to search for, those that recall would give a model: the best ``limit``,
    none far behind the best. Without, all that its filters let through, hidden ones too.
    """
    where = asked.where(view.where)
    if memory.collection.lexicon.query(asked.query):
        hits = memory.find(asked.query, view, where, limit).hits
        best = max((hit.score for hit in hits), default=0.0)
        least = memory.settings.relevance * best
        good = (hit.record for hit in hits if hit.score > 0 and hit.score >= least)
        records = [record for record in good if view.changes(record)]
        kinds = Counter(record.kind for record in records)
        ids = tuple(record.id for record in records)
        return Chosen(ids, kinds, tuple(records[:_EXAMPLES]))
    newest = memory.collection.store.latest(where, _EXAMPLES)
    whole = memory.collection.records(Where(ids=tuple(point.id for point in newest)))
    shown = [view.given(record) for record in whole if view.changes(record)]
    kinds, found = Counter(), []
    for record in memory.collection.records(where):
        if view.changes(record):
            found.append(record.id)
            kinds[record.kind] += 1
    examples = sorted(shown if newest else (), key=lambda record: record.created_at, reverse=True)
    return Chosen(tuple(found), kinds, tuple(examples))


def forget(
    memory: MemoryService, ids: Sequence[str], visible: Visible, *, actor: str, reason: str
) -> int:
    """Remove memories, with one date for all; how many there were. Durable on return."""
    done, at = 0, now()
    why = f"{REASON}: {reason}" if reason else REASON
    for start in range(0, len(ids), _BATCH):
        points = memory.collection.records(Where(ids=tuple(ids[start : start + _BATCH])))
        records = [record for record in points if visible(record)]
        memory.collection.end(records, actor=actor, reason=why, at=at)
        done += len(records)
    return done


def forgotten(memory: MemoryService, visible: Visible, limit: int) -> list[dict[str, Any]]:
    """What was forgotten and can be brought back, newest first: record, reason, who and when."""
    found = []
    for name, text, reason, at in memory.collection.log.graves(REASON):
        record = read(text)
        if not visible(record):
            continue
        last = memory.collection.log.of(name)[-1:]
        found.append(
            {
                "id": name,
                "text": record.data,
                "kind": record.kind,
                "reason": reason,
                "at": at,
                "actor": last[0]["actor_id"] if last else None,
            }
        )
        if len(found) == limit:
            break
    return found


def undo(
    memory: MemoryService, ids: Sequence[str], visible: Visible, *, actor: str
) -> list[Record]:
    """Bring memories back as they were; without ids those of the last forgetting.

    An id may be its beginning. Raises :class:`StoreError` before any is brought back.
    """
    log = memory.collection.log
    graves = [
        (name, at) for name, text, _, at in log.graves("" if ids else REASON) if visible(read(text))
    ]
    if ids:
        names = [_whole(id, [name for name, _ in graves]) for id in ids]
    else:
        names = [name for name, at in graves if at == graves[0][1]]
        if not names:
            raise StoreError("Nothing was forgotten that could be brought back.")
    back = memory.collection.bring_back
    return [back(name, actor=actor, reason="undone") for name in dict.fromkeys(names)]


def _whole(id: str, names: Sequence[str]) -> str:
    found = [name for name in names if name.startswith(id.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        raise StoreError(f"{len(found)} forgotten memories begin with {id!r}: give more of it.")
    raise StoreError(
        f"No forgotten memory {id!r} can be brought back: `memory forgotten` shows those there are."
    )


def read(text: str) -> Record:
    """A record of an older version has fields that are unknown now, or lacks some."""
    known = {k: v for k, v in json.loads(text).items() if k in Record.__dataclass_fields__}
    return Record(**known)
