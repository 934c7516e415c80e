"""Who is next: waiting work of many sessions, by priority and in fair turns.

The rules. Cells go before curation, and curation begins only while no cell waits or runs.
Among sessions, the one with the least under way is next, then the one that was served
longest ago, then the one that came first; within a session, first come first served. The last
quarter of the places is kept for sessions of which nothing waits yet, so that one notebook
that sends all its cells at once does not shut the others out.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar, get_args

Priority = Literal["cell", "curation"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""Highest first."""

_REMEMBERED = 256  # sessions whose last turn is known

T = TypeVar("T")


@dataclass(frozen=True)
class Place(Generic[T]):
    """One place in the line; ``number`` counts up, ``since`` is ``time.monotonic()``."""

    item: T
    session: str
    priority: Priority
    number: int
    since: float = field(default_factory=time.monotonic)


class WaitingLine(Generic[T]):
    """The places of one queue. Not thread-safe: its owner holds a lock."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._places: dict[tuple[Priority, str], deque[Place[T]]] = {}
        self._served: dict[str, int] = {}  # session -> its last turn, oldest first
        self._clock = 0

    def __len__(self) -> int:
        return sum(len(places) for places in self._places.values())

    def count(self, priority: Priority) -> int:
        """How many of ``priority`` wait."""
        return sum(len(one) for (kind, _), one in self._places.items() if kind == priority)

    def has_room(self, session: str, priority: Priority, begun: int) -> bool:
        """Whether one more may wait. ``begun`` are waiting ones for which a thread is free."""
        mine = len(self._places.get((priority, session), ()))
        kept = self.limit // 4 if mine and priority == "cell" else 0
        return self.count(priority) - begun < self.limit - kept

    def put(self, item: T, session: str, priority: Priority) -> Place[T]:
        """Take the next place behind the session's others."""
        self._clock += 1
        place = Place(item, session, priority, self._clock)
        self._places.setdefault((priority, session), deque()).append(place)
        return place

    def take(self, running: Mapping[str, int] | None = None, *, cells: int = 0) -> Place[T] | None:
        """The next one, which leaves the line; None when nobody may begin.

        ``running`` counts what is under way by session, ``cells`` how many of it are cells.
        """
        under_way = running or {}
        for priority in PRIORITIES:
            if priority == "curation" and cells:
                return None
            heads = [one[0] for (kind, _), one in self._places.items() if kind == priority]
            if heads:
                chosen = min(
                    heads,
                    key=lambda one: (
                        under_way.get(one.session, 0),
                        self._served.get(one.session, 0),
                        one.number,
                    ),
                )
                self.leave(chosen)
                self._note(chosen.session)
                return chosen
        return None

    def leave(self, place: Place[T]) -> bool:
        """Give a place up; whether it still waited."""
        key = (place.priority, place.session)
        mine = self._places.get(key)
        if mine is None or place not in mine:
            return False
        mine.remove(place)
        if not mine:
            del self._places[key]
        return True

    def clear(self) -> list[T]:
        """Everything that waits, which leaves the line."""
        places = sorted((p for one in self._places.values() for p in one), key=lambda p: p.number)
        self._places.clear()
        return [place.item for place in places]

    def by_session(self) -> dict[str, int]:
        """Waiting ones of each session, most first; cells and curation together."""
        counts: Counter[str] = Counter()
        for (_, session), places in self._places.items():
            counts[session] += len(places)
        return dict(counts.most_common())

    def oldest_s(self) -> float:
        """Seconds that the longest waiting cell has waited; 0 when none does."""
        heads = [one[0].since for (kind, _), one in self._places.items() if kind == "cell"]
        return max(0.0, time.monotonic() - min(heads)) if heads else 0.0

    def _note(self, session: str) -> None:
        self._clock += 1
        self._served.pop(session, None)
        self._served[session] = self._clock
        while len(self._served) > _REMEMBERED:
            del self._served[next(iter(self._served))]
