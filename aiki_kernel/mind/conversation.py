"""A conversation: the exchanges of one notebook or terminal, in the order of their cells.

A cell that is run again replaces its own exchange and nothing else: later ones stay and
are marked stale, because the context that they answered to has changed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiki_kernel.memory.records import new_id, now


@dataclass(frozen=True)
class Message:
    """What a user sent. ``cell_id`` is None where the frontend names no cell.

    ``model`` pins a model, ``persona`` names who answers, both for this message alone;
    ``parameters`` override fields of :class:`aiki_kernel.models.chat.ChatRequest`
    (temperature, max_tokens, seed, ...). ``note`` is a line to show with the answer.
    """

    text: str
    cell_id: str | None = None
    notebook: str | None = None
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    persona: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Exchange:
    """One question with its answer; ``interrupted`` when the answer was cut."""

    turn_id: str
    question: str
    answer: str
    model: str
    created_at: str
    cell_id: str | None = None
    interrupted: bool = False
    stale: bool = False
    persona: str = "default"

    def as_text(self) -> str:
        """Both sides as one text, as the lexical window wants it."""
        return f"{self.question}\n{self.answer}"


class Conversation:
    """The exchanges of one session. Thread-safe: subshells share it with the main shell."""

    def __init__(self, session_id: str | None = None, *, notebook: str | None = None) -> None:
        self.session_id = session_id or new_id()
        self.notebook = notebook
        self.created_at = now()
        self.model: str | None = None
        self.persona: str | None = None  # who answers, when this session chose for itself
        self.backend: str | None = None  # what it computes with, when it chose for itself
        self.route: str = ""  # a tier or "auto", when the session is pinned to one
        self._exchanges: list[Exchange] = []
        self._lock = threading.Lock()

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What was said so far, in the order of the cells."""
        with self._lock:
            return tuple(self._exchanges)

    def before(self, message: Message) -> tuple[Exchange, ...]:
        """What was said before the place where ``message`` stands."""
        with self._lock:
            return tuple(self._exchanges[: self._place(message.cell_id)])

    def replaced_by(self, message: Message) -> Exchange | None:
        """The exchange that a rerun of the same cell supersedes, if there is one."""
        with self._lock:
            place = self._place(message.cell_id)
            return self._exchanges[place] if place < len(self._exchanges) else None

    def put(self, exchange: Exchange) -> None:
        """Store an exchange at its cell's place; a replaced one makes the later ones stale."""
        with self._lock:
            place = self._place(exchange.cell_id)
            if place == len(self._exchanges):
                self._exchanges.append(exchange)
                return
            self._exchanges[place] = exchange
            for later in range(place + 1, len(self._exchanges)):
                self._exchanges[later] = replace(self._exchanges[later], stale=True)

    def clear(self) -> None:
        """Begin anew under a new session id; memories of the old session stay."""
        with self._lock:
            self._exchanges.clear()
            self.session_id = new_id()
            self.created_at = now()

    def _place(self, cell_id: str | None) -> int:
        if cell_id is not None:
            for index, exchange in enumerate(self._exchanges):
                if exchange.cell_id == cell_id:
                    return index
        return len(self._exchanges)
