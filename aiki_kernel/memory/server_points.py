"""Points and filters in qdrant-client's own types, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from qdrant_client import models

from aiki_kernel.memory.lexical import Sparse
from aiki_kernel.memory.store import SLOTS, Point, Where


def native(point: Point, slots: frozenset[str]) -> models.PointStruct:
    assert point.vector is not None
    vector: dict[str, Any] = {"": point.vector.tolist()}
    vector.update(
        {slot: sparse(words) for slot, words in point.sparse.items() if words and slot in slots}
    )
    return models.PointStruct(id=point.id, vector=vector, payload=dict(point.payload))


def point(record: models.Record) -> Point:
    """A server gives a lone unnamed vector as a list, and with others under the name ``""``."""
    given: Any = record.vector
    vectors: dict[str, Any] = given if isinstance(given, dict) else {"": given}
    dense = vectors.get("")
    return Point(
        str(record.id),
        record.payload or {},
        np.asarray(dense, np.float32) if dense is not None else None,
        {
            slot: Sparse(tuple(vectors[slot].indices), tuple(vectors[slot].values))
            for slot in SLOTS
            if slot in vectors
        },
    )


def sparse(words: Sparse) -> models.SparseVector:
    return models.SparseVector(indices=list(words.indices), values=list(words.values))


def condition(where: Where) -> models.Filter | None:
    must: list[Any] = []
    must_not: list[Any] = []
    match: models.MatchAny | models.MatchValue
    for key, value in where.matches().items():
        if isinstance(value, str):
            match = models.MatchValue(value=value)
        else:
            match = models.MatchAny(any=list(value))
        must.append(models.FieldCondition(key=key, match=match))
    if where.ids:
        must.append(models.HasIdCondition(has_id=list(where.ids)))
    if where.since or where.until:
        span = models.DatetimeRange.model_validate({"gte": where.since, "lte": where.until})
        must.append(models.FieldCondition(key="created_at", range=span))
    if where.exclude_turns:
        match = models.MatchAny(any=list(where.exclude_turns))
        must_not.append(models.FieldCondition(key="turn_id", match=match))
    if where.not_embedder is not None:
        match = models.MatchValue(value=where.not_embedder)
        must_not.append(models.FieldCondition(key="embedder", match=match))
    if not must and not must_not:
        return None
    return models.Filter(must=must or None, must_not=must_not or None)
