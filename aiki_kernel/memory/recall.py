"""Recall: three ranked lists, one score.

The dense vector is over the message alone (dense gets worse on windows), ``bm25`` over its
window and date, ``bm25_turn`` over the message alone. Each list is turned into standard
scores over all candidates of any list, weighed and summed: reciprocal ranks throw away
how sure a list is, which is what tells a paraphrase (dense) from a name (lexical). The
weights are settings; ``aiki bench recall`` says what they are worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiki_kernel.memory.lexical import Lexicon
from aiki_kernel.memory.store import SLOTS, TURN, WINDOW, Scored, Where

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aiki_kernel.memory.backends import DenseSearch, Found


_USUAL = 20


@dataclass(frozen=True)
class Candidate:
    """One id with its fused score and, per list that found it, rank (from 1) and raw score."""

    id: str
    score: float
    ranks: Mapping[str, int]
    scores: Mapping[str, float]


def candidates(
    search: DenseSearch,
    lexicon: Lexicon,
    query: str,
    vector: NDArray[np.float32],
    where: Where,
    *,
    depth: int,
    weights: Mapping[str, float],
    backend: str = "auto",
) -> tuple[list[Candidate], Found]:
    """All candidates for ``query``, best first, and who searched the vectors.

    ``weights`` by list: dense, bm25, bm25_turn. ``depth`` is how far down each list is read.
    """
    words = lexicon.query(query)
    slots = search.store.slots
    sparse = {slot: words for slot in SLOTS if slot in slots and weights.get(slot)}
    found = search.lists(vector, sparse, where, depth, backend)
    named = {name for scored in found.lists.values() for name, _ in scored}
    dense = dict(found.lists["dense"])
    missing = sorted(named - dense.keys())
    if missing:
        dense.update(search.similarity(vector, missing, found))
    return fuse(found.lists, dense, depth, weights), found


def fuse(
    lists: Mapping[str, Scored],
    dense: Mapping[str, float],
    depth: int,
    weights: Mapping[str, float],
) -> list[Candidate]:
    """Weighted sum of standard scores. ``dense`` knows every candidate of any list.

    Somebody whom a lexical list does not name scores nothing there, or, where the list was
    cut at ``depth``, what its last one scores. A handful of candidates says nothing of what
    is usual, so that the only memory there is would score nothing: up to :data:`_USUAL`, others
    are imagined that share no word with the question and are no nearer than the farthest.
    """
    ids = sorted({name for scored in lists.values() for name, _ in scored})
    if not ids:
        return []
    place = {name: number for number, name in enumerate(ids)}
    total = np.zeros(len(ids))
    ranks: list[dict[str, int]] = [{} for _ in ids]
    scores: list[dict[str, float]] = [{} for _ in ids]
    for method, scored in lists.items():
        floor = scored[-1][1] if len(scored) >= depth else 0.0
        values = np.full(len(ids), floor)
        if method == "dense":
            values[:] = [dense.get(name, floor) for name in ids]
        for rank, (name, score) in enumerate(scored, 1):
            values[place[name]] = score
            ranks[place[name]][method] = rank
            scores[place[name]][method] = score
        usual = np.full(max(_USUAL - len(ids), 0), values.min() if method == "dense" else 0.0)
        scale = np.concatenate([values, usual])
        spread = scale.std()
        if spread > 1e-9:
            total += weights.get(method, 0.0) * (values - scale.mean()) / spread
    order = np.argsort(-total, kind="stable")
    return [Candidate(ids[i], float(total[i]), ranks[i], scores[i]) for i in order]


def reciprocal_ranks(lists: Mapping[str, Scored], k: int) -> list[str]:
    """Ids by reciprocal rank fusion, for comparison (Cormack, Clarke, Büttcher 2009)."""
    total: dict[str, float] = {}
    for scored in lists.values():
        for rank, (name, _) in enumerate(scored, 1):
            total[name] = total.get(name, 0.0) + 1 / (k + rank)
    return sorted(total, key=lambda name: -total[name])


def mem0_order(dense: Scored, lexical: Mapping[str, float], words: int) -> list[str]:
    """Ids as mem0 2.x orders them, for comparison: BM25 may reorder dense's list, never add.

    Dense below 0.1 is dropped; BM25 goes through a sigmoid whose middle and slope depend on
    the number of query words; the sum is divided by its greatest possible value, which
    changes no order and is left out (mem0/memory/main.py and utils/scoring.py, 2026-08).
    """
    middle, slope = next(
        pair
        for most, pair in (
            (3, (5.0, 0.7)),
            (6, (7.0, 0.6)),
            (9, (9.0, 0.5)),
            (15, (10.0, 0.5)),
            (10**9, (12.0, 0.5)),
        )
        if words <= most
    )

    def score(name: str, cosine: float) -> float:
        raw = lexical.get(name, 0.0)
        return cosine + (1 / (1 + float(np.exp(-slope * (raw - middle)))) if raw > 0 else 0.0)

    kept = [(name, score(name, cosine)) for name, cosine in dense if cosine >= 0.1]
    return [name for name, _ in sorted(kept, key=lambda pair: -pair[1])]


def distinct(ranked: Sequence[tuple[Candidate, str]], limit: int) -> list[Candidate]:
    """The first ``limit`` candidates whose text (given by its hash) is not among those before."""
    seen: set[str] = set()
    out = []
    for candidate, text in ranked:
        if text not in seen:
            seen.add(text)
            out.append(candidate)
            if len(out) == limit:
                break
    return out


def list_weights(dense: float, window: float, turn: float) -> dict[str, float]:
    """Settings' weights under the names of the lists."""
    return {"dense": dense, WINDOW: window, TURN: turn}
