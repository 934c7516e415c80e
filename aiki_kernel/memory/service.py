"""MemoryService: everything the memory can do, as one synchronous, thread-safe class.

Nobody else opens the store. What a caller may see is decided here, from its scope. Every
write is durable when its method returns.
"""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.config import Paths, Settings
from aiki_kernel.errors import StoreError
from aiki_kernel.memory import finding, forgetting
from aiki_kernel.memory.access import Access, View, since_last_end
from aiki_kernel.memory.asking import sift as sifting
from aiki_kernel.memory.backends import DenseSearch
from aiki_kernel.memory.collection import Collection
from aiki_kernel.memory.embedders import embedder as named_embedder
from aiki_kernel.memory.embedders import engine_for, engine_of
from aiki_kernel.memory.history import Change
from aiki_kernel.memory.payload import digest, from_payload, point_id, to_record
from aiki_kernel.memory.records import Draft, ImportReport, Recall, Record, Scope, Turn, now
from aiki_kernel.memory.store import SLOTS, MemoryStore, Where
from aiki_kernel.memory.turns import ROLES, checked, side_id, sides
from aiki_kernel.memory.wave_memory import WaveMemory
from aiki_kernel.memory.window import moment
from aiki_kernel.safety.permissions import SHARED, owner

if TYPE_CHECKING:
    from aiki_kernel.memory.asking.question import Asked, Vocabulary
    from aiki_kernel.memory.asking.sift import Sifted
    from aiki_kernel.memory.embedders import Embedder
    from aiki_kernel.memory.forgetting import Chosen

_BATCH = 64
"""Memories that one bulk step embeds and writes; another writer waits for no more than that."""

Progress = Callable[[int, int], None]
"""Called with how many are done and how many there are."""


