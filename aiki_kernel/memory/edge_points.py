"""Points and filters in qdrant-edge's own types, and back."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import qdrant_edge as edge

from aiki_kernel.memory.lexical import Sparse
from aiki_kernel.memory.store import FLAG, SLOTS, Point, Where
from aiki_kernel.memory.wave import DIMENSION
from aiki_kernel.memory.wave import SLOT as WAVE
from aiki_kernel.memory.wave_vector import vectors_in

_TRUE = edge.MatchValue(np.bool_(True))  # type: ignore[arg-type]
"""qdrant-edge 0.9 reads Python's own True as the number 1, which matches no boolean."""


def point(record: Any) -> Point:
    vectors = record.vector or {}
    return Point(
        str(record.id),
        record.payload or {},
        np.asarray(vectors[""], np.float32) if "" in vectors else None,
        {
            slot: Sparse(tuple(vectors[slot].indices), tuple(vectors[slot].values))
            for slot in SLOTS
            if slot in vectors
        },
    )


def native(point: Point) -> Any:
    assert point.vector is not None
    vector: dict[str, Any] = {"": point.vector.tolist()}
    vector.update({slot: sparse(words) for slot, words in point.sparse.items() if words})
    waves = vectors_in(point.payload)
    if waves is not None:
        vector[WAVE] = waves
    return edge.Point(id=uuid.UUID(point.id), vector=vector, payload=dict(point.payload))


def sparse(words: Sparse) -> Any:
    return edge.SparseVector(indices=list(words.indices), values=list(words.values))


def wave_slot() -> Any:
    """The operation that gives a shard the vector ``wave``; one that has it keeps what is in it."""
    several = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
    return edge.UpdateOperation.create_dense_vector(WAVE, DIMENSION, edge.Distance.Cosine, several)


def nearest_waves(rows: list[list[float]], where: Where, limit: int) -> Any:
    """The request for memories whose patterns are like ``rows``."""
    return edge.QueryRequest(
        query=edge.Query.Nearest(rows, using=WAVE),
        limit=limit,
        filter=condition(where),
        params=edge.SearchParams(exact=True),
    )


def condition(where: Where) -> Any:
    must: list[Any] = [_any_of(key, words) for key, words in where.wanted()]
    must += [edge.Filter(should=[_any_of(k, one.words) for k in one.keys]) for one in where.either]
    must_not: list[Any] = [_any_of(key, words) for key, words in where.unwanted()]
    if where.ids:
        must.append(edge.HasIdCondition({uuid.UUID(name) for name in where.ids}))
    if where.since or where.until:
        span = edge.RangeDateTime(gte=where.since, lte=where.until)
        must.append(edge.FieldCondition(key="created_at", range=span))
    if where.quarantined is not None:
        held = edge.FieldCondition(key=FLAG, match=_TRUE)
        (must if where.quarantined else must_not).append(held)
    if where.valid_at is not None:
        ended = edge.RangeDateTime(lte=where.valid_at)
        must_not.append(edge.FieldCondition(key="valid_to", range=ended))
    if not must and not must_not:
        return None
    return edge.Filter(must=must or None, must_not=must_not or None)


def _any_of(key: str, words: tuple[str, ...]) -> Any:
    named = [word for word in words if word]
    match = edge.MatchValue(named[0]) if len(named) == 1 else edge.MatchAny(named)
    having = edge.FieldCondition(key=key, match=match)
    if "" not in words:
        return having
    empty = edge.IsEmptyCondition(key)
    return edge.Filter(should=[having, empty]) if named else empty
