"""Curation: what becomes of a memory after it is durable.

::

    gate        worth keeping? what is not leaves recall, and can be brought back
    merge       said before: the older one stays and knows where else it was said
    describe    summary, entities, categories, tags, themes, emotion, importance, language
    link        a fact that contradicts an older one ends it; both stay

What awaits it is known from the history, by the number of the last row that is done with, so
turns pay nothing for it and a killed process goes on where it was. Each step may be done twice
with the result of once. Only turns are sifted and merged: what somebody added, imported or
brought back himself is described and linked, never turned away. Recalled text is never read:
the only texts that count are the turn's own question and answer, and an answer that merely
repeats older memories is recognised and turned away.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from aiki_kernel.memory.curation_facts import Fact, contradicts, only_facts, stored
from aiki_kernel.memory.curation_gate import judge
from aiki_kernel.memory.curation_merge import Gist, alike, least_cosine, restates
from aiki_kernel.memory.curation_record import VERSION, Described, by_rules, enriched
from aiki_kernel.memory.payload import from_payload
from aiki_kernel.memory.records import Record, now
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.memory.store import TURN, Point, Where
from aiki_kernel.memory.window import moment
from aiki_kernel.safety.permissions import SHARED, owner

ACTOR = "curation"
REASON = "curated: "
_ASKING = "curation asks for"  # a mark in the history: the memory that a paid model is reading
_NEIGHBOURS = 8
_SAME_SLOT = 64
_MOST_MERGED = 20


class Describer(Protocol):
    """A model that reads what rules cannot."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        ...

    @property
    def trusted(self) -> bool:
        """Whether its categories count, or only what it says in the text's own words."""
        ...

    @property
    def once(self) -> bool:
        """Whether a call costs money, so that none is ever made twice for one memory."""
        ...

    def wants(self, text: str) -> bool:
        """Whether this text is worth its time."""
        ...

    def describe(self, text: str, record: Record) -> Described | None:
        """What it says of ``text``; None when it has nothing usable to say.

        Raises :class:`YieldedError` when somebody else wants the model.
        """
        ...


class YieldedError(Exception):
    """Curation was asked to make room; the memory at hand is taken up again later."""


@dataclass
class Tally:
    """What one curator has done since it began."""

    seen: int = 0
    kept: int = 0
    turned_away: Counter[str] = field(default_factory=Counter)
    merged: int = 0
    ended: int = 0
    described: int = 0
    summaries: int = 0
    dropped: int = 0
    seconds: float = 0.0
    model_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            **{name: getattr(self, name) for name in ("seen", "kept", "merged", "ended")},
            "turned_away": dict(self.turned_away),
            "described": self.described,
            "summaries_of_the_model": self.summaries,
            "dropped_labels": self.dropped,
            "seconds": round(self.seconds, 3),
            "model_seconds": round(self.model_seconds, 3),
        }


