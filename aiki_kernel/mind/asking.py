"""The request of one message: context within the model's window, and who is asked next.

The rule for what does not fit: the question always stays whole, then recall, then the newest
turns; older turns are left out, whole, and a note says how many. The budget of all that is
``generation.context_tokens``, or what the model's window leaves beside the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aiki_kernel.mind import context
from aiki_kernel.models.cards import ModelCard, card
from aiki_kernel.models.chat import ChatRequest
from aiki_kernel.models.fallback import followers
from aiki_kernel.models.window import prompt_budget

if TYPE_CHECKING:
    from aiki_kernel.config import Settings
    from aiki_kernel.mind.events import Decision
    from aiki_kernel.mind.run import Run


@dataclass(frozen=True)
class Choice:
    """The model that is asked first, and the names that follow when it fails."""

    card: ModelCard
    fallbacks: tuple[str, ...] = ()


def choice(settings: Settings, decision: Decision) -> Choice:
    """What a decision means. Raises :class:`ModelError` for a name that does not resolve.

    May read the price list (about a second): call it off the event loop.
    """
    one = card(settings, decision.model)
    return Choice(one, followers(settings, one.name, named=decision.named))


def request(run: Run, settings: Settings, choice: Choice) -> ChatRequest:
    """The request for ``run``; what did not fit is said in ``run.notes``."""
    sampling = settings.generation
    asked = ChatRequest(
        model=run.decision.model,
        messages=(),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed,
        stop=sampling.stop,
        session_id=run.conversation.session_id,
        turn_id=run.turn_id,
        fallbacks=choice.fallbacks,
        named=run.decision.named,
        backend=run.conversation.backend or settings.compute.backend,
    )
    if run.message.parameters:
        asked = replace(asked, **run.message.parameters)
    room = prompt_budget(choice.card, sampling.context_tokens, asked.max_tokens)
    built = context.build(
        run.message.text,
        run.conversation.before(run.message),
        run.recall.hits,
        system=sampling.system,
        context_tokens=room,
        recall_tokens=settings.memory.recall_tokens,
        relevance=settings.memory.relevance,
    )
    run.used = built.used
    if built.dropped_exchanges:
        why = ""
        if room < sampling.context_tokens:
            why = f", which is what {choice.card.name}'s window leaves beside the answer"
        run.notes.append(
            f"The {built.dropped_exchanges} oldest turns did not fit into "
            f"{room:,} tokens of context{why}."
        )
    run.prompt_tokens = built.tokens
    return replace(asked, messages=built.messages, prompt_tokens=built.tokens)
