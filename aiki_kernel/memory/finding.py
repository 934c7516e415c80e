"""Finding memories: candidates of all lists, ranked, loaded, and only what may be told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aiki_kernel.memory import recall as fusion
from aiki_kernel.memory.asking.faults import KIND as ISSUE
from aiki_kernel.memory.asking.faults import SOURCE as HEALTH
from aiki_kernel.memory.asking.faults import about_faults
from aiki_kernel.memory.embedders import ask
from aiki_kernel.memory.payload import from_payload
from aiki_kernel.memory.records import Dropped, Hit, Recall, Record, now
from aiki_kernel.memory.store import Where
from aiki_kernel.memory.wave import KIND as SENSOR

if TYPE_CHECKING:
    from aiki_kernel.config_ranking import Ranking
    from aiki_kernel.memory.access import View
    from aiki_kernel.memory.service import MemoryService


def find(
    memory: MemoryService,
    query: str,
    view: View,
    where: Where,
    limit: int,
    backend: str = "",
    *,
    unasked: bool = False,
    ranking: Ranking | None = None,
    at: float | None = None,
) -> Recall:
    """The ``limit`` best for ``query`` that ``view`` and ``where`` allow; see
    ``MemoryService.find``. ``ranking`` in the place of the settings', and ``at`` (seconds since
    1970) in that of the present, are for measuring."""
    collection, weights = memory.collection, memory.settings.fusion
    began = time.perf_counter()
    vector = ask(collection.embedder, query, backend, memory.compute.backend)
    embedded = time.perf_counter()
    found, searched_by = fusion.candidates(
        memory.vectors,
        collection.lexicon,
        query,
        vector,
        replace(where, quarantined=False, valid_at=now()),
        depth=max(weights.candidates, limit),
        weights=fusion.list_weights(weights.dense, weights.window, weights.turn),
        backend=backend or memory.compute.backend,
    )
    ranking = ranking or memory.settings.ranking
    plain = found
    if ranking.on:
        from aiki_kernel.memory.ranking import ranked

        found = ranked(memory.vectors, found, ranking, limit, at or time.time())
    searched = time.perf_counter()
    sensors, faults = limit, True
    if unasked:
        sensors, faults = max(1, limit // 4), about_faults(query)
    told, dropped = hits(memory, view, found, limit, sensors=sensors, faults=faults)
    if ranking.diversity and view.grant is None:
        dropped += _crowded_out(plain, told, dropped, limit)
    seconds = {
        "embed": embedded - began,
        "search": searched - embedded,
        "load": time.perf_counter() - searched,
    }
    return Recall(tuple(told), seconds, searched_by.by, searched_by.note, dropped)


def _crowded_out(
    plain: Sequence[fusion.Candidate],
    told: Sequence[Hit],
    dropped: Sequence[Dropped],
    limit: int,
) -> tuple[Dropped, ...]:
    """What would have been told by its score alone, and gave way to variety."""
    known = {hit.id for hit in told} | {one.id for one in dropped}
    return tuple(
        Dropped(one.id, "redundant", one.score, "", one.ranks, one.scores)
        for one in plain[:limit]
        if one.id not in known
    )


def hits(
    memory: MemoryService,
    view: View,
    found: Sequence[fusion.Candidate],
    limit: int,
    *,
    sensors: int,
    faults: bool,
) -> tuple[list[Hit], tuple[Dropped, ...]]:
    """The first ``limit`` of ``found`` that exist, may be told and differ in text, at most
    ``sensors`` of them of sensors, none that health noted unless ``faults``; and those before
    the last of them that do not."""
    left = sensors
    today = now()
    out: list[Hit] = []
    texts: dict[str, str] = {}
    dropped: list[Dropped] = []
    step = limit + 8
    for start in range(0, len(found), step):
        batch = found[start : start + step]
        points = memory.collection.store.get([one.id for one in batch])
        payloads = {point.id: point.payload for point in points}
        for one in batch:
            if one.id not in payloads:
                continue
            record = from_payload(one.id, payloads[one.id])
            if not view.sees(record):
                continue
            same = texts.get(record.hash, "")
            if same or _over(record, today):
                why = "duplicate" if same else "expired"
                turn = record.turn_id or ""
                dropped.append(Dropped(one.id, why, one.score, same, one.ranks, one.scores, turn))
                continue
            why = _unasked(record, left, faults)
            if why:
                if len(dropped) < limit:
                    dropped.append(Dropped(one.id, why, one.score, "", one.ranks, one.scores))
                continue
            left -= record.kind == SENSOR
            texts[record.hash] = one.id
            out.append(Hit(view.given(record), one.score, one.ranks, one.scores))
            if len(out) == limit:
                return out, tuple(dropped)
    return out, tuple(dropped)


def _unasked(record: Record, sensors: int, faults: bool) -> str:
    """Why a memory of a program stays out: there is enough of sensors, nobody asks of faults."""
    if record.kind == SENSOR and not sensors:
        return "sensors"
    if record.kind == ISSUE and not faults and record.provenance.get("source") == HEALTH:
        return "health"
    return ""


def _over(record: Record, today: str) -> bool:
    """Whether mem0's ``expiration_date`` has passed."""
    expires = str(record.metadata.get("expiration_date") or "")
    return bool(expires) and expires < today[: len(expires)]