class Curation:
    """Curates the memories of ``service``. One at a time: it is not thread-safe."""

    def __init__(
        self,
        service: MemoryService,
        *,
        describer: Describer | None = None,
        prompts: Sequence[str] = (),
    ) -> None:
        """``prompts`` are the system prompts in use, which are no news when they are restated."""
        self.service = service
        self.collection = service.collection
        self.describer = describer
        self.prompts = tuple(prompts)
        self.tally = Tally()
        self._near = least_cosine(self.collection.embedder.id)

    def waiting(self) -> int:
        """Rows of the history that are still to be looked at."""
        return self.collection.log.left_to_curate()

    def begin_again(self) -> None:
        """Look at everything once more; what is curated and unchanged is passed over."""
        self.collection.log.curated(0)

    def run(self, most: int, stop: Callable[[], bool] = bool) -> int:
        """Curate up to ``most`` memories; how many rows are done with.

        ``stop`` is asked before each; a :class:`YieldedError` of the model ends the batch likewise.
        """
        rows = self.collection.log.uncurated(most)
        points = self._points([str(row["memory_id"]) for _, row in rows])
        done = 0
        for number, row in rows:
            if stop():
                break
            began = time.perf_counter()
            try:
                self._row(row, points.get(str(row["memory_id"])))
            except YieldedError:
                break
            finally:
                self.tally.seconds += time.perf_counter() - began
            self.collection.log.curated(number)
            done += 1
        return done

    # --- one memory -----------------------------------------------------------------------

    def _row(self, row: Mapping[str, Any], point: Point | None) -> None:
        if row["event"] == "DELETE" or point is None:
            return
        record = self.collection.get(point.id)
        if record is None or record.metadata.get("quarantined") or _is_curated(record):
            return
        self.tally.seen += 1
        if row["reason"] == "turn" and record.kind == "message" and self._sifted(record, point):
            return
        self._describe(record)
        self.tally.kept += 1

    def _sifted(self, record: Record, point: Point) -> bool:
        """Whether the gate, or the memory of what was said before, had no use for it."""
        previous = self._previous(record)
        verdict = judge(
            record.data,
            role=record.role,
            previous=previous.data if previous else None,
            prompts=self.prompts,
        )
        if not verdict.keep:
            self._turn_away(record, verdict.reason)
            return True
        gist = Gist.of(record, self.collection.lexicon)
        known = list(self._before(record, point))
        for other, cosine in known:
            twin = Gist.of(other, self.collection.lexicon)
            near = cosine >= self._near or gist.plain == twin.plain
            if other.role == record.role and near and alike(gist, twin):
                self._merge(record, other)
                return True
        if record.role == "assistant":
            own = previous if previous and previous.turn_id == record.turn_id else None
            asked = Gist.of(own, self.collection.lexicon) if own else None
            older = [Gist.of(other, self.collection.lexicon) for other, _ in known]
            if restates(gist, older, asked):
                self._turn_away(record, "recalled text restated")
                return True
        return False

    def _turn_away(self, record: Record, reason: str) -> None:
        self.tally.turned_away[reason] += 1
        self.collection.end([record], actor=ACTOR, reason=f"{REASON}{reason}")

    def _merge(self, record: Record, into: Record) -> None:
        """``into`` stays and takes the provenance of ``record`` on."""
        merged = [item for item in into.metadata.get("merged") or () if item["id"] != record.id]
        merged.append(
            {
                "id": record.id,
                "turn_id": record.turn_id,
                "run_id": record.run_id,
                "created_at": record.created_at,
                "provenance": dict(record.provenance),
            }
        )
        known = len(into.metadata.get("merged") or ())
        times = int(into.metadata.get("times_said") or 1) + (len(merged) > known)
        notes = {"merged": merged[-_MOST_MERGED:], "times_said": times}
        self.collection.annotate({into.id: notes})
        gone = replace(record, metadata={**record.metadata, "duplicate_of": into.id})
        self.collection.end([gone], actor=ACTOR, reason=f"{REASON}said before ({into.id})")
        self.tally.merged += 1

    def _describe(self, record: Record) -> None:
        curated = by_rules(record.data, record.created_at, record.role)
        by, log = "rules", self.collection.log
        if self.describer is not None and self.describer.wants(record.data):
            if self.describer.once and log.noted(_ASKING) == record.id:
                by = f"rules ({self.describer.name} was asked and cut off)"
            else:
                said = self._asked(self.describer, record)
                if said is not None:
                    curated = enriched(
                        curated,
                        said,
                        record.data,
                        self.collection.lexicon,
                        trusted=self.describer.trusted,
                    )
                    by = f"rules and {self.describer.name}"
                    self.tally.described += 1
                    self.tally.summaries += curated.summary == said.summary != ""
                    self.tally.dropped += len(curated.dropped)
        mark = {
            "by": by,
            "version": VERSION,
            "at": now(),
            "keep": True,
            "reason": "says something" if record.kind == "message" else "not sifted",
            "hash": record.hash,
        }
        linked = self._links(record, curated.facts)
        own = linked.pop(record.id, {})
        # What ends others comes first: a process killed between the two does both again.
        self.collection.annotate(linked)
        notes = curated.notes()
        if record.metadata.get("tags") and not record.metadata.get("curated"):
            notes["tagged"] = {"by": "its source", "at": now()}  # it came with tags of its own
        if notes.get("tagged") or record.metadata.get("tagged"):  # somebody chose its tags
            notes.pop("tags", None)
        self.collection.annotate({record.id: {**notes, **own, "curated": mark}})
        self.tally.ended += len(linked)
        if log.noted(_ASKING):
            log.note(_ASKING)

    def _asked(self, describer: Describer, record: Record) -> Described | None:
        began = time.perf_counter()
        if describer.once:
            self.collection.log.note(_ASKING, record.id)
        try:
            return describer.describe(record.data, record)
        finally:
            self.tally.model_seconds += time.perf_counter() - began

    # --- facts that end -------------------------------------------------------------------

    def _links(self, record: Record, facts: Sequence[Fact]) -> dict[str, dict[str, Any]]:
        """What has to be noted on which memory so that no two facts of a slot hold at once."""
        notes: dict[str, dict[str, Any]] = {}
        if record.trust != "user" or record.role == "assistant":
            return notes
        supersedes: list[str] = []
        for fact in facts:
            for old in self._of_slot(record, fact.slot):
                was = [one for one in stored(old.metadata) if one.slot == fact.slot]
                if not any(contradicts(fact, one) for one in was):
                    continue
                if _moment(was[0].since or old.created_at) <= _moment(fact.since):
                    if _ends_sooner(old, fact.since):
                        continue
                    notes[old.id] = _ending(old, [fact.slot], fact.since, record.id)
                    supersedes.append(old.id)
                elif fact.value and not _ends_sooner(record, was[0].since):
                    notes.setdefault(record.id, {}).update(
                        _ending(record, [fact.slot], was[0].since, old.id)
                    )
        if supersedes:
            notes.setdefault(record.id, {})["supersedes"] = supersedes
        return notes

    def _of_slot(self, record: Record, slot: str) -> Iterator[Record]:
        """Other memories of the same speaker that may hold facts of ``slot``."""
        where = Where(
            user_id=record.user_id,
            agent_ids=_within_reach(record),
            tags=(slot.split()[-1],),
            quarantined=False,
        )
        for point in self.collection.store.latest(where, _SAME_SLOT):
            other = from_payload(point.id, point.payload)
            same_speaker = (other.role or "user") == (record.role or "user")
            if other.id != record.id and other.trust == "user" and same_speaker:
                yield other

    # --- what is around -------------------------------------------------------------------

    def _points(self, ids: Sequence[str]) -> dict[str, Point]:
        wanted = tuple(dict.fromkeys(ids))
        if not wanted:
            return {}
        found, _ = self.collection.store.scroll(Where(ids=wanted), len(wanted), vectors=True)
        return {point.id: point for point in found}

    def _previous(self, record: Record) -> Record | None:
        """The message before it in its conversation."""
        if not record.run_id or moment(record.created_at) is None:
            return None
        where = Where(
            user_id=record.user_id,
            run_id=record.run_id,
            kind="message",
            until=record.created_at,
        )
        for point in self.collection.store.latest(where, 3):
            if point.id != record.id:
                return from_payload(point.id, point.payload)
        return None

    def _before(self, record: Record, point: Point) -> Iterator[tuple[Record, float]]:
        """Older memories that are near in meaning or in words, with their cosine.

        Those of other users and personas are none of its business, nor is what has ended.
        """
        where = Where(
            user_id=record.user_id,
            agent_ids=_within_reach(record),
            exclude_kinds=("insight", "sensor"),
            quarantined=False,
        )
        assert point.vector is not None
        dense = self.service.vectors.dense(point.vector, where, _NEIGHBOURS, "auto").lists["dense"]
        words = self.collection.lexicon.query(record.data)
        lists = self.collection.store.search(None, {TURN: words}, where, _NEIGHBOURS)
        same = self.collection.store.latest(
            replace(where, hashes=(record.hash,)), 2, oldest_first=True
        )
        near = [name for scored in (dense, *lists.values()) for name, _ in scored]
        ids = list(dict.fromkeys([*(one.id for one in same), *near]))
        cosines = dict(dense)
        missing = [name for name in ids if name not in cosines]
        cosines.update(self.collection.store.similarity(point.vector, missing))
        for other in self.collection.store.get(ids):
            found = from_payload(other.id, other.payload)
            if (
                found.id != record.id
                and not (found.turn_id and found.turn_id == record.turn_id)
                and (found.created_at, found.id) < (record.created_at, record.id)
                and not found.metadata.get("valid_to")
            ):
                yield found, cosines.get(other.id, 0.0)


def _within_reach(record: Record) -> tuple[str, ...]:
    """The ``agent_id`` of memories that the same personas may see."""
    whose = owner(record.agent_id)
    return (SHARED, "") if whose in (SHARED, None) else (whose,)


def _is_curated(record: Record) -> bool:
    mark = record.metadata.get("curated")
    if not isinstance(mark, Mapping):
        return False
    return mark.get("hash") == record.hash and mark.get("version") == VERSION


def _ending(old: Record, slots: Sequence[str], when: str, by: str) -> dict[str, Any]:
    """What is noted on a memory whose fact ended. One that says more than that stays in recall."""
    outdated = sorted({*(old.metadata.get("outdated") or ()), *slots})
    notes: dict[str, Any] = {"superseded_by": by, "outdated": outdated}
    if only_facts(old.data, outdated):
        notes["valid_to"] = when
    return notes


def _ends_sooner(record: Record, when: str) -> bool:
    """Whether a memory has ended by ``when`` already."""
    ended = record.metadata.get("valid_to")
    return bool(ended) and _moment(str(ended)) <= _moment(when)


def _moment(when: str) -> float:
    return moment(when) or 0.0
