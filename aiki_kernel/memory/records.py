"""What travels between the loop and the memory: plain frozen data, no store behind it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any


def now() -> str:
    """The present as mem0 writes it: ISO-8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def new_id() -> str:
    """A fresh point id (UUID4)."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Scope:
    """Whose memories a query may see. The daemon turns it into the store's filter.

    ``persona`` is who asks; the daemon looks up what it may. "" is the user himself.
    """

    user_id: str
    agent_id: str | None = None
    run_id: str | None = None
    persona: str = ""


@dataclass(frozen=True)
class Record:
    """One memory. Field names are mem0's payload keys; ``metadata`` lies flat beside them.

    A ``kind`` of ``message`` is one side of a turn: its neighbours in the same ``run_id``
    make the lexical window. ``previous`` stands in for neighbours that the store does not
    have. ``trust`` says who vouches for the text: user, model, import, sensor or tool.
    """

    id: str
    data: str
    user_id: str
    hash: str
    created_at: str
    updated_at: str
    kind: str = "fact"
    role: str | None = None
    agent_id: str | None = None
    run_id: str | None = None
    embedder: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    turn_id: str | None = None
    trust: str = "user"
    previous: str = ""

    def to_json(self) -> dict[str, Any]:
        """A plain dict of all fields."""
        return asdict(self)


@dataclass(frozen=True)
class Draft:
    """A memory that is to be written. What is None is made up: a fresh id, the present."""

    text: str
    scope: Scope
    kind: str = "fact"
    role: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    created_at: str | None = None
    updated_at: str | None = None
    id: str | None = None
    turn_id: str | None = None
    trust: str = "user"
    previous: str = ""


@dataclass(frozen=True)
class ImportReport:
    """What became of an import; ``failed`` is (where, why), one line each."""

    added: int = 0
    skipped: int = 0
    failed: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A plain dict; ``failed`` becomes objects with source and reason."""
        return {
            "added": self.added,
            "skipped": self.skipped,
            "failed": [{"source": where, "reason": why} for where, why in self.failed],
        }


@dataclass(frozen=True)
class Hit:
    """A recalled memory: ``score`` is the fused one, ``ranks`` and ``scores`` are per list."""

    record: Record
    score: float
    ranks: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The memory's id."""
        return self.record.id

    @property
    def text(self) -> str:
        """The memory's text."""
        return self.record.data

    def to_json(self) -> dict[str, Any]:
        """A plain dict: the record's fields, the score and where each list ranked it."""
        return {
            **self.record.to_json(),
            "score": self.score,
            "ranks": dict(self.ranks),
            "scores": dict(self.scores),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Hit:
        """The reverse of :meth:`to_json`."""
        fields = {k: data[k] for k in Record.__dataclass_fields__ if k in data}
        return cls(Record(**fields), data["score"], data.get("ranks", {}), data.get("scores", {}))


@dataclass(frozen=True)
class Searched:
    """Who searched the vectors, why that one, and how many milliseconds it took."""

    name: str = ""
    reason: str = ""
    ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A small dict, as an answer's metadata keep it."""
        ms = None if self.ms is None else round(self.ms, 3)
        return {"name": self.name, "reason": self.reason, "ms": ms}

    @classmethod
    def from_json(cls, data: Any) -> Searched:
        """The reverse of :meth:`to_json`; a bare name (of an older daemon) is one as well."""
        if not isinstance(data, Mapping):
            return cls(str(data or ""))
        return cls(str(data.get("name", "")), str(data.get("reason", "")), data.get("ms"))


@dataclass(frozen=True)
class Dropped:
    """A memory that was found and is no hit. ``why``: duplicate (its text is that of memory
    ``of``, which ranked higher), expired, redundant (it gave way: ``memory.ranking``), sensors
    (enough of these are hits), or health (noted by its daemon, and nobody asked of faults)."""

    id: str
    why: str
    score: float
    of: str = ""
    ranks: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    turn_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """A plain dict of all fields."""
        return {
            "id": self.id,
            "why": self.why,
            "score": round(self.score, 4),
            "of": self.of,
            "ranks": dict(self.ranks),
            "scores": {name: round(score, 4) for name, score in self.scores.items()},
            "turn_id": self.turn_id,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Dropped:
        """The reverse of :meth:`to_json`."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


@dataclass(frozen=True)
class Recall:
    """The answer to a recall. ``seconds`` are the store's stages (embed, search, fuse);
    ``dropped`` was found on the way to the last hit and is none."""

    hits: tuple[Hit, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    backend: Searched = field(default_factory=Searched)
    note: str = ""
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True)
class Turn:
    """One exchange, ready to be remembered. ``id`` makes a replay harmless: same id, same memory.

    ``previous`` is the text of the turn before (for the lexical window); ``replaces`` is
    the id of the turn that a rerun of the same cell supersedes.
    """

    id: str
    user_id: str
    session_id: str
    question: str
    answer: str
    model: str
    created_at: str
    previous: str = ""
    replaces: str | None = None
    interrupted: bool = False
    persona: str = "default"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Turn:
        return cls(**{k: data[k] for k in cls.__dataclass_fields__ if k in data})


@dataclass(frozen=True)
class Stored:
    """What became of a turn: the memories' ids when durable in the store; ``spooled`` when it
    waits on disk for a store that is away, and then ``note`` is the line for the user."""

    ids: tuple[str, ...]
    spooled: bool = False
    note: str = ""
