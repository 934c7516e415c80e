"""Points and filters in qdrant-client's own types, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from qdrant_client import models

from aiki_kernel.memory.lexical import Sparse
from aiki_kernel.memory.store import FLAG, SLOTS, Point, Where
from aiki_kernel.memory.wave import DIMENSION
from aiki_kernel.memory.wave import SLOT as WAVE
from aiki_kernel.memory.wave_vector import vectors_in


def native(point: Point, slots: frozenset[str], *, waves: bool = False) -> models.PointStruct:
    """``waves`` says that the collection has the vector of that name."""
    assert point.vector is not None
    vector: dict[str, Any] = {"": point.vector.tolist()}
    vector.update(
        {slot: sparse(words) for slot, words in point.sparse.items() if words and slot in slots}
    )
    rows = vectors_in(point.payload) if waves else None
    if rows is not None:
        vector[WAVE] = rows
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


def wave_slot() -> models.DenseVectorNameConfig:
    """What the vector ``wave`` is: rows, compared by MaxSim of cosines."""
    several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    return models.DenseVectorNameConfig(
        dense=models.DenseVectorConfig(
            size=DIMENSION, distance=models.Distance.COSINE, multivector_config=several
        )
    )


def condition(where: Where) -> models.Filter | None:
    must: list[Any] = [_any_of(key, words) for key, words in where.wanted()]
    must += [
        models.Filter(should=[_any_of(key, one.words) for key in one.keys]) for one in where.either
    ]
    must_not: list[Any] = [_any_of(key, words) for key, words in where.unwanted()]
    if where.ids:
        must.append(models.HasIdCondition(has_id=list(where.ids)))
    if where.since or where.until:
        span = models.DatetimeRange.model_validate({"gte": where.since, "lte": where.until})
        must.append(models.FieldCondition(key="created_at", range=span))
    if where.quarantined is not None:
        held = models.FieldCondition(key=FLAG, match=models.MatchValue(value=True))
        (must if where.quarantined else must_not).append(held)
    if where.valid_at is not None:
        ended = models.DatetimeRange.model_validate({"lte": where.valid_at})
        must_not.append(models.FieldCondition(key="valid_to", range=ended))
    if not must and not must_not:
        return None
    return models.Filter(must=must or None, must_not=must_not or None)


def _any_of(key: str, words: tuple[str, ...]) -> Any:
    named = [word for word in words if word]
    match: models.MatchAny | models.MatchValue
    match = models.MatchValue(value=named[0]) if len(named) == 1 else models.MatchAny(any=named)
    having = models.FieldCondition(key=key, match=match)
    if "" not in words:
        return having
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
    return models.Filter(should=[having, empty]) if named else empty
