"""MemoryStore: the one door to Qdrant, embedded or served.

A point on disk is mem0's: an unnamed dense cosine vector, a sparse vector ``bm25`` with
inverse document frequency, a UUID, a flat payload. Ours adds the sparse slot
``bm25_turn``. Slots that an older collection lacks and that cannot be added are absent
from :attr:`MemoryStore.slots`, and recall goes on without that list.

A memory of a sensor has one more vector, ``wave``: a row a channel, compared by MaxSim. It
follows from the payload (``wave_vector.py``), so whatever carries a payload, be it the journal,
an import, a snapshot or a re-embedding, carries it as well, and there is no second write that a
crash could cut off from the first. It is a named vector of the same collection and not a second
collection: Qdrant's engine, its server (since 1.18) and its client in memory all add one beside
the unnamed vector when the first pattern is written, points without it cost nothing, and mem0
(2.2.1 was tried) goes on reading, searching and writing what it knows.
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

LABELS = ("tags", "entities", "categories")
"""Payload keys that hold a list of words, in lower case."""

KEYWORDS = (
    "user_id",
    "agent_id",
    "run_id",
    "actor_id",
    "kind",
    "turn_id",
    "hash",
    "embedder",
    "trust",
    "role",
    *LABELS,
)
"""Payload keys with a keyword index; ``user_id`` marks the tenant."""

TIMES = ("created_at", "valid_to")
"""Payload keys with a datetime index."""

FLAG = "quarantined"
"""The payload key with an index for booleans: true where a memory is held back."""


@dataclass(frozen=True)
class Point:
    """What a store holds. ``vector``: (d,) float32, None when it was not asked for."""

    id: str
    payload: Mapping[str, Any]
    vector: NDArray[np.float32] | None = None
    sparse: Mapping[str, Sparse] = field(default_factory=dict)


@dataclass(frozen=True)
class Either:
    """One of ``words`` under one of ``keys``: Kari as speaker or as somebody spoken of."""

    keys: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Where:
    """A filter in neutral words; every field that is set must hold.

    Fields that are tuples ask for any of their words; an empty word among them stands for
    memories that have none under that key (nobody's ``agent_id``, say). ``since`` and
    ``until`` are ISO-8601 and include their ends. ``not_embedder`` matches points written by
    any other embedder, or by none that is known. ``quarantined`` asks for those that are, or
    for those that are not. ``valid_at`` leaves out what had ended by then (``valid_to``).
    ``either`` are further conditions over several keys at once.
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
    agent_ids: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    exclude_kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    trusts: tuple[str, ...] = ()
    quarantined: bool | None = None
    valid_at: str | None = None
    roles: tuple[str, ...] = ()
    either: tuple[Either, ...] = ()

    def wanted(self) -> list[tuple[str, tuple[str, ...]]]:
        """Payload keys and the words of which a memory must have one."""
        trusts = self.trusts
        if "import" in trusts:  # what does not say who vouches for it was imported
            trusts = (*trusts, "")
        asked = (
            ("user_id", _one(self.user_id)),
            ("agent_id", _one(self.agent_id)),
            ("agent_id", self.agent_ids),
            ("run_id", _one(self.run_id)),
            ("kind", _one(self.kind)),
            ("kind", self.kinds),
            ("turn_id", self.turn_ids),
            ("hash", self.hashes),
            ("trust", trusts),
            ("role", self.roles),
            ("tags", self.tags),
            ("entities", self.entities),
            ("categories", self.categories),
        )
        return [(key, words) for key, words in asked if words]

    def unwanted(self) -> list[tuple[str, tuple[str, ...]]]:
        """Payload keys and the words of which a memory must have none."""
        asked = (
            ("turn_id", self.exclude_turns),
            ("kind", self.exclude_kinds),
            ("embedder", _one(self.not_embedder)),
        )
        return [(key, words) for key, words in asked if words]


def _one(word: str | None) -> tuple[str, ...]:
    return () if word is None else (word,)


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

    def complete(self) -> None:
        """Give a collection of an older version what filters need to be fast."""
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

    def search_waves(self, rows: NDArray[np.float32], where: Where, limit: int) -> Scored:
        """Memories with wave patterns like ``rows`` (k, d): for each row its best cosine with
        a channel of the memory, and of those the mean. Nothing where no pattern is stored."""
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
