"""The state of one message while it travels, and what a notebook keeps of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiki_kernel.memory.records import Hit, Recall, new_id, now
from aiki_kernel.mind.asking import Choice
from aiki_kernel.mind.booking import Costs
from aiki_kernel.mind.conversation import Conversation, Message
from aiki_kernel.mind.events import Decision
from aiki_kernel.mind.labels import Label
from aiki_kernel.mind.ledger import Entry
from aiki_kernel.mind.persona import DEFAULT, Persona
from aiki_kernel.models.chat import Finished, Hop
from aiki_kernel.safety.secrets import redact
from aiki_kernel.trace import Trace

_HIT_TEXT = 240  # characters of a hit that travel with an answer's metadata


@dataclass
class Run:
    """The state of one message while it travels.

    ``entries`` are the rows of calls beside the answer itself (a first try, a consultation);
    ``labels`` what it teaches the router; ``extra`` is added to the answer's metadata;
    ``closing`` makes the first notes once the answer's cost is known; ``secrets`` counts what
    was taken out, where and of what kind. ``sent`` is the question with what is attached to
    it; ``object`` is the value of an answer that was asked for in a form.
    """

    message: Message
    conversation: Conversation
    persona: Persona = field(default_factory=lambda: Persona(DEFAULT))
    trace: Trace = field(default_factory=Trace)
    turn_id: str = field(default_factory=new_id)
    created_at: str = field(default_factory=now)
    decision: Decision = field(default_factory=lambda: Decision("", ""))
    choice: asyncio.Future[Choice] | None = None
    recall: Recall = field(default_factory=Recall)
    used: tuple[Hit, ...] = ()
    repeated: frozenset[str] = frozenset()  # ids of hits that ``context.repeats`` names
    sent: str = ""
    text: str = ""
    first_token_s: float | None = None
    finished: Finished | None = None
    hops: list[Hop] = field(default_factory=list)
    prompt_tokens: int = 0
    notes: list[str] = field(default_factory=list)
    previous: str = ""
    replaces: str | None = None
    entries: list[Entry] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, Counter[str]] = field(default_factory=dict)
    closing: Callable[[Costs], list[str]] | None = None
    object: Any = None

    def __post_init__(self) -> None:
        # Read before this turn takes its place in the conversation.
        before = self.conversation.before(self.message)
        # Only its own: what another persona was told must not be found by this one's memories.
        own = [one for one in before if one.persona == self.persona.name]
        self.previous = own[-1].as_text() if own else ""
        if self.message.note:
            self.notes.append(self.message.note)
        self.notes += [note for one in self.message.attached for note in one.notes]
        if self.message.attached:
            self.extra["attached"] = [one.to_json() for one in self.message.attached]
        replaced = self.conversation.replaced_by(self.message)
        # A copy's rerun must not end what the original remembers.
        self.replaces = replaced.turn_id if replaced and not replaced.borrowed else None

    def notice_rerun(self) -> None:
        """The newest answer, asked of the same persona again in the same words, was not good
        enough. One of the middle says nothing: whoever runs all cells again judges none."""
        exchanges = self.conversation.exchanges
        before = self.conversation.replaced_by(self.message)
        if before is None or before is not exchanges[-1] or before.interrupted:
            return
        if (before.question, before.persona) == (self.message.text, self.persona.name):
            self.labels.append(
                Label(
                    when=self.created_at,
                    turn_id=before.turn_id,
                    session_id=self.conversation.session_id,
                    message=before.question,
                    model=before.model,
                    source="rerun",
                    good=0.0,
                )
            )

    @property
    def name(self) -> str:
        """The catalogue's name of the model that answers, after all hops so far."""
        return self.hops[-1].to if self.hops else self.decision.model

    def total(self, answer: float | None) -> float | None:
        """USD of all calls for this message; None where one of them is unknown."""
        known = [answer, *(entry.cost_usd for entry in self.entries)]
        return None if None in known else sum(usd or 0.0 for usd in known)

    def cost(self, answer: float | None, *, estimated: bool) -> dict[str, Any]:
        """What the message cost, and by which call where there were several."""
        told: dict[str, Any] = {"usd": self.total(answer), "estimated": estimated}
        if self.entries:
            told["estimated"] = estimated or any(entry.estimated for entry in self.entries)
            told["calls"] = [
                *({"stage": e.stage, "model": e.name, "usd": e.cost_usd} for e in self.entries),
                {"stage": "generate", "model": self.name, "usd": answer},
            ]
        return told

    def routed(self) -> dict[str, Any]:
        """Who decided on the model, and why, in short."""
        complexity = self.decision.complexity
        return {
            "router": self.decision.router,
            "reason": self.decision.reason,
            "complexity": None if complexity is None else round(complexity, 3),
        }


def metadata(run: Run, cost: Costs) -> dict[str, Any]:
    """What a notebook keeps of an answer under the key ``aiki`` (see docs of the card)."""
    finished = run.finished
    assert finished is not None
    latency = {
        name: round(seconds, 4)
        for name, seconds in run.trace.latencies().items()
        if name != "remember"
    }
    speed = finished.detail.get("tokens_per_second")
    if run.first_token_s is not None:
        latency["first_token"] = round(run.first_token_s, 4)
        rest = latency.get("generate", 0.0) - run.first_token_s
        if speed is None and rest > 0 and finished.usage.output_tokens > 1:
            speed = (finished.usage.output_tokens - 1) / rest
    return {
        "version": 1,
        "turn_id": run.turn_id,
        "session_id": run.conversation.session_id,
        "created_at": run.created_at,
        "asked": run.message.asked,
        "model": finished.model,
        "name": run.name,
        "tier": cost.card.tier if cost.card else None,
        "hops": [hop.to_json() for hop in run.hops],
        "provider": finished.provider,
        "persona": run.persona.name,
        "backend": run.recall.backend.to_json(),
        "engine": finished.detail.get("engine"),
        "quantisation": finished.detail.get("quantisation"),
        "finish_reason": finished.reason,
        "usage": finished.usage.to_json(),
        "cost": run.cost(cost.usd, estimated=finished.usage.estimated),
        "compared": cost.to_json() if cost.smart or cost.cheap else None,
        "latency_s": latency,
        "tokens_per_second": round(speed, 2) if speed else None,
        "hits": [_hit_json(hit, used=hit in run.used) for hit in run.recall.hits],
        "hit_ids": [hit.id for hit in run.recall.hits],
        "notes": list(run.notes),
        "remembered": {"ids": [], "spooled": False},
        "stale": False,
        "trace_id": run.trace.id,
        "route": run.routed(),
        **({"cache": cached} if (cached := finished.detail.get("cache")) else {}),
        **run.extra,
    }


def _hit_json(hit: Hit, *, used: bool) -> dict[str, Any]:
    text = redact(hit.text)
    return {
        "id": hit.id,
        "text": text if len(text) <= _HIT_TEXT else text[: _HIT_TEXT - 1] + "…",
        "score": round(hit.score, 4),
        "created_at": hit.record.created_at,
        "kind": hit.record.kind,
        "role": hit.record.role,
        "trust": hit.record.trust,
        "provenance": dict(hit.record.provenance),
        "used": used,
    }
