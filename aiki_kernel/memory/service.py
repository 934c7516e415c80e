"""MemoryService: everything the memory can do, as one synchronous, thread-safe class.

Nobody else opens the store. What a caller may see is decided here, from its scope.
Reading never waits for a bulk import or a re-embedding: embedding happens outside the
write lock, and writes are short. Every write is durable when its method returns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.config import Paths, Settings
from aiki_kernel.errors import StoreError
from aiki_kernel.memory import recall as fusion
from aiki_kernel.memory.embedders import embedder as named_embedder
from aiki_kernel.memory.history import Change, History
from aiki_kernel.memory.lexical import Lexicon
from aiki_kernel.memory.payload import derived_id, digest, from_payload, point_id, to_payload
from aiki_kernel.memory.payload import to_record as make_record
from aiki_kernel.memory.records import Draft, Hit, ImportReport, Recall, Record, Scope, Turn, now
from aiki_kernel.memory.store import SLOTS, TURN, WINDOW, MemoryStore, Point, Where
from aiki_kernel.memory.window import moment, windows

if TYPE_CHECKING:
    from aiki_kernel.memory.embedders import Embedder

_BATCH = 64
"""Memories that one bulk step embeds and writes; a recall waits for no more than that."""


class MemoryService:
    """Memories of this ``AIKI_HOME``, or of the Qdrant server that the settings name."""

    def __init__(
        self,
        settings: Settings,
        paths: Paths,
        *,
        embedder: Embedder | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        """Open the store, or create it.

        A store that holds another embedder's vectors opens for reading, export and
        :meth:`reembed`; recall and writing are refused with one line. Raises
        :class:`StoreError` when the store is in use, damaged or away, and
        :class:`ConfigError` for an embedder that is unknown or not installed.
        """
        self.settings = settings.memory
        self.paths = paths
        self.embedder = embedder or named_embedder(self.settings.embedder)
        self.lexicon = Lexicon(self.settings.languages)
        self.write = threading.RLock()
        self.touched: set[str] | None = None
        self._rebuilding = threading.Lock()
        self._closed = False
        self.store = store or self._open_store()
        try:
            self.log = History(paths.memory / "history.db")
            self.mismatch = self._find_mismatch()
        except BaseException:
            self.store.close()
            raise

    # --- recall -------------------------------------------------------------------------

    def recall(self, query: str, scope: Scope, limit: int, exclude: Sequence[str] = ()) -> Recall:
        """The ``limit`` best memories; ``exclude`` holds ids of turns that are known already."""
        self._refuse_mismatch()
        if limit < 1 or not query.strip():
            return Recall(backend=self.backend)
        began = time.perf_counter()
        vector = self.embedder.embed_query(query)
        embedded = time.perf_counter()
        weights = self.settings.fusion
        found = fusion.candidates(
            self.store,
            self.lexicon,
            query,
            vector,
            replace(_where(scope), exclude_turns=tuple(exclude)),
            depth=max(weights.candidates, limit),
            weights=fusion.list_weights(weights.dense, weights.window, weights.turn),
        )
        searched = time.perf_counter()
        hits = self._hits(found, limit)
        done = time.perf_counter()
        return Recall(
            tuple(hits),
            {
                "embed": embedded - began,
                "search": searched - embedded,
                "load": done - searched,
            },
            self.backend,
        )

    def search(self, query: str, scope: Scope, limit: int) -> Recall:
        """As :meth:`recall`, for somebody who asks the memory itself."""
        return self.recall(query, scope, limit)

    # --- writing ------------------------------------------------------------------------

    def remember(self, turn: Turn) -> tuple[str, ...]:
        """Store question and answer, each as a memory of its own. Durable on return.

        Ids follow from ``turn.id``: a replay changes nothing, and does not bring back what
        was forgotten or superseded meanwhile. Memories of ``turn.replaces`` end only when
        the new ones are durable.
        """
        self._refuse_mismatch()
        drafts = _sides(turn)
        ids = [str(draft.id) for draft in drafts]
        known = {point.id for point in self.store.get(ids)} | self.log.ended(ids)
        fresh = [draft for draft in drafts if draft.id not in known]
        records = [make_record(draft, self.embedder.id) for draft in fresh]
        self.put(records, actor=turn.user_id, reason="turn")
        if turn.replaces and turn.replaces != turn.id:
            old = self._all(Where(user_id=turn.user_id, turn_ids=(turn.replaces,)))
            self._end(old, actor=turn.user_id, reason=f"replaced by turn {turn.id}")
            superseded = [derived_id("turn", turn.replaces, role) for role in ("user", "assistant")]
            self._close_door(superseded, turn)
        return tuple(ids)

    def add(
        self,
        text: str,
        scope: Scope,
        *,
        kind: str = "fact",
        metadata: Mapping[str, Any] | None = None,
        role: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        created_at: str | None = None,
        id: str | None = None,
    ) -> Record:
        """Store one memory; an ``id`` that exists is replaced by it."""
        draft = Draft(
            text,
            scope,
            kind=kind,
            role=role,
            metadata=metadata or {},
            provenance=provenance or {},
            created_at=created_at,
            id=id,
        )
        return self.add_many([draft])[0]

    def add_many(self, items: Sequence[Draft]) -> list[Record]:
        """Store many; durable on return, in groups. Raises before writing anything unusable."""
        self._refuse_mismatch()
        records = [make_record(_checked(draft), self.embedder.id) for draft in items]
        # Messages of one run go in by time, so that each batch finds its neighbours.
        order = sorted(range(len(records)), key=lambda i: moment(records[i].created_at) or 0.0)
        for start in range(0, len(order), _BATCH):
            self.put([records[i] for i in order[start : start + _BATCH]])
        return records

    def update(self, id: str, text: str, scope: Scope | None = None) -> Record:
        """Give a memory another text; it keeps its id, its dates of birth and its metadata."""
        self._refuse_mismatch()
        if not text.strip():
            raise StoreError("A memory needs a text: use forget to remove one.")
        old = self.get(id, scope)
        fresh = replace(
            old,
            data=text,
            hash=digest(text),
            updated_at=now(),
            embedder=self.embedder.id,
        )
        self.put([fresh], actor=old.user_id, before={old.id: old.data})
        return fresh

    def forget(self, id: str, scope: Scope | None = None) -> None:
        """Remove a memory from the store; its history stays, ended by a DELETE."""
        old = self.get(id, scope)
        self._end([old], actor=old.user_id, reason="forgotten")

    def put(
        self,
        records: Sequence[Record],
        *,
        actor: str | None = None,
        reason: str = "",
        before: Mapping[str, str] | None = None,
    ) -> None:
        """Write whole records: embed, index, log. ``before`` has the old texts of an update."""
        if not records:
            return
        vectors = self.embedder.embed_documents([record.data for record in records])
        with self.write:
            self._refuse_mismatch()
            texts = self._windows(records)
            points = [
                self.point(record, texts.own[record.id], vector)
                for record, vector in zip(records, vectors, strict=True)
            ]
            self._touch(record.id for record in records)
            self.store.upsert(points)
            self.log.record(
                Change(
                    record.id,
                    "UPDATE" if before and record.id in before else "ADD",
                    old=before.get(record.id) if before else None,
                    new=record.data,
                    created_at=record.created_at,
                    actor=actor or record.user_id,
                    role=record.role,
                    reason=reason,
                )
                for record in records
            )
            self._reindex(texts.neighbours)

    # --- reading ------------------------------------------------------------------------

    def get(self, id: str, scope: Scope | None = None) -> Record:
        """One memory. Raises :class:`StoreError` when there is none, or not in ``scope``."""
        name = point_id(id)
        found = self.store.get([name]) if name else []
        record = from_payload(found[0].id, found[0].payload) if found else None
        if record is None or (scope and not _visible(record, scope)):
            raise StoreError(f"No memory {id!r}: `aiki memory list` shows those there are.")
        return record

    def list(
        self, scope: Scope, *, limit: int = 20, offset: int = 0, kind: str | None = None
    ) -> list[Record]:
        """Memories, newest first."""
        found = self.store.latest(replace(_where(scope), kind=kind), limit + offset)
        return [from_payload(point.id, point.payload) for point in found[offset:]]

    def history(self, id: str) -> list[dict[str, Any]]:
        """What happened to a memory, oldest first; also of one that was forgotten."""
        rows = self.log.of(point_id(id) or id)
        if not rows:
            raise StoreError(f"No history of {id!r}: `aiki memory list` shows the memories.")
        return rows

    def stats(self) -> dict[str, Any]:
        """Counts and what the store is; plain JSON data."""
        everything = Where()
        return {
            "memories": self.store.count(everything),
            "kinds": self.store.tally("kind", everything),
            "users": self.store.tally("user_id", everything),
            "backend": self.backend,
            "embedder": self.embedder.id,
            "dimension": self.store.dimension,
            "location": self.settings.url or str(self.paths.memory),
            "collection": self.settings.collection if self.settings.url else "",
            "lists": ["dense", *(slot for slot in SLOTS if slot in self.store.slots)],
            "mismatch": self.mismatch or "",
        }

    @property
    def backend(self) -> str:
        """``embedded`` or ``server``."""
        return self.store.kind

    def close(self) -> None:
        """Write everything out and let go of the store."""
        with self.write:
            if not self._closed:
                self._closed = True
                self.log.close()
                self.store.close()

    # --- shared by the rooms of this service -----------------------------------------------

    def point(self, record: Record, window: str, vector: Any) -> Point:
        """The point of ``record``: its vector, its two sparse vectors, its payload."""
        sparse = {
            slot: self.lexicon.document(text)
            for slot, text in ((WINDOW, window), (TURN, record.data))
            if slot in self.store.slots
        }
        return Point(record.id, to_payload(record), vector, sparse)

    def _open_store(self) -> MemoryStore:
        if self.settings.url:
            from aiki_kernel.memory.server import ServerStore

            self.paths.memory.mkdir(parents=True, exist_ok=True)
            return ServerStore.connect(self.settings, self.embedder)
        from aiki_kernel.memory.edge import EdgeStore

        return EdgeStore(self.paths.memory, self.embedder.dimension, self.embedder.id)

    def _find_mismatch(self) -> str | None:
        name, dimension = self.store.identity()
        same = name == self.embedder.id or (name is None and not self.store.count(Where()))
        if same and dimension == self.embedder.dimension:
            return None
        return (
            f"These memories were embedded by {name or 'an unknown embedder'} ({dimension} "
            f"dimensions), not by {self.embedder.id} ({self.embedder.dimension}): run "
            f"`aiki memory reembed`" + (f", or set memory.embedder to {name}." if name else ".")
        )

    def _refuse_mismatch(self) -> None:
        if self._closed:
            raise StoreError("The memory is closed: open it again.")
        if self.mismatch:
            raise StoreError(self.mismatch)

    def _hits(self, found: Sequence[fusion.Candidate], limit: int) -> list[Hit]:
        today = now()
        hits: list[Hit] = []
        texts: set[str] = set()
        step = limit + 8
        for start in range(0, len(found), step):
            batch = found[start : start + step]
            payloads = {
                point.id: point.payload for point in self.store.get([one.id for one in batch])
            }
            for one in batch:
                if one.id not in payloads:  # forgotten since it was found
                    continue
                record = from_payload(one.id, payloads[one.id])
                expires = str(record.metadata.get("expiration_date") or "")
                if record.hash in texts or (expires and expires < today[: len(expires)]):
                    continue
                texts.add(record.hash)
                hits.append(Hit(record, one.score, one.ranks, one.scores))
                if len(hits) == limit:
                    return hits
        return hits

    def _windows(self, changed: Sequence[Record], gone: Sequence[Record] = ()) -> Any:
        span = self.settings.fusion
        return windows(self.store, changed, gone=gone, before=span.before, after=span.after)

    def _reindex(self, texts: Mapping[str, str]) -> None:
        if texts and WINDOW in self.store.slots:
            self._touch(texts)
            self.store.set_sparse(
                {name: {WINDOW: self.lexicon.document(text)} for name, text in texts.items()}
            )

    def _touch(self, ids: Any) -> None:
        if self.touched is not None:
            self.touched.update(ids)

    def _end(self, records: Sequence[Record], *, actor: str, reason: str) -> None:
        """Tombstones first: a replay after a crash must not bring back what was to go."""
        if not records:
            return
        with self.write:
            self.log.record(
                Change(
                    record.id,
                    "DELETE",
                    old=record.data,
                    created_at=record.created_at,
                    actor=actor,
                    role=record.role,
                    reason=reason,
                )
                for record in records
            )
            self._touch(record.id for record in records)
            texts = self._windows((), records)
            self.store.delete([record.id for record in records])
            self._reindex(texts.neighbours)

    def _close_door(self, ids: Sequence[str], turn: Turn) -> None:
        """A superseded turn that still waits in a spool must stay out when it is replayed."""
        unseen = [name for name in ids if not self.log.of(name)]
        self.log.record(
            Change(name, "DELETE", actor=turn.user_id, reason=f"replaced by turn {turn.id}")
            for name in unseen
        )

    def _all(self, where: Where) -> list[Record]:
        return list(self.records(where))

    def records(self, where: Where) -> Iterator[Record]:
        """Every record that matches, by id."""
        after = None
        while True:
            points, after = self.store.scroll(where, 256, after)
            for point in points:
                yield from_payload(point.id, point.payload)
            if after is None:
                return


def _where(scope: Scope) -> Where:
    return Where(user_id=scope.user_id, agent_id=scope.agent_id, run_id=scope.run_id)


def _visible(record: Record, scope: Scope) -> bool:
    return (
        record.user_id == scope.user_id
        and scope.agent_id in (None, record.agent_id)
        and scope.run_id in (None, record.run_id)
    )


def _checked(draft: Draft) -> Draft:
    if not draft.text.strip():
        raise StoreError("A memory needs a text: none was given.")
    if not draft.scope.user_id:
        raise StoreError("A memory needs a user: set memory.user_id.")
    if draft.created_at and moment(draft.created_at) is None:
        raise StoreError(f"{draft.created_at!r} is not a date: write it as 2026-11-21T09:30:00Z.")
    return replace(draft, id=point_id(draft.id))


def _sides(turn: Turn) -> list[Draft]:
    """Question and answer of a turn; the answer comes one microsecond later, to keep the order."""
    shared: dict[str, Any] = {"model": turn.model}
    if turn.interrupted:
        shared["interrupted"] = True
    asked = turn.created_at
    seconds = moment(asked)
    if seconds is None:
        asked, seconds = now(), time.time()
    answered = datetime.fromisoformat(asked)
    if answered.tzinfo is None:
        answered = answered.replace(tzinfo=UTC)
    answered += timedelta(microseconds=1)
    sides = (
        ("user", turn.question, asked, {}, "user", turn.previous),
        (
            "assistant",
            turn.answer,
            answered.isoformat(timespec="microseconds"),
            shared,
            "model",
            turn.question,
        ),
    )
    return [
        Draft(
            text,
            Scope(turn.user_id, turn.persona, turn.session_id),
            kind="message",
            role=role,
            metadata=metadata,
            provenance=turn.provenance,
            created_at=when,
            id=derived_id("turn", turn.id, role),
            turn_id=turn.id,
            trust=trust,
            previous=previous,
        )
        for role, text, when, metadata, trust, previous in sides
        if text.strip()
    ]
