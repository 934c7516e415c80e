"""The memories that a question means: filtered, ranked, and accounted for when there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiki_kernel.memory.asking.question import Asked, Vocabulary
from aiki_kernel.memory.payload import from_payload
from aiki_kernel.memory.records import Hit, Recall, now

if TYPE_CHECKING:
    from aiki_kernel.memory.access import View
    from aiki_kernel.memory.service import MemoryService

NEWEST = "newest"
"""The list that ranks where there is nothing to search for."""
_MOST = 1000


@dataclass(frozen=True)
class Left:
    """One filter: how many memories it lets through alone, and how many there were without it."""

    name: str
    words: str
    alone: int
    without: int

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Sifted:
    """The answer: ``memories`` in the scope, ``matching`` all filters, the best of these."""

    recall: Recall
    memories: int
    matching: int
    filters: tuple[Left, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "hits": [hit.to_json() for hit in self.recall.hits],
            "seconds": dict(self.recall.seconds),
            "backend": self.recall.backend.to_json(),
            "note": self.recall.note,
            "memories": self.memories,
            "matching": self.matching,
            "filters": [left.to_json() for left in self.filters],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], recall: Recall) -> Sifted:
        left = tuple(Left(**one) for one in data["filters"])
        return cls(recall, data["memories"], data["matching"], left)

    @property
    def reason(self) -> str:
        """Why there is nothing, and what to leave out; empty where there is something."""
        if self.matching:
            return ""
        if not self.memories:
            return "Nothing is remembered yet."
        blamed = [left for left in self.filters if not left.alone]
        lines = [
            f"No memory fits {left.name} ({left.words}): this filter removed all {self.memories:,}."
            for left in blamed
        ] or ["Each filter lets some memories through, but no memory fits them all."]
        better = [left for left in self.filters if left.without]
        lines += [
            f"Without {left.name}: {left.without:,} {_noun(left.without)} (--without {left.name})."
            for left in sorted(better, key=lambda one: -one.without)
        ]
        if not better and len(self.filters) > 1:
            lines.append("Leaving out one of them is not enough: leave out several.")
        return "\n".join(lines)


def _noun(count: int) -> str:
    return "memory" if count == 1 else "memories"


def vocabulary(memory: MemoryService, view: View) -> Vocabulary:
    """What the memories that ``view`` sees are labelled with."""
    memory.collection.store.complete()
    tally = memory.collection.store.tally
    keys = {
        "kinds": "kind",
        "roles": "role",
        "agents": "agent_id",
        "tags": "tags",
        "entities": "entities",
        "categories": "categories",
    }
    return Vocabulary(**{name: tally(key, view.where) for name, key in keys.items()})


def sift(memory: MemoryService, asked: Asked, view: View, limit: int, backend: str) -> Sifted:
    """The best ``limit`` memories that ``view`` sees for what was asked.

    Quarantined memories and those that have ended are left out. Where nothing is left to
    search for, the newest come first.
    """
    base = replace(view.where, quarantined=False, valid_at=now())
    where, store = asked.where(base), memory.collection.store
    matching = store.count(where)
    filters: tuple[Left, ...] = ()
    recall = Recall()
    if not matching:
        filters = tuple(
            Left(
                part.name,
                part.words,
                store.count(asked.where(base, only=part)),
                store.count(asked.where(base, but=part)),
            )
            for part in asked.parts
        )
    elif memory.collection.lexicon.query(asked.query) and limit > 0:
        recall = memory.find(asked.query, view, where, limit, backend=backend)
    elif limit > 0:
        points = store.latest(where, min(limit, _MOST))
        records = (from_payload(point.id, point.payload) for point in points)
        hits = [
            Hit(view.given(record), 0.0, {NEWEST: rank})
            for rank, record in enumerate(records, 1)
            if view.sees(record)
        ]
        recall = Recall(tuple(hits))
    return Sifted(recall, store.count(base), matching, filters)
