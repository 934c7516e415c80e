"""WaveMemory: capturing, finding and comparing sensor memories, in one open memory.

The client reduces arrays to a :class:`~aiki_kernel.memory.wave.WavePattern` before it asks, so
what comes here is small, and checked once more: a pattern from outside may hold anything.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from aiki_kernel.errors import UsageError
from aiki_kernel.memory import finding
from aiki_kernel.memory import recall as fusion
from aiki_kernel.memory.records import Draft, Recall, Record, Scope, now
from aiki_kernel.memory.wave import DIMENSION, KIND, MOST_CHANNELS, SLOT, WavePattern, checked_note
from aiki_kernel.memory.wave_text import language_of, wave_to_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aiki_kernel.memory.patterns import Patterns
    from aiki_kernel.memory.service import MemoryService

_NEAR = 1e-6
_UNLIKE = 0.05
"""A cosine up to which two patterns have nothing in common."""


class WaveMemory:
    """The sensor side of a :class:`~aiki_kernel.memory.service.MemoryService`. Thread-safe."""

    def __init__(self, service: MemoryService) -> None:
        self._service = service

    def capture(
        self,
        pattern: WavePattern,
        scope: Scope,
        *,
        at: str | None = None,
        note: str = "",
        language: str = "",
        provenance: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> Record:
        """Store ``pattern``: kind and trust ``sensor``. Durable on return.

        ``at`` (ISO-8601, default now) is when the signal began, and the memory's
        ``created_at``. ``language``: en or no; by default the first of ``memory.languages``
        that is one of them. Raises :class:`UsageError` and :class:`StoreError`.
        """
        language = language or language_of(self._service.settings.languages)
        note = checked_note(note)
        metadata: dict[str, Any] = {
            "channels": pattern.names,
            "tags": sorted({name.lower() for name in pattern.names}),
            "duration_s": pattern.duration_s,
            SLOT: pattern.to_json(),
        }
        if note:
            metadata["note"] = note
        draft = Draft(
            wave_to_text(pattern, language, note),
            scope,
            kind=KIND,
            metadata=metadata,
            provenance={**(provenance or {}), "channels": pattern.names},
            created_at=moment_of(at) if at else now(),
            id=id,
            trust="sensor",
        )
        return self._service.add_many([draft])[0]

    def like(
        self,
        patterns: NDArray[np.float32],
        scope: Scope,
        limit: int,
        *,
        channels: Sequence[str] = (),
        query: str = "",
    ) -> Recall:
        """Memories with patterns like ``patterns`` (k, 224), best first.

        ``channels`` names channels of which a memory must have one. With a ``query`` the lists
        of the text take part as well, the pattern weighing as much as they do together.
        """
        service = self._service
        table = _rows(patterns)
        if limit < 1:
            return Recall()
        began = time.perf_counter()
        view = service.access.must(scope, "recall")
        where = replace(
            view.where,
            tags=tuple(sorted({name.lower() for name in channels})),
            quarantined=False,
            valid_at=now(),
        )
        weights = service.settings.fusion
        depth = max(weights.candidates, limit)
        lists = {SLOT: service.collection.store.search_waves(table, where, depth)}
        if query.strip():
            service.collection.refuse_mismatch()
            vector = service.collection.embedder.embed_query(query)
            words = service.collection.lexicon.query(query)
            slots = service.collection.store.slots
            texts = service.collection.store.search(
                vector, dict.fromkeys(slots, words), where, depth
            )
            named = {name for scored in texts.values() for name, _ in scored}
            named |= {name for name, _ in lists[SLOT]}
            dense = service.collection.store.similarity(vector, sorted(named))
            by_text = fusion.list_weights(weights.dense, weights.window, weights.turn)
            found = fusion.fuse(
                {**texts, **lists}, dense, depth, {**by_text, SLOT: sum(by_text.values())}
            )
        else:
            found = [
                fusion.Candidate(name, score, {SLOT: rank}, {SLOT: score})
                for rank, (name, score) in enumerate(lists[SLOT], 1)
                if score > _UNLIKE
            ]
        searched = time.perf_counter()
        hits, dropped = finding.hits(service, view, found, limit, sensors=limit, faults=True)
        seconds = {"search": searched - began, "load": time.perf_counter() - searched}
        return Recall(tuple(hits), seconds, dropped=dropped)

    def patterns(self, since: str, until: str, scope: Scope, language: str = "") -> Patterns:
        """Cycles, trends and links in what was captured from ``since`` to ``until``."""
        from aiki_kernel.memory.wave_trends import find_patterns

        language = language_of([language] if language else self._service.settings.languages)
        return find_patterns(self.captures(since, until, scope), since, until, language)

    def captures(self, since: str, until: str, scope: Scope, most: int = 10_000) -> list[Record]:
        """Sensor memories that began in a period, oldest first."""
        from aiki_kernel.memory.payload import from_payload

        view = self._service.access.must(scope, "list")
        where = replace(
            view.where,
            kind=KIND,
            since=moment_of(since),
            until=moment_of(until),
            quarantined=False,
        )
        points = self._service.collection.store.latest(where, most)
        records = (from_payload(point.id, point.payload) for point in reversed(points))
        return [view.given(record) for record in records if view.sees(record)]


def moment_of(text: str) -> str:
    """ISO-8601 with a zone, as the store compares it. Raises :class:`UsageError`."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time: write it as 2026-11-21T09:30:00+01:00.") from None
    if when.tzinfo is None:
        when = when.astimezone()
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def _rows(patterns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Checked: (k, 224), finite, unit length."""
    table = np.asarray(patterns, np.float32)
    if table.ndim != 2 or table.shape[1] != DIMENSION or not 1 <= len(table) <= MOST_CHANNELS:
        raise UsageError(f"A wave to search with is 1 to {MOST_CHANNELS} rows of {DIMENSION}.")
    lengths = np.linalg.norm(table.astype(np.float64), axis=1)
    if not np.isfinite(lengths).all() or float(lengths.min()) < _NEAR:
        raise UsageError("A wave to search with holds no numbers: capture it again.")
    return np.asarray(table / lengths[:, None], np.float32)
