"""Points and filters in qdrant-edge's own types, and back."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import qdrant_edge as edge

from aiki_kernel.memory.lexical import Sparse
from aiki_kernel.memory.store import SLOTS, Point, Where


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
    return edge.Point(id=uuid.UUID(point.id), vector=vector, payload=dict(point.payload))


def sparse(words: Sparse) -> Any:
    return edge.SparseVector(indices=list(words.indices), values=list(words.values))


def condition(where: Where) -> Any:
    must: list[Any] = []
    must_not: list[Any] = []
    for key, value in where.matches().items():
        match = edge.MatchValue(value) if isinstance(value, str) else edge.MatchAny(list(value))
        must.append(edge.FieldCondition(key=key, match=match))
    if where.ids:
        must.append(edge.HasIdCondition({uuid.UUID(name) for name in where.ids}))
    if where.since or where.until:
        span = edge.RangeDateTime(gte=where.since, lte=where.until)
        must.append(edge.FieldCondition(key="created_at", range=span))
    if where.exclude_turns:
        match = edge.MatchAny(list(where.exclude_turns))
        must_not.append(edge.FieldCondition(key="turn_id", match=match))
    if where.not_embedder is not None:
        match = edge.MatchValue(where.not_embedder)
        must_not.append(edge.FieldCondition(key="embedder", match=match))
    if not must and not must_not:
        return None
    return edge.Filter(must=must or None, must_not=must_not or None)
