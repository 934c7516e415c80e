"""The request of one message: context within the model's window, and who is asked next.

The rule for what does not fit: the question always stays whole, then recall, then the newest
turns; older turns are left out, whole, and a note says how many. The budget of all that is
``generation.context_tokens`` (or the persona's own), or what the model's window leaves beside
the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from aiki_kernel.mind import context, limits
from aiki_kernel.mind.attachment import images, question
from aiki_kernel.mind.persona import DEFAULT, Persona, spoken
from aiki_kernel.models.cards import ModelCard, card
from aiki_kernel.models.chat import ChatRequest
from aiki_kernel.models.fallback import followers
from aiki_kernel.models.window import prompt_budget

if TYPE_CHECKING:
    from aiki_kernel.config import Settings
    from aiki_kernel.mind.conversation import Exchange
    from aiki_kernel.mind.events import Decision
    from aiki_kernel.mind.run import Run


@dataclass(frozen=True)
class Choice:
    """The model that is asked first, and the names that follow when it fails."""

    card: ModelCard
    fallbacks: tuple[str, ...] = ()


def choice(settings: Settings, decision: Decision, persona: Persona) -> Choice:
    """What a decision means. Raises :class:`ModelError` for a name that does not resolve, and
    for one that ``persona`` may not use; nor do its fallbacks leave what it may.

    May read the price list (about a second): call it off the event loop.
    """
    one = card(settings, decision.model)
    limits.refuse(settings, persona, one.name)
    follow = followers(settings, one.name, named=decision.named)
    return Choice(one, limits.kept(settings, persona, follow))


def request(run: Run, settings: Settings, choice: Choice) -> ChatRequest:
    """The request for ``run``; what did not fit is said in ``run.notes``."""
    sampling, persona = settings.generation, run.persona
    budget = persona.context_tokens or sampling.context_tokens
    before = run.conversation.before(run.message)
    temperature = sampling.temperature if persona.temperature is None else persona.temperature
    asked = ChatRequest(
        model=run.decision.model,
        messages=(),
        temperature=temperature,
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
    room = prompt_budget(choice.card, budget, asked.max_tokens)
    form = run.message.form
    if form is not None:
        asked = replace(asked, response_format=form.response_format)
    run.sent = question(run.message.text, run.message.attached)
    run.repeated = context.repeats(run.message.text, run.recall)
    built = context.build(
        run.sent,
        before,
        run.recall.hits,
        system=_system(run, settings, before),
        context_tokens=room,
        recall_tokens=settings.memory.recall_tokens,
        relevance=settings.memory.relevance,
        trusts=persona.grant().trusts,
        repeated=run.repeated,
        images=images(run.message.attached),
        closing=form.instruction if form is not None else "",
    )
    run.used = built.used
    if built.dropped_exchanges:
        why = ""
        if room < budget:
            why = f", which is what {choice.card.name}'s window leaves beside the answer"
        run.notes.append(
            f"The {built.dropped_exchanges} oldest turns did not fit into "
            f"{room:,} tokens of context{why}."
        )
    run.prompt_tokens = built.tokens
    return replace(asked, messages=built.messages, prompt_tokens=built.tokens)


def _system(run: Run, settings: Settings, before: Sequence[Exchange]) -> str:
    earlier = (exchange.question for exchange in reversed(before))
    return system(run.persona, settings, chain([run.message.text], earlier))


def system(persona: Persona, settings: Settings, texts: Iterable[str]) -> str:
    """What a persona is told, in the language of the first of ``texts`` that shows one (the
    message, then those before it). ``generation.system``, where you set it, stands for what
    ``default`` says, in every language."""
    own = settings.generation
    if persona.name == DEFAULT and "system" in own.model_fields_set:
        return own.system
    language = spoken(settings.persona_language, texts)
    return persona.system(language) if persona.voices else own.system
