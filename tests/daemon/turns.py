"""Turns to remember."""

from __future__ import annotations

from typing import Any

from aiki_kernel.memory.records import Turn, new_id, now


def a_turn(question: str = "What is my dog called?", answer: str = "Balto.", **more: Any) -> Turn:
    fields = {
        "id": new_id(),
        "user_id": "kari",
        "session_id": "s1",
        "question": question,
        "answer": answer,
        "model": "local",
        "created_at": now(),
    }
    return Turn(**{**fields, **more})
