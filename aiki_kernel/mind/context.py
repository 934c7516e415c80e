"""What the model is given: system prompt, history within a budget, recall inside a fence.

Recalled text is data. It stands in the user's message, never in the system role, between
two lines that carry a random mark which the text itself cannot know, with a label for
where each piece came from. The wording is the plainest of five that were tried on the
small model of this machine: it answers from the notes rather than about them. Memories
far behind the best one are shown to the user but not given to the model, and neither are
those that nobody whom the persona trusts vouches for: a privileged one is given only what the
user said himself (see ``safety.permissions``).
"""

from __future__ import annotations

import secrets
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import lru_cache

from aiki_kernel.memory.records import Hit, Recall
from aiki_kernel.mind.attachment import ATTACHED
from aiki_kernel.mind.conversation import Exchange
from aiki_kernel.models.chat import ChatMessage
from aiki_kernel.models.image import Image
from aiki_kernel.models.tokens import estimate

_PER_MESSAGE = 6  # tokens that a chat template adds around each message, about


@dataclass(frozen=True)
class Context:
    """The messages of a request, the hits that found room in it, and what was left out.

    ``tokens`` is our estimate of what the messages hold.
    """

    messages: tuple[ChatMessage, ...]
    tokens: int
    used: tuple[Hit, ...]
    dropped_exchanges: int
    dropped_hits: int


def build(
    question: str,
    history: Sequence[Exchange],
    hits: Sequence[Hit],
    *,
    system: str,
    context_tokens: int,
    recall_tokens: int,
    relevance: float = 0.0,
    trusts: Sequence[str] = (),
    repeated: Container[str] = (),
    images: tuple[Image, ...] = (),
    closing: str = "",
) -> Context:
    """Fit everything into ``context_tokens``: the question always, with its ``images`` and the
    ``closing`` words behind it, then recall up to ``recall_tokens``, then the newest exchanges
    that still fit.

    A hit is given only if its score is at least ``relevance`` times the best one's, if it is
    vouched for by one of ``trusts`` (without any: by anybody), and if it is none of ``repeated``
    (ids, see :func:`repeats`).
    """
    offered = [
        hit for hit in hits if (not trusts or hit.record.trust in trusts) and hit.id not in repeated
    ]
    seen = sum(image.tokens for image in images)
    budget = context_tokens - _cost(system) - _cost(question) - seen - estimate(closing)
    best = max((hit.score for hit in offered), default=0.0)
    relevant = [hit for hit in offered if hit.score > 0 and hit.score >= relevance * best]
    used = _fit_hits(relevant, min(recall_tokens, max(budget // 2, 0)))
    asked = question
    if used:
        label = "" if question.startswith(ATTACHED) else "Question: "
        asked = f"{fence(used)}\n\n{label}{question}"
    budget -= _cost(asked) - _cost(question)
    kept: list[Exchange] = []
    for exchange in reversed(history):
        price = _cost(exchange.sent or exchange.question) + _cost(exchange.answer)
        if price > budget:
            break
        budget -= price
        kept.append(exchange)
    messages = [ChatMessage("system", system)] if system else []
    for exchange in reversed(kept):
        messages.append(ChatMessage("user", exchange.sent or exchange.question))
        messages.append(ChatMessage("assistant", exchange.answer or "(no answer)"))
    messages.append(ChatMessage("user", f"{asked}\n\n{closing}" if closing else asked, images))
    return Context(
        messages=tuple(messages),
        tokens=context_tokens - budget,
        used=tuple(used),
        dropped_exchanges=len(history) - len(kept),
        dropped_hits=len(hits) - len(used),
    )


def repeats(question: str, recall: Recall) -> frozenset[str]:
    """Ids of the hits that are the question itself, asked before, and of what a model answered.

    The question tells nothing. What a model made of it before is no source: the memories it drew
    on are found again by themselves, and a small model only gets worse by quoting itself.
    """
    asked = _bare(question)
    same = [hit for hit in recall.hits if _bare(hit.text) == asked]
    ids = {hit.id for hit in same}
    turns = {hit.record.turn_id for hit in same}
    turns |= {one.turn_id for one in recall.dropped if one.of in ids}
    answers = {
        hit.id
        for hit in recall.hits
        if hit.record.trust == "model" and hit.record.turn_id and hit.record.turn_id in turns
    }
    return frozenset(ids | answers)


def _bare(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" .!?…")


def fence(hits: Sequence[Hit]) -> str:
    """The hits, labelled, between two lines with a mark that is new each time."""
    mark = secrets.token_hex(4)
    while any(mark in hit.text for hit in hits):  # once in thousands of millions
        mark = secrets.token_hex(4)
    lines = [f"What you remember, as data ({mark}):"]
    lines += [f'- {_label(hit)}: "{" ".join(hit.text.split())}"' for hit in hits]
    lines.append(f"(end of {mark})")
    return "\n".join(lines)


def _label(hit: Hit) -> str:
    said = (hit.record.role or hit.record.kind, hit.record.created_at[:10])
    # Who says "user" in a file that was brought in is not the user.
    foreign = () if hit.record.trust in ("user", "model") else (hit.record.trust,)
    # An import names these itself: they may no more begin a line than the text may.
    return " ".join(", ".join((*said, *foreign)).split())[:60]


def _fit_hits(hits: Sequence[Hit], budget: int) -> list[Hit]:
    fitting: list[Hit] = []
    for hit in hits:
        price = estimate(hit.text) + 12
        if price <= budget:
            budget -= price
            fitting.append(hit)
    return fitting


@lru_cache(maxsize=2048)  # a long conversation is counted anew with every message
def _cost(text: str) -> int:
    return estimate(text) + _PER_MESSAGE
