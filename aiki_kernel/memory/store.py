"""MemoryStore: the one door to Qdrant, embedded or served.

A point on disk is mem0's: an unnamed dense cosine vector, a sparse vector ``bm25`` with
inverse document frequency, a UUID, a flat payload. Ours adds the sparse slot
``bm25_turn``. Slots that an older collection lacks and that cannot be added are absent
from :attr:`MemoryStore.slots`, and recall goes on without that list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aiki_kernel.memory.lexical import Sparse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW = "bm25"
TURN = "bm25_turn"
SLOTS = (WINDOW, TURN)

KEYWORDS = ("user_id", "agent_id", "run_id", "actor_id", "kind", "turn_id", "hash", "embedder")
"""Payload keys with a keyword index; ``user_id`` marks the tenant. ``created_at`` has a
datetime index besides."""


@dataclass(frozen=True)
class Point:
    """What a store holds. ``vector``: (d,) float32, None when it was not asked for."""

    id: str
    payload: Mapping[str, Any]
    vector: NDArray[np.float32] | None = None
    sparse: Mapping[str, Sparse] = field(default_factory=dict)


@dataclass(frozen=True)
class Where:
    """A filter in neutral words; every field that is set must hold.

    ``since`` and ``until`` are ISO-8601 and include their ends; ``not_embedder`` matches
    points written by any other embedder, or by none that is known.
    """

    user_id: str | None = None
    agent_id: str | None = None
    run_id: str | None = None
    kind: str | None = None
    turn_ids: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    exclude_turns: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    not_embedder: str | None = None

    def matches(self) -> dict[str, str | tuple[str, ...]]:
        """Payload keys and the value, or any of the values, that they must have."""
        wanted: dict[str, str | tuple[str, ...] | None] = {
            "user_id": self.user_id,
            "agent_id": self.agent_id,
            "run_id": self.run_id,
            "kind": self.kind,
            "turn_id": self.turn_ids or None,
            "hash": self.hashes or None,
        }
        return {key: value for key, value in wanted.items() if value is not None}


Scored = list[tuple[str, float]]
"""Ids and scores, best first."""


class MemoryStore(Protocol):
    """Points, filters and searches. All methods are thread-safe and raise ``StoreError``."""

    @property
    def kind(self) -> str:
        """``embedded`` or ``server``."""
        ...

    @property
    def dimension(self) -> int:
        """Length of the dense vectors."""
        ...

    @property
    def slots(self) -> frozenset[str]:
        """The sparse vectors that this collection has, of :data:`SLOTS`."""
        ...

    def upsert(self, points: Sequence[Point], *, wait: bool = True) -> None:
        """Write points, each whole; durable when this returns, or without ``wait`` when
        :meth:`flush` does. Either way they are found at once and outlive a killed process."""
        ...

    def set_sparse(self, vectors: Mapping[str, Mapping[str, Sparse]]) -> None:
        """Replace single sparse vectors (id -> slot -> vector); skips points that are gone.

        They follow from the texts, so this may be durable later than when it returns.
        """
        ...

    def set_payloads(self, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the whole payload of points, whose vectors stay; skips points that are gone.

        Found at once and outlives a killed process; durable when :meth:`flush` returns.
        """
        ...

    def delete(self, ids: Sequence[str], *, wait: bool = True) -> None:
        """Remove points; durable as in :meth:`upsert`. Unknown ids are no error."""
        ...

    def flush(self) -> None:
        """Everything written so far is durable when this returns."""
        ...

    def get(self, ids: Sequence[str]) -> list[Point]:
        """The points that exist, in the order asked for, without vectors."""
        ...

    def search(
        self,
        vector: NDArray[np.float32] | None,
        words_by_slot: Mapping[str, Sparse],
        where: Where,
        limit: int,
    ) -> dict[str, Scored]:
        """One list a method: ``dense`` (exact cosine) where there is a vector, and each slot
        asked for that exists."""
        ...

    def similarity(self, vector: NDArray[np.float32], ids: Sequence[str]) -> dict[str, float]:
        """Cosine of ``vector`` (d,) with the given points."""
        ...

    def latest(self, where: Where, limit: int, *, oldest_first: bool = False) -> list[Point]:
        """Points by ``created_at``, newest first unless asked otherwise."""
        ...

    def scroll(
        self, where: Where, limit: int, after: str | None = None, *, vectors: bool = False
    ) -> tuple[list[Point], str | None]:
        """Points by id, and the id to go on ``after`` (None at the end)."""
        ...

    def count(self, where: Where) -> int:
        """How many points match, exactly."""
        ...

    def tally(self, key: str, where: Where) -> dict[str, int]:
        """How many points have each value of an indexed ``key``."""
        ...

    def rebuild(self, dimension: int, embedder: str, fill: Callable[[MemoryStore], None]) -> None:
        """Put a new collection in this one's place.

        ``fill`` writes into the new one while this one goes on serving; then the two are
        switched in one step. A process killed on the way leaves this one as it was.
        """
        ...

    def identity(self) -> tuple[str | None, int]:
        """The embedder (None when unknown or mixed) and the dimension of what is stored."""
        ...

    def close(self) -> None:
        """Make everything durable and let go of the folder or the connection."""
        ...
