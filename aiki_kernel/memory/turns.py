"""From what callers say to what is stored: drafts checked, and a turn split into its two sides."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.payload import derived_id, point_id
from aiki_kernel.memory.records import Draft, Scope, Turn, now
from aiki_kernel.memory.window import moment

ROLES = ("user", "assistant")


def side_id(turn_id: str, role: str) -> str:
    """The id of one side of a turn: the same on every replay."""
    return derived_id("turn", turn_id, role)


def checked(draft: Draft) -> Draft:
    if not draft.text.strip():
        raise StoreError("A memory needs a text: none was given.")
    if not draft.scope.user_id:
        raise StoreError("A memory needs a user: set memory.user_id.")
    if draft.created_at and moment(draft.created_at) is None:
        raise StoreError(f"{draft.created_at!r} is not a date: write it as 2026-11-21T09:30:00Z.")
    return replace(draft, id=point_id(draft.id))


def sides(turn: Turn) -> list[Draft]:
    """Question and answer of a turn; the answer comes one microsecond later, to keep the order."""
    shared: dict[str, Any] = {"model": turn.model}
    if turn.interrupted:
        shared["interrupted"] = True
    asked = turn.created_at
    seconds = moment(asked)
    if seconds is None:
        asked, seconds = now(), time.time()
    answered = datetime.fromisoformat(asked)
    if answered.tzinfo is None:
        answered = answered.replace(tzinfo=UTC)
    answered += timedelta(microseconds=1)
    halves: tuple[tuple[str, str, str, dict[str, Any], str, str], ...] = (
        ("user", turn.question, asked, {}, "user", turn.previous),
        (
            "assistant",
            turn.answer,
            answered.isoformat(timespec="microseconds"),
            shared,
            "model",
            "",
        ),
    )
    return [
        Draft(
            text,
            Scope(turn.user_id, turn.persona, turn.session_id),
            kind="message",
            role=role,
            metadata=metadata,
            provenance=turn.provenance,
            created_at=when,
            id=side_id(turn.id, role),
            turn_id=turn.id,
            trust=trust,
            previous=previous,
        )
        for role, text, when, metadata, trust, previous in halves
        if text.strip()
    ]
