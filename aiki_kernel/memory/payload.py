"""A memory as mem0 lays it down: its keys at the top level, ours beside them.

Metadata lie flat among them, as mem0 writes them. Metadata whose name is taken go into
one nested key, ``metadata``, and come back from there.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from aiki_kernel.memory.records import Draft, Record, new_id, now

_MINE = {
    "data",
    "hash",
    "created_at",
    "updated_at",
    "user_id",
    "agent_id",
    "run_id",
    "role",
    "kind",
    "embedder",
    "provenance",
    "turn_id",
    "trust",
    "previous",
}
_TAKEN = _MINE | {"metadata", "text_lemmatized"}

NAMESPACE = uuid.UUID("6f0c1b3e-8f5d-5f0e-9d0a-41494b490001")
"""Ids that must come out the same on a replay are uuid5 in this namespace."""


def derived_id(*parts: str) -> str:
    """A point id that is the same for the same ``parts``."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join(parts)))


def point_id(given: object) -> str | None:
    """``given`` as a point id; something that is no UUID gets one derived from it."""
    if given is None or given == "":
        return None
    try:
        return str(uuid.UUID(str(given)))
    except ValueError:
        return derived_id("foreign", str(given))


def digest(text: str) -> str:
    """mem0's ``hash``: md5 in hex. It finds equal texts; it guards nothing."""
    return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def to_record(draft: Draft, embedder: str) -> Record:
    """The record that ``draft`` becomes; what it leaves open is filled in."""
    created = draft.created_at or now()
    return Record(
        id=draft.id or new_id(),
        data=draft.text,
        user_id=draft.scope.user_id,
        agent_id=draft.scope.agent_id,
        run_id=draft.scope.run_id,
        hash=digest(draft.text),
        created_at=created,
        updated_at=draft.updated_at or created,
        kind=draft.kind,
        role=draft.role,
        embedder=embedder,
        provenance=dict(draft.provenance),
        metadata=dict(draft.metadata),
        turn_id=draft.turn_id,
        trust=draft.trust,
        previous=draft.previous,
    )


def to_payload(record: Record) -> dict[str, Any]:
    """What is stored. Keys without a value are left out, as mem0 does."""
    payload: dict[str, Any] = {
        key: value for key, value in record.metadata.items() if key not in _TAKEN
    }
    taken = {key: value for key, value in record.metadata.items() if key in _TAKEN}
    if taken:
        payload["metadata"] = taken
    for key in _MINE:
        value = getattr(record, key)
        if value not in (None, "", {}):
            payload[key] = dict(value) if isinstance(value, Mapping) else value
    payload["data"] = record.data
    payload["text_lemmatized"] = record.data
    return payload


def noted(payload: Mapping[str, Any], notes: Mapping[str, Any]) -> dict[str, Any]:
    """``payload`` with other metadata; None takes a key away. The keys of a record stay as they
    are: a note of such a name goes where metadata of that name go."""
    out = dict(payload)
    nested = dict(out.get("metadata") or {})
    for key, value in notes.items():
        home = nested if key in _TAKEN else out
        if value is None:
            home.pop(key, None)
        else:
            home[key] = value
    if nested:
        out["metadata"] = nested
    else:
        out.pop("metadata", None)
    return out


def from_payload(point: str, payload: Mapping[str, Any]) -> Record:
    """The record that a payload of ours, or of mem0, describes."""
    nested = payload.get("metadata")
    metadata = {key: value for key, value in payload.items() if key not in _TAKEN}
    if isinstance(nested, Mapping):
        metadata.update(nested)
    data = str(payload.get("data") or "")
    created = str(payload.get("created_at") or "")
    provenance = payload.get("provenance")
    role = payload.get("role")
    return Record(
        id=point,
        data=data,
        user_id=str(payload.get("user_id") or ""),
        agent_id=payload.get("agent_id"),
        run_id=payload.get("run_id"),
        hash=str(payload.get("hash") or digest(data)),
        created_at=created,
        updated_at=str(payload.get("updated_at") or created),
        kind=str(payload.get("kind") or ("message" if role else "fact")),
        role=role,
        embedder=payload.get("embedder"),
        provenance=provenance if isinstance(provenance, Mapping) else {},
        metadata=metadata,
        turn_id=payload.get("turn_id"),
        trust=str(payload.get("trust") or "import"),
        previous=str(payload.get("previous") or ""),
    )
