"""Ranking anew: recency and importance that decay, and variety among what is recalled.

The best of the fused list (``memory.ranking.pool`` of them) gain::

    recency    * 2 ** (-age / recency_half_life_days)
    importance * metadata["importance"] * 2 ** (-age / importance_half_life_days)

on the scale of the fused score, where a list of weight 1 gives one per standard deviation.
Then maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) takes one after the
other: the greatest ``(1 - d) * relevance - d * likeness``, with the relevance scaled to 0..1
over the pool, and the likeness that to the nearest memory taken before, by cosine. The
cosines of some embedders (E5) all lie near one another, so likeness is measured from their
median in the pool: 0 is what is usual there, 1 is the same text.

All of it is off by default and then costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aiki_kernel.memory.recall import Candidate
from aiki_kernel.memory.window import moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aiki_kernel.config_ranking import Ranking
    from aiki_kernel.memory.backends import DenseSearch

NEUTRAL = 0.5
"""The importance of a memory that nobody judged."""
_DAY_S = 86_400.0


def ranked(
    search: DenseSearch,
    found: Sequence[Candidate],
    ranking: Ranking,
    limit: int,
    at: float,
) -> list[Candidate]:
    """``found`` in the new order. ``at`` is the present, in seconds since 1970."""
    if not ranking.on or len(found) < 2:
        return list(found)
    most = max(ranking.pool, limit)
    pool, ids = list(found[:most]), [one.id for one in found[:most]]
    if ranking.recency or ranking.importance:
        payloads = {point.id: point.payload for point in search.store.get(ids)}
        gained = [
            replace(one, score=one.score + gain(payloads.get(one.id, {}), ranking, at))
            for one in pool
        ]
        pool = sorted(gained, key=lambda one: -one.score)
    if ranking.diversity:
        vectors = search.vectors(ids)
        known = [one for one in pool if one.id in vectors]
        pool = diverse(known, np.array([vectors[one.id] for one in known]), ranking.diversity)
    return [*pool, *found[most:]]


def gain(payload: Mapping[str, Any], ranking: Ranking, at: float) -> float:
    """What a memory gains by its age and importance; without a date it counts as old."""
    born = moment(str(payload.get("created_at") or ""))
    if born is None:
        return 0.0
    days = max(at - born, 0.0) / _DAY_S
    given = payload.get("importance")
    judged = isinstance(given, int | float) and not isinstance(given, bool)
    importance = min(max(float(given), 0.0), 1.0) if judged else NEUTRAL  # type: ignore[arg-type]
    return float(
        ranking.recency * 2 ** (-days / ranking.recency_half_life_days)
        + ranking.importance * importance * 2 ** (-days / ranking.importance_half_life_days)
    )


def diverse(
    pool: Sequence[Candidate], vectors: NDArray[np.float32], diversity: float
) -> list[Candidate]:
    """``pool`` by maximal marginal relevance; ``vectors`` (n, d) are its own, in order."""
    if len(pool) < 2:
        return list(pool)
    like = likeness(vectors)
    scores = np.array([one.score for one in pool])
    spread = float(scores.max() - scores.min())
    relevance = (scores - scores.min()) / spread if spread > 1e-9 else np.ones(len(pool))
    nearest = np.zeros(len(pool))
    free = np.ones(len(pool), np.bool_)
    order: list[int] = []
    for _ in range(len(pool)):
        worth = np.where(free, (1 - diversity) * relevance - diversity * nearest, -np.inf)
        best = int(np.argmax(worth))
        order.append(best)
        free[best] = False
        nearest = np.maximum(nearest, like[best])
    return [pool[place] for place in order]


def likeness(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """How like rows (n, d) are one another, (n, n) in 0..1: cosine above the pool's median."""
    wide = vectors.astype(np.float64)
    wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    cosines = wide @ wide.T
    usual = float(np.median(cosines[~np.eye(len(wide), dtype=np.bool_)]))
    out: NDArray[np.float64] = np.clip((cosines - usual) / max(1 - usual, 1e-9), 0.0, 1.0)
    return out


def redundancy(vectors: NDArray[np.float32]) -> float:
    """Mean over all rows but the first of the greatest cosine with a row before it."""
    wide = vectors.astype(np.float64)
    wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    cosines = wide @ wide.T
    return (
        float(np.mean([cosines[n, :n].max() for n in range(1, len(wide))]))
        if len(wide) > 1
        else 0.0
    )
