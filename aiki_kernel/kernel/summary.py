"""What is known about an answer while it is still being made.

The finished answer brings its metadata with it (``Completed.metadata``). Until then, and
for an answer that was stopped or failed, this is the same dict built from what has
happened so far, so that the card and the notebook read one shape only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiki_kernel.mind.conversation import Conversation
from aiki_kernel.mind.events import Completed, Delta, Event, Hop, Recalled, Routed
from aiki_kernel.mind.reply import Reply, ReplyBuilder

_HIT_TEXT = 240


class Summary:
    """Folds events into a :class:`Reply` whose metadata is complete at any moment.

    ``note`` is a line of the kernel's own, which stands with the notes of the answer;
    ``lines`` stand before those, and may grow until the end.
    """

    def __init__(
        self,
        conversation: Conversation,
        persona: str,
        note: str = "",
        lines: Sequence[str] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._persona = persona
        self._conversation = conversation
        self._note = note
        self._facts = dict(facts or {})
        self.lines = list(lines)
        self._builder = ReplyBuilder()
        self._begun = time.perf_counter()
        self._generating: float | None = None
        self._first: float | None = None
        self._latency: dict[str, float] = {}
        self._model = ""
        self._backend: dict[str, Any] = {}
        self._route: dict[str, Any] = {}
        self._notes: list[str] = []
        self.completed = False

    @property
    def text(self) -> str:
        return self._builder.reply.text

    def add(self, event: Event) -> None:
        """Take one event in."""
        if isinstance(event, Routed):
            self._model = event.decision.model
            self._latency["route"] = event.seconds
            decision = event.decision
            self._route = {"router": decision.router, "reason": decision.reason}
        elif isinstance(event, Recalled):
            self._latency["recall"] = event.seconds
            self._backend = event.backend.to_json()
            if event.note:
                self._notes.append(event.note)
            self._generating = time.perf_counter()
        elif isinstance(event, Hop):
            self._model = event.to
            self._notes.append(event.note)
        elif isinstance(event, Delta) and self._first is None:
            self._first = time.perf_counter()
        elif isinstance(event, Completed):
            self.completed = True
        self._builder.add(event)

    def reply(self, finish_reason: str = "") -> Reply:
        """The reply as it stands; ``finish_reason`` for one that did not complete."""
        reply = self._builder.reply
        if self.completed:
            return self._noted(reply)
        return Reply(
            text=reply.text,
            model=self._model,
            hits=reply.hits,
            finish_reason=finish_reason,
            metadata=self._metadata(reply, finish_reason),
        )

    def _noted(self, reply: Reply) -> Reply:
        """The whole reply, with what the kernel itself has to say."""
        if not self._note and not self.lines and not self._facts:
            return reply
        notes = self._all(reply.metadata.get("notes", []), "consult" in reply.metadata)
        return replace(reply, metadata={**reply.metadata, **self._facts, "notes": notes})

    def _all(self, notes: Sequence[str], consulted: bool = False) -> list[str]:
        first = 1 if consulted else 0  # the insight: it is what was paid for
        last = [self._note] if self._note else []
        return [*notes[:first], *self.lines, *notes[first:], *last]

    def _metadata(self, reply: Reply, finish_reason: str) -> dict[str, Any]:
        latency = dict(self._latency)
        now = time.perf_counter()
        if self._generating is not None:
            latency["generate"] = now - self._generating
            if self._first is not None:
                latency["first_token"] = self._first - self._generating
        metadata: dict[str, Any] = {
            "version": 1,
            "turn_id": self._turn_id() if finish_reason else "",
            "session_id": self._conversation.session_id,
            "model": self._model,
            "provider": self._model.partition("/")[0],
            "persona": self._persona,
            "backend": self._backend,
            "route": self._route,
            "finish_reason": finish_reason,
            "latency_s": {name: round(seconds, 4) for name, seconds in latency.items()},
            "tokens_per_second": None,
            "hits": [_hit(hit) for hit in reply.hits],
            "hit_ids": [hit.id for hit in reply.hits],
            "notes": self._all(self._notes),
            "remembered": {"ids": [], "spooled": False},
            "stale": False,
            **self._facts,
        }
        if finish_reason:
            metadata["usage"] = _estimated(reply.text)
            metadata["cost"] = {"usd": None, "estimated": True}
        return metadata

    def _turn_id(self) -> str:
        """The turn under which the loop kept the cut answer, if it has done so already."""
        for exchange in reversed(self._conversation.exchanges):
            if exchange.interrupted and exchange.answer == self.text:
                return exchange.turn_id
        return ""


def _estimated(text: str) -> dict[str, Any]:
    from aiki_kernel.models.tokens import estimate

    return {"output_tokens": estimate(text), "cached_tokens": 0, "estimated": True}


def _hit(hit: Any) -> dict[str, Any]:
    text = hit.text if len(hit.text) <= _HIT_TEXT else hit.text[: _HIT_TEXT - 1] + "…"
    record = hit.record
    return {
        "id": hit.id,
        "text": text,
        "score": round(hit.score, 4),
        "created_at": record.created_at,
        "kind": record.kind,
        "role": record.role,
        "provenance": dict(record.provenance),
    }
