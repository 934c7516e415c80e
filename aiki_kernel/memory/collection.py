"""Collection: a store, its embedder and its history, always written together.

Embedding happens outside the write lock and writes are short, so reading never waits for
a bulk import or a re-embedding.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from aiki_kernel.config import Memory, Paths
from aiki_kernel.errors import StoreError
from aiki_kernel.memory.dense import DenseIndex, OwnedStore
from aiki_kernel.memory.embedders import embedder as named_embedder
from aiki_kernel.memory.guard import LOW, Guard
from aiki_kernel.memory.history import Change, History
from aiki_kernel.memory.lexical import Lexicon
from aiki_kernel.memory.payload import from_payload, noted, to_payload
from aiki_kernel.memory.records import Record
from aiki_kernel.memory.settle import Settler
from aiki_kernel.memory.store import TURN, WINDOW, MemoryStore, Point, Where
from aiki_kernel.memory.upkeep import Upkeep
from aiki_kernel.memory.window import Windows, windows
from aiki_kernel.safety.audit import audit_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aiki_kernel.memory.embedders import Embedder

_log = logging.getLogger(__name__)
_FIELDS = frozenset(Record.__dataclass_fields__)


class Collection:
    """The open memory. ``touched`` collects ids written while a rebuild runs (else None)."""

    def __init__(
        self,
        settings: Memory,
        paths: Paths,
        embedder: Embedder | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        self.settings = settings
        self.paths = paths
        self.embedder = embedder or named_embedder(settings.embedder)
        self.lexicon = Lexicon(settings.languages)
        self.audit = audit_of(paths.home)
        self.guard = Guard(self.audit)
        self._unscreened: dict[str, Record] = {}
        self.write = threading.RLock()
        self.rebuilding = threading.Lock()
        self.touched: set[str] | None = None
        self.mismatch = ""
        self._closed = False
        self._upkeep: Upkeep | None = None
        paths.memory.mkdir(parents=True, exist_ok=True)
        self.store = store or self._open_store()
        try:
            self.log = History(paths.memory / "history.db")
            self._settler = Settler(self.store, self.log, before=self.screen)
            self.look_again()
            self.dense: DenseIndex | None = None
            if self.store.kind == "embedded":  # nobody but us can write to it
                owned = cast("OwnedStore", self.store)
                self.dense = DenseIndex(owned, self.log, paths.memory, self.write)
                self._upkeep = Upkeep(self.dense)
                self._upkeep.begin()
            self._recover()
        except BaseException:
            self._end_upkeep()
            self.store.close()
            raise

    def look_again(self) -> None:
        """Compare the store with the embedder; ``mismatch`` is the line for the user, or empty."""
        name, dimension = self.store.identity()
        if self._upkeep is not None:
            self._upkeep.hurry()
        same = name == self.embedder.id or (name is None and not self.store.count(Where()))
        if same and dimension == self.embedder.dimension:
            self.mismatch = ""
            return
        self.mismatch = (
            f"These memories were embedded by {name or 'an unknown embedder'} ({dimension} "
            f"dimensions), not by {self.embedder.id} ({self.embedder.dimension}): run "
            "`aiki memory reembed`"
            + (f", or set memory.embedder to {name}." if name and name != "unknown" else ".")
        )

    def refuse_mismatch(self) -> None:
        """Raise :class:`StoreError` when vectors of this embedder may not be used here."""
        if self._closed:
            raise StoreError("The memory is closed: open it again.")
        if self.mismatch:
            raise StoreError(self.mismatch)

    def put(
        self,
        records: Sequence[Record],
        *,
        actor: str | None = None,
        reason: str = "",
        before: Mapping[str, str] | None = None,
    ) -> None:
        """Write whole records: embed, index, log. ``before`` has the old texts of an update.

        Durable on return: by the journal at once, by the store a moment later.
        """
        self.refuse_mismatch()
        if not records:
            return
        vectors = self.embedder.embed_documents([record.data for record in records])
        with self.write:
            self.refuse_mismatch()
            texts = self.window_texts(records)
            points = [
                self.point(record, texts.own[record.id], vector)
                for record, vector in zip(records, vectors, strict=True)
            ]
            self._touch(record.id for record in records)
            with self._moving([record.id for record in records]):
                self.store.upsert(points, wait=False)
            if self.dense is not None:
                self.dense.upsert(points)
            self._record(
                {record.id: json.dumps(record.to_json()) for record in records},
                [
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
                ],
            )
            self._reindex(texts.neighbours)
        self._audit("memory.update" if before else "memory.write", records, actor, reason)
        self._settler.soon()

    def annotate(
        self, notes: Mapping[str, Mapping[str, Any]], changes: Sequence[Change] = ()
    ) -> list[Record]:
        """Set metadata of memories: id to the keys that change, None for a key that goes;
        ``changes`` are rows for their history.

        Texts, vectors and dates stay as they are, and nothing is embedded; memories that are gone
        are passed over. Durable on return, like :meth:`put`. What the memories are now.
        """
        with self.write:
            self.refuse_mismatch()
            there = self.store.get(list(notes))
            payloads = {point.id: noted(point.payload, notes[point.id]) for point in there}
            if not payloads:
                return []
            records = [from_payload(name, payload) for name, payload in payloads.items()]
            self._touch(payloads)
            with self._moving(list(payloads)):
                self.store.set_payloads(payloads)
            if self.dense is not None:
                self.dense.describe(payloads)
            self._record({record.id: json.dumps(record.to_json()) for record in records}, changes)
        self._settler.soon()
        return records

    def end(self, records: Sequence[Record], *, actor: str, reason: str, at: str = "") -> None:
        """Remove records. Tombstones first: a replay must not bring back what was to go.

        ``at`` is the date under which they are kept, the same for several calls of one act.
        """
        if not records:
            return
        with self.write:
            self._record(
                dict.fromkeys(record.id for record in records),
                [
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
                ],
                buried={record.id: (json.dumps(record.to_json()), reason) for record in records},
                at=at,
            )
            self._touch(record.id for record in records)
            texts = self.window_texts((), records)
            self._delete([record.id for record in records], wait=False)
            self._reindex(texts.neighbours)
            self._scrub(records, texts.neighbours)
        self._audit("memory.delete", records, actor, reason)
        self._settler.soon()

    def bring_back(self, id: str, *, actor: str, reason: str = "brought back") -> Record:
        """Put a memory that ended into the store again, as it was. Durable on return.

        Raises :class:`StoreError` when it has not ended, or ended before such records were kept.
        """
        last = self.log.buried(id)
        if not last or self.get(id) is not None:
            raise StoreError(f"{id!r} did not end, or nothing is left of it but its history.")
        known = {key: value for key, value in json.loads(last).items() if key in _FIELDS}
        record = replace(Record(**known), embedder=self.embedder.id)
        self.put([record], actor=actor, reason=reason, before={record.id: record.data})
        self.log.dig_up(id)
        return record

    def screen_later(self, records: Iterable[Record]) -> None:
        """Have these looked at for planted text when the memory settles, off the hot path."""
        with self.write:
            self._unscreened.update({r.id: r for r in records if r.trust in LOW})

    def screen(self) -> None:
        """Look at what waits for it now."""
        from aiki_kernel.memory.quarantine import screen

        with self.write:
            waiting, self._unscreened = self._unscreened, {}
        if waiting and not self.mismatch:
            screen(self, list(waiting.values()))

    def get(self, id: str) -> Record | None:
        """One record, if it is there."""
        found = self.store.get([id])
        return from_payload(found[0].id, found[0].payload) if found else None

    def records(self, where: Where) -> Iterator[Record]:
        """Every record that matches, by id."""
        after = None
        while True:
            points, after = self.store.scroll(where, 256, after)
            for point in points:
                yield from_payload(point.id, point.payload)
            if after is None:
                return

    def point(self, record: Record, window: str, vector: NDArray[np.float32]) -> Point:
        """The point of ``record``: its vector, its two sparse vectors, its payload."""
        sparse = {
            slot: self.lexicon.document(text)
            for slot, text in ((WINDOW, window), (TURN, record.data))
            if slot in self.store.slots
        }
        return Point(record.id, to_payload(record), vector, sparse)

    def window_texts(self, changed: Sequence[Record], gone: Sequence[Record] = ()) -> Windows:
        """The lexical texts of ``changed`` and of those around ``changed`` and ``gone``."""
        span = self.settings.fusion
        return windows(self.store, changed, gone=gone, before=span.before, after=span.after)

    def close(self) -> None:
        """Write everything out and let go of the store. May be called again."""
        if not self._closed:
            self.screen()
            self._end_upkeep()
        with self.write:
            if not self._closed:
                self._closed = True
                try:
                    self._settler.close()
                except (StoreError, sqlite3.Error) as error:
                    _log.warning("closed with an open journal: %s", error)
                if self.dense is not None:
                    self.dense.close()
                self.log.close()
                self.store.close()

    def _end_upkeep(self) -> None:
        if self._upkeep is not None:
            self._upkeep.end()

    def _moving(self, ids: Sequence[str]) -> AbstractContextManager[None]:
        return nullcontext() if self.dense is None else self.dense.moving(ids)

    def _delete(self, ids: Sequence[str], *, wait: bool) -> None:
        with self._moving(ids):
            self.store.delete(ids, wait=wait)
        if self.dense is not None:
            self.dense.delete(ids)

    def _record(
        self,
        pending: Mapping[str, str | None],
        changes: Iterable[Change],
        buried: Mapping[str, tuple[str, str]] | None = None,
        at: str = "",
    ) -> None:
        # A server keeps a log of its own; only the embedded store needs our journal.
        own = self.store.kind == "embedded"
        self.log.record(changes, pending if own else None, buried=buried, at=at)

    def _audit(self, event: str, records: Sequence[Record], actor: str | None, reason: str) -> None:
        self.audit.record(
            event,
            ids=[record.id for record in records],
            count=len(records),
            kinds=Counter(record.kind for record in records),
            trust=Counter(record.trust for record in records),
            actor=actor or records[0].user_id,
            reason=reason.partition(" ")[0].rstrip(":") or None,
        )

    def _recover(self) -> None:
        """Write again what the journal holds and the store lost (a power cut, a full disk)."""
        _, journal = self.log.pending()
        if not journal or self.mismatch:
            return
        there = {point.id: point.payload for point in self.store.get(list(journal))}
        gone = [name for name, text in journal.items() if text is None and name in there]
        if gone:
            self._delete(gone, wait=True)
        lost = []
        for name, text in journal.items():
            if text is not None:
                record = Record(**json.loads(text))
                if name not in there or _behind(there[name], record):
                    lost.append(record)
        # Whoever wrote them may have been killed before they were looked at.
        self.screen_later(
            from_payload(name, payload) for name, payload in there.items() if journal.get(name)
        )
        if lost:
            _log.warning("%d memories are written again from the journal", len(lost))
            self.put(lost, reason="journal")
        self._settler.now()

    def _open_store(self) -> MemoryStore:
        if self.settings.url:
            from aiki_kernel.memory.server import ServerStore

            return ServerStore.connect(self.settings, self.embedder)
        from aiki_kernel.memory.edge import EdgeStore

        return EdgeStore(self.paths.memory, self.embedder.dimension, self.embedder.id)

    def _scrub(self, gone: Sequence[Record], neighbours: Iterable[str]) -> None:
        """Take copies of what is ``gone`` out of the messages around it."""
        points = self.store.get(list(neighbours))
        around = [from_payload(point.id, point.payload) for point in points]
        holding = [
            replace(record, previous="")
            for record in around
            if record.previous and any(one.data in record.previous for one in gone)
        ]
        if holding and not self.mismatch:
            self.put(holding)

    def _reindex(self, texts: Mapping[str, str]) -> None:
        if texts and WINDOW in self.store.slots:
            self._touch(texts)
            self.store.set_sparse(
                {name: {WINDOW: self.lexicon.document(text)} for name, text in texts.items()}
            )

    def _touch(self, ids: Iterable[str]) -> None:
        if self.touched is not None:
            self.touched.update(ids)


def _behind(payload: Mapping[str, Any], record: Record) -> bool:
    """Whether the store has an older state of ``record``: another text, or other metadata."""
    stored = str(payload.get("updated_at", ""))
    return stored < record.updated_at or (
        stored == record.updated_at and dict(payload) != to_payload(record)
    )