class MemoryService:
    """Memories of this ``AIKI_HOME``, or of the Qdrant server that the settings name."""

    def __init__(
        self,
        settings: Settings,
        paths: Paths,
        *,
        embedder: Embedder | None = None,
        store: MemoryStore | None = None,
        access: Access | None = None,
    ) -> None:
        """Open the store, or create it. ``access`` knows the rights of personas.

        A store that holds another embedder's vectors opens for reading, export and
        :meth:`reembed`; recall and writing are refused with one line. Raises
        :class:`StoreError` when the store is in use, damaged or away, and
        :class:`ConfigError` for an embedder that is unknown or not installed.
        """
        self.settings = settings.memory
        self.compute = settings.compute
        engine = engine_for(self.compute.backend)
        embedder = embedder or named_embedder(settings.memory.embedder, engine)
        self.collection = Collection(settings.memory, paths, embedder, store)
        self.vectors = DenseSearch(self.collection)
        self.waves = WaveMemory(self)
        self.access = access or Access()

    # --- recall ---------------------------------------------------------------------------

    def recall(
        self,
        query: str,
        scope: Scope,
        limit: int,
        exclude: Sequence[str] = (),
        backend: str = "",
        kinds: Sequence[str] = (),
    ) -> Recall:
        """The ``limit`` best memories; ``exclude`` holds ids of turns that are known already.

        ``backend`` searches the vectors, and ``numpy`` makes the question's too; without one it is
        that of the settings. With ``kinds`` only memories of one of these are looked at; without
        them at most a quarter are of sensors, which say much the same all day long, and what the
        health daemon noted is told only to who asks of faults.
        """
        view = self.access.must(scope, "recall")
        where = replace(view.where, exclude_turns=tuple(exclude), kinds=tuple(kinds))
        return self.find(query, view, where, limit, backend, unasked=not kinds)

    def find(
        self,
        query: str,
        view: View,
        where: Where,
        limit: int,
        backend: str = "",
        *,
        unasked: bool = False,
    ) -> Recall:
        """The best of the memories that ``view`` sees and ``where``, made from its own, allows,
        and that neither ended nor wait in quarantine; ``unasked`` as :meth:`recall` says."""
        self.collection.refuse_mismatch()
        if limit < 1 or not query.strip():
            return Recall()
        return finding.find(self, query, view, where, limit, backend, unasked=unasked)

    def search(
        self, query: str, scope: Scope, limit: int, backend: str = "", kinds: Sequence[str] = ()
    ) -> Recall:
        """As :meth:`recall`, for somebody who asks the memory itself."""
        view = self.access.must(scope, "recall")
        return self.find(query, view, replace(view.where, kinds=tuple(kinds)), limit, backend)

    def vocabulary(self, scope: Scope) -> Vocabulary:
        """What the memories are labelled with, for somebody who reads a question about them."""
        return sifting.vocabulary(self, self.access.must(scope, "ask"))

    def sift(self, asked: Asked, scope: Scope, limit: int, backend: str = "") -> Sifted:
        """The best memories for a question that was understood, and how many its filters leave."""
        return sifting.sift(self, asked, self.access.must(scope, "ask"), limit, backend)

    def backends(self, backend: str = "") -> dict[str, Any]:
        """What searches the vectors when ``backend`` is wanted, and what else could."""
        return self.vectors.offered(backend or self.compute.backend)

    def compare(self, query: str, scope: Scope) -> dict[str, Any]:
        """The dense list of ``query`` by every backend there is: times, and whether they agree."""
        view = self.access.must(scope, "compare")
        self.collection.refuse_mismatch()
        began = time.perf_counter()
        vector = self.collection.embedder.embed_query(query)
        embed_ms = (time.perf_counter() - began) * 1e3
        compared = self.vectors.compare(vector, view.where, self.settings.fusion.candidates)
        return {"question": query, "embed_ms": round(embed_ms, 3), **compared}

    # --- writing --------------------------------------------------------------------------

    def remember(self, turn: Turn) -> tuple[str, ...]:
        """Store question and answer, each as a memory of its own. Durable on return.

        Ids follow from ``turn.id``: a replay changes nothing, and does not bring back what
        was forgotten or superseded meanwhile. Memories of ``turn.replaces`` end only when
        the new ones are durable.
        """
        self.collection.refuse_mismatch()
        self.access.turn(turn)
        drafts = sides(self._without_known_past(turn))
        ids = [str(draft.id) for draft in drafts]
        stored = {point.id for point in self.collection.store.get(ids)}
        ended = self.collection.log.ended(ids)
        self._log_missing([draft for draft in drafts if draft.id in stored], turn)
        fresh = [draft for draft in drafts if draft.id not in stored | ended]
        guard, embedder = self.collection.guard, self.collection.embedder.id
        records = [to_record(guard.admitted(draft, screen=False), embedder) for draft in fresh]
        self.collection.put(records, actor=turn.user_id, reason="turn")
        self.collection.screen_later(records)
        if turn.replaces and turn.replaces != turn.id:
            self._supersede(turn.replaces, turn)
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
        trust: str = "user",
    ) -> Record:
        """Store one memory; an ``id`` that exists is replaced by it. ``trust`` says who vouches
        for the text: user, model, import, sensor or tool."""
        draft = Draft(
            text,
            scope,
            kind=kind,
            role=role,
            metadata=metadata or {},
            provenance=provenance or {},
            created_at=created_at,
            id=id,
            trust=trust,
        )
        return self.add_many([draft])[0]

    def add_many(self, items: Sequence[Draft]) -> list[Record]:
        """Store many; durable on return, in groups. An unusable one is refused before any write."""
        self.collection.refuse_mismatch()
        guard, embedder = self.collection.guard, self.collection.embedder.id
        drafts = self.access.drafts([checked(draft) for draft in items], self._there)
        records = [to_record(guard.admitted(draft), embedder) for draft in drafts]
        # Messages of one run go in by time, so that each group finds its neighbours.
        order = sorted(range(len(records)), key=lambda i: moment(records[i].created_at) or 0.0)
        for start in range(0, len(order), _BATCH):
            self.collection.put([records[i] for i in order[start : start + _BATCH]])
        return records

    def update(self, id: str, text: str, scope: Scope | None = None) -> Record:
        """Give a memory another text; it keeps its id, its dates of birth and its metadata."""
        view = self.access.view(scope, "update")
        self.collection.refuse_mismatch()
        if not text.strip():
            raise StoreError("A memory needs a text: use forget to remove one.")
        old = self._found(id, view)
        self.access.change(view, old, "update")
        text = self.collection.guard.cleaned(text, old.id)
        fresh = replace(
            old,
            data=text,
            hash=digest(text),
            trust="model" if scope is not None and scope.persona else "user",
            updated_at=now(),
            embedder=self.collection.embedder.id,
        )
        self.collection.put([fresh], actor=old.user_id, before={old.id: old.data})
        return fresh if view is None else view.given(fresh)

    def forget(self, id: str, scope: Scope | None = None, *, reason: str = "") -> None:
        """Remove a memory from the store; its history stays, ended by a DELETE."""
        view = self.access.view(scope, "forget")
        old = self._found(id, view)
        self.access.change(view, old, "forget")
        self.forget_many([old.id], scope or Scope(old.user_id), reason=reason)

    def choose(self, asked: Asked, scope: Scope, limit: int) -> Chosen:
        """What :meth:`forget_many` would be given for a question that was understood."""
        return forgetting.choose(self, asked, self.access.must(scope, "forget"), limit)

    def forget_many(self, ids: Sequence[str], scope: Scope, *, reason: str = "") -> int:
        """Remove those memories of ``ids`` that ``scope`` may see; how many there were."""
        view = self.access.must(scope, "forget")
        return forgetting.forget(self, ids, view.changes, actor=scope.user_id, reason=reason)

    def forgotten(self, scope: Scope, limit: int) -> builtins.list[dict[str, Any]]:
        """What was forgotten and can be brought back, newest first."""
        return forgetting.forgotten(self, self.access.must(scope, "forget").changes, limit)

    def undo(self, ids: Sequence[str], scope: Scope) -> builtins.list[Record]:
        """Bring back what was forgotten; without ids, what was forgotten last."""
        view = self.access.must(scope, "forget")
        self.collection.refuse_mismatch()
        back = forgetting.undo(self, ids, view.changes, actor=scope.user_id)
        return [view.given(record) for record in back]

    # --- reading --------------------------------------------------------------------------

    def get(self, id: str, scope: Scope | None = None) -> Record:
        """One memory. Raises :class:`StoreError` when there is none, or not in ``scope``."""
        view = self.access.view(scope, "get")
        record = self._found(id, view)
        return record if view is None else view.given(record)

    def list(
        self, scope: Scope, *, limit: int = 20, offset: int = 0, kind: str | None = None
    ) -> builtins.list[Record]:
        """Memories, newest first."""
        view = self.access.must(scope, "list")
        where = replace(view.where, kind=kind)
        found = self.collection.store.latest(where, limit + offset)
        records = (from_payload(point.id, point.payload) for point in found[offset:])
        return [view.given(record) for record in records if view.sees(record)]

    def history(self, id: str, scope: Scope | None = None) -> builtins.list[dict[str, Any]]:
        """What happened to a memory, oldest first; also of one that was forgotten.

        A persona is told only of a memory that is there and that it may read, since it is.
        """
        view = self.access.view(scope, "history")
        if view is not None and view.grant is not None:
            record = self._found(id, view)
            return since_last_end(self.collection.log.of(record.id))
        rows = self.collection.log.of(point_id(id) or id)
        if not rows:
            raise StoreError(f"No history of {id!r}: `aiki memory list` shows the memories.")
        return rows

    def stats(self) -> dict[str, Any]:
        """Counts and what the store is; plain JSON data."""
        store, everything = self.collection.store, Where()
        engine = engine_of(self.collection.embedder)
        return {
            "memories": store.count(everything),
            "kinds": store.tally("kind", everything),
            "users": store.tally("user_id", everything),
            "backend": self.collection.store.kind,
            "search": self.vectors.health(self.compute.backend),
            "embedder": self.collection.embedder.id,
            "embedder_engine": None if engine is None else asdict(engine),
            "dimension": store.dimension,
            "location": self.settings.url or str(self.collection.paths.memory),
            "collection": self.settings.collection if self.settings.url else "",
            "lists": ["dense", *(slot for slot in SLOTS if slot in store.slots)],
            "mismatch": self.collection.mismatch,
        }

    # --- all of it at once ----------------------------------------------------------------

    def export(self, scope: Scope) -> Iterator[dict[str, Any]]:
        """Each memory as plain JSON data; one a line makes a file that imports back."""
        from aiki_kernel.memory.intake import send_out

        return send_out(self.collection, self.access.must(scope, "export"))

    def import_(
        self, source: str | Path, scope: Scope, *, progress: Progress | None = None
    ) -> ImportReport:
        """Import JSONL, JSON, a folder, mem0's folder, or ``http://host:6333/collection``.

        Memories become ``scope``'s user's. ``progress`` is told done and total.
        """
        from aiki_kernel.memory.intake import bring_in

        self.access.must(scope, "import")
        self.collection.refuse_mismatch()
        return bring_in(self.collection, source, scope, progress)

    def reembed(self, progress: Progress | None = None) -> int:
        """Embed everything with the embedder of the settings; how many memories there were."""
        from aiki_kernel.memory.rebuild import reembed

        return reembed(self.collection, progress)

    def snapshot(self, target: Path) -> Path:
        """Write all memories and their history to one file; its path."""
        from aiki_kernel.memory.archive import snapshot

        return snapshot(self.collection, target)

    def restore(self, source: Path) -> int:
        """Replace all memories by those of a snapshot; how many. Checked before it changes any."""
        from aiki_kernel.memory.archive import restore

        return restore(self.collection, source)

    def close(self) -> None:
        """Write everything out and let go of the store. May be called again."""
        self.collection.close()

    # --- inside ---------------------------------------------------------------------------

    def _found(self, id: str, view: View | None) -> Record:
        """The memory ``id``. Raises :class:`StoreError` when there is none that ``view`` sees."""
        name = point_id(id)
        record = self.collection.get(name) if name else None
        if record is None or (view is not None and not view.sees(record)):
            raise StoreError(f"No memory {id!r}: `aiki memory list` shows those there are.")
        return record

    def _there(self, ids: builtins.list[str]) -> dict[str, Record]:
        points = self.collection.store.get(ids) if ids else []
        return {point.id: from_payload(point.id, point.payload) for point in points}

    def _without_known_past(self, turn: Turn) -> Turn:
        """A copy of the turn before is kept only where the store does not have that turn."""
        if not turn.previous or moment(turn.created_at) is None:
            return turn
        where = Where(
            user_id=turn.user_id, run_id=turn.session_id, kind="message", until=turn.created_at
        )
        if owner(turn.persona) != SHARED:
            where = replace(where, agent_id=turn.persona)
        return replace(turn, previous="") if self.collection.store.count(where) else turn

    def _supersede(self, turn_id: str, by: Turn) -> None:
        """End the memories of a turn, and keep it out if it still waits in a spool."""
        reason = f"replaced by turn {by.id}"
        where = Where(user_id=by.user_id, turn_ids=(turn_id,))
        old = [record for record in self.collection.records(where) if self.access.ends(record, by)]
        self.collection.end(old, actor=by.user_id, reason=reason)
        self.collection.log.record(
            Change(name, "DELETE", actor=by.user_id, reason=reason)
            for name in (side_id(turn_id, role) for role in ROLES)
            if not self.collection.log.of(name)
        )

    def _log_missing(self, drafts: Sequence[Draft], turn: Turn) -> None:
        """Rows for a turn whose writer was killed between the store and the history."""
        self.collection.log.record(
            Change(
                str(draft.id),
                "ADD",
                new=draft.text,
                created_at=str(draft.created_at),
                actor=turn.user_id,
                role=draft.role,
                reason="turn",
            )
            for draft in drafts
            if not self.collection.log.of(str(draft.id))
        )
