"""Looking through the memory: one page at a time, filtered and counted by the store.

A page is a walk along ``created_at`` from a cursor (the date of the last memory seen and how
many of exactly that date were shown), so the ten-thousandth page costs as much as the first:
3 ms at 100,000 memories, where passing over them takes 100. With words to look for, the page is
the next of what recall finds, which is ranked and therefore ends at :data:`MOST_FOUND`.

Everything goes through a :class:`~aiki_kernel.memory.access.View`: what a persona may not see
is neither shown nor counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import AikiError, StoreError
from aiki_kernel.memory.forgetting import read
from aiki_kernel.memory.history import Change
from aiki_kernel.memory.payload import from_payload
from aiki_kernel.memory.records import Record, now
from aiki_kernel.memory.store import TURN, Either, Where
from aiki_kernel.memory.window import moment
from aiki_kernel.safety.secrets import cleaned

if TYPE_CHECKING:
    from aiki_kernel.memory.access import View
    from aiki_kernel.memory.service import MemoryService

MOST_FOUND = 200
"""Memories that words find at most: beyond them a ranking says nothing."""
MOST_TAGS, TAG_CHARS = 20, 40
_MOST_HELD = 1000
_TEXT = 320
_LABELS = 60
_RELATED = 8
_RELATED_TEXT = 240
_DAYS, _MONTHS = 62, 48  # bars of a timeline at most, before it counts in something longer

PEOPLE = {"role": "role", "agent": "agent_id", "entity": "entities"}
"""What stands before the colon in :attr:`Wanted.who`, and the payload's key for it."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for. ``who`` is ``role:user``, ``agent:trisha`` or ``entity:kari``;
    ``held`` asks for what is in quarantine, or for what is not; dates are ISO-8601 and include
    their ends. What is empty does not matter."""

    query: str = ""
    kind: str = ""
    tag: str = ""
    who: str = ""
    trust: str = ""
    held: bool | None = None
    since: str = ""
    until: str = ""

    def where(self, base: Where) -> Where | None:
        """``base`` and these filters; None where nothing can meet both."""
        if self.held and base.quarantined is False:
            return None
        asked = [("kind", self.kind), ("tags", self.tag.lower().lstrip("#"))]
        either = [Either((key,), (word,)) for key, word in asked if word]
        if self.who:
            name, _, word = self.who.partition(":")
            if name not in PEOPLE or not word:
                raise StoreError(f"Nobody is called {self.who!r}: say role:, agent: or entity:.")
            # What belongs to the default persona is shared, and may name nobody.
            words = ("", word) if (name, word) == ("agent", "default") else (word,)
            either.append(Either((PEOPLE[name],), words))
        if self.trust:
            words = (self.trust, "") if self.trust == "import" else (self.trust,)
            either.append(Either(("trust",), words))
        return replace(
            base,
            quarantined=base.quarantined if base.quarantined is False else self.held,
            since=max(filter(None, (base.since, self.since)), default=None),
            until=min(filter(None, (base.until, self.until)), default=None),
            either=(*base.either, *either),
        )


def page(
    memory: MemoryService, view: View, wanted: Wanted, after: str, limit: int
) -> dict[str, Any]:
    """``rows`` (see :func:`row`), ``next`` (the cursor of the page after, or ""), ``total`` of
    what fits, and ``note`` (a line about the search, or "")."""
    where = wanted.where(view.where)
    if where is None:
        return {"rows": [], "next": "", "total": 0, "note": ""}
    if wanted.query.strip():
        return _found(memory, view, wanted, where, after, limit)
    stamp, passed = _cursor(after)
    points = memory.collection.store.latest(
        replace(where, until=stamp) if stamp else where, limit + passed + 1
    )
    records = [from_payload(point.id, point.payload) for point in points[passed:]]
    shown = records[:limit]
    following = ""
    if len(records) > limit:
        last = shown[-1].created_at
        same = sum(moment(record.created_at) == moment(last) for record in shown)
        if stamp and moment(stamp) == moment(last):
            same += passed
        following = f"{last}|{same}"
    rows = [row(record) for record in shown if view.sees(record)]
    total = memory.collection.store.count(where)
    return {"rows": rows, "next": following, "total": total, "note": ""}


def _found(
    memory: MemoryService, view: View, wanted: Wanted, where: Where, after: str, limit: int
) -> dict[str, Any]:
    """A page of what the words find, best first."""
    _, start = _cursor(after)
    if wanted.held:  # recall never looks there
        words = wanted.query.casefold().split()
        held = memory.collection.store.latest(where, _MOST_HELD)
        records = [from_payload(point.id, point.payload) for point in held]
        fit = [one for one in records if all(word in one.data.casefold() for word in words)]
        rows = [row(record) for record in fit if view.sees(record)]
        note = ""
    else:
        recall = memory.find(wanted.query, view, where, MOST_FOUND)
        best = max((hit.score for hit in recall.hits), default=0.0)
        least = memory.settings.relevance * best
        # What has one of the words, and what means the same.
        good = [
            hit
            for hit in recall.hits
            if TURN in hit.ranks or (hit.score > 0 and hit.score >= least)
        ]
        rows = [{**row(hit.record), "score": round(hit.score, 4)} for hit in good]
        note = recall.note
    following = f"|{start + limit}" if start + limit < len(rows) else ""
    return {
        "rows": rows[start : start + limit],
        "next": following,
        "total": len(rows),
        "note": note,
    }


def _cursor(after: str) -> tuple[str, int]:
    stamp, _, passed = after.rpartition("|")
    if not after:
        return "", 0
    if not passed.isdigit() or (stamp and moment(stamp) is None):
        raise StoreError(f"{after!r} is no place in the memory: begin with the first page.")
    return stamp, int(passed)


def row(record: Record) -> dict[str, Any]:
    """A memory as a list shows it: the beginning of its text, and what it is."""
    ends = record.metadata.get("valid_to")
    return {
        "id": record.id,
        "text": record.data[:_TEXT],
        "cut": len(record.data) > _TEXT,
        "created_at": record.created_at,
        "kind": record.kind,
        "role": record.role,
        "agent_id": record.agent_id,
        "trust": record.trust,
        "tags": _tags(record),
        "held": record.metadata.get("quarantined") is True,
        "ended": bool(ends) and (moment(str(ends)) or 0.0) <= (moment(now()) or 0.0),
        "provenance": _plain(record.provenance),
    }


def opened(memory: MemoryService, view: View, record: Record) -> dict[str, Any]:
    """A memory whole: ``record``, and under ``related`` the memories that took its place, that
    it replaced or that said the same, each with the beginning of its text where it may be seen."""
    about = record.metadata
    merged = [one.get("id") for one in _list(about.get("merged")) if isinstance(one, Mapping)]
    named = {
        "superseded_by": [about.get("superseded_by")],
        "supersedes": _list(about.get("supersedes")),
        "merged": merged,
    }
    related: dict[str, list[dict[str, Any]]] = {}
    for name, ids in named.items():
        told = [_told(memory, view, str(id)) for id in ids if isinstance(id, str) and id]
        if told:
            related[name] = told[-_RELATED:]
    return {"record": record.to_json(), "row": row(record), "related": related}


def _told(memory: MemoryService, view: View, id: str) -> dict[str, Any]:
    there = memory.collection.get(id)
    if there is not None and view.sees(there):
        return {
            "id": id,
            "text": there.data[:_RELATED_TEXT],
            "at": there.created_at,
            "there": True,
        }
    last = memory.collection.log.buried(id)
    gone = read(last) if last else None
    if there is None and gone is not None and view.sees(gone):
        return {
            "id": id,
            "text": gone.data[:_RELATED_TEXT],
            "at": gone.created_at,
            "there": False,
        }
    return {"id": id, "text": "", "at": "", "there": False}


def labels(memory: MemoryService, view: View) -> dict[str, Any]:
    """What there is to filter by: for each of kinds, tags, roles, agents, entities and trusts the
    most frequent values with their counts, and how many memories there are in all."""
    store = memory.collection.store
    store.complete()
    keys = {
        "kinds": "kind",
        "tags": "tags",
        "roles": "role",
        "agents": "agent_id",
        "entities": "entities",
        "trusts": "trust",
    }
    out: dict[str, Any] = {}
    for name, key in keys.items():
        counted = store.tally(key, view.where).items()
        out[name] = sorted(counted, key=lambda one: (-one[1], one[0]))[:_LABELS]
    out["total"] = store.count(view.where)
    hidden = view.where.quarantined is False
    out["held"] = 0 if hidden else store.count(replace(view.where, quarantined=True))
    return out


def timeline(memory: MemoryService, view: View, wanted: Wanted) -> dict[str, Any]:
    """How many memories fit in each day, month or year from the first to the last of them, in
    this machine's own time: ``unit`` and ``bars`` of ``since``, ``until`` and ``count``.

    ``wanted.since`` and ``until`` bound it; its words are left out, since a search finds only
    the best.
    """
    where = wanted.where(view.where)
    store = memory.collection.store
    ends = [] if where is None else [*store.latest(where, 1, oldest_first=True)]
    if where is None or not ends:
        return {"unit": "day", "bars": []}
    ends += store.latest(where, 1)
    first, last = (_local(str(point.payload.get("created_at"))) for point in ends)
    days = (last.date() - first.date()).days + 1
    months = 12 * (last.year - first.year) + last.month - first.month + 1
    unit = "day" if days <= _DAYS else "month" if months <= _MONTHS else "year"
    bars = []
    for begin, end in _spans(first, last, unit):
        since, until = (one.astimezone(UTC).isoformat() for one in (begin, end))
        span = replace(
            where,
            since=max(filter(None, (where.since, since))),
            until=min(filter(None, (where.until, until))),
        )
        bars.append({"since": since, "until": until, "count": store.count(span)})
    return {"unit": unit, "bars": bars[-_MONTHS:] if unit == "year" else bars}


def _local(stamp: str) -> datetime:
    return datetime.fromtimestamp(moment(stamp) or 0.0).astimezone()


def _spans(first: datetime, last: datetime, unit: str) -> Iterator[tuple[datetime, datetime]]:
    begin = first.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if unit != "day":
        begin = begin.replace(day=1)
    if unit == "year":
        begin = begin.replace(month=1)
    end_of_all = last.replace(tzinfo=None)
    while begin <= end_of_all:
        if unit == "day":
            following = begin + timedelta(days=1)
        elif unit == "month":
            following = (begin + timedelta(days=32)).replace(day=1)
        else:
            following = begin.replace(year=begin.year + 1)
        # Each end with its own offset: clocks may change within a span.
        yield begin.astimezone(), (following - timedelta(microseconds=1)).astimezone()
        begin = following


def tag(memory: MemoryService, view: View, record: Record, tags: Sequence[str]) -> Record:
    """Give ``record`` these tags and no others; its history keeps the old ones. Durable on return.

    Curation leaves tags alone that somebody chose. Raises :class:`StoreError` for too many.
    """
    memory.access.change(view, record, "update")
    chosen = [*dict.fromkeys(filter(None, map(_tag, tags)))]
    if len(chosen) > MOST_TAGS:
        raise StoreError(f"A memory has at most {MOST_TAGS} tags: leave some out.")
    had = _tags(record)
    if chosen == had:
        return record
    notes = {"tags": chosen or None, "tagged": {"by": view.actor, "at": now()}}
    change = Change(
        record.id,
        "TAGS",
        old=", ".join(had),
        new=", ".join(chosen),
        created_at=record.created_at,
        actor=view.actor,
        reason="tags changed",
    )
    changed = memory.collection.annotate({record.id: notes}, [change])
    if not changed:
        raise StoreError(f"No memory {record.id!r}: it was forgotten meanwhile.")
    return changed[0]


def gone(memory: MemoryService, view: View, query: str, after: str, limit: int) -> dict[str, Any]:
    """What left the memory and can be brought back, the last to go first: forgotten, merged,
    replaced or turned away. As :func:`page`, each row with ``reason``, ``at`` and ``actor``."""
    _, start = _cursor(after)
    log, words = memory.collection.log, query.casefold().split()
    found: list[dict[str, Any]] = []
    for name, text, reason, at in log.graves(""):
        record = read(text)
        if not view.changes(record) or not all(w in record.data.casefold() for w in words):
            continue
        found.append({**row(record), "id": name, "reason": reason, "at": at})
    shown = found[start : start + limit]
    for one in shown:
        last = log.of(one["id"])[-1:]
        one["actor"] = last[0]["actor_id"] if last else None
    following = f"|{start + limit}" if start + limit < len(found) else ""
    return {"rows": shown, "next": following, "total": len(found), "note": ""}


def history(memory: MemoryService, view: View, id: str) -> tuple[list[dict[str, Any]], str]:
    """The rows of a memory's history, or none and the line why not."""
    try:
        return memory.history(id, view.scope), ""
    except AikiError as error:
        return [], str(error)


def _tag(word: str) -> str:
    return "-".join(cleaned(word)[0].lower().replace(",", " ").split()).lstrip("#")[:TAG_CHARS]


def _tags(record: Record) -> list[str]:
    return [str(one) for one in _list(record.metadata.get("tags")) if isinstance(one, str)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _plain(provenance: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value)[:200] for key, value in provenance.items() if value is not None}
