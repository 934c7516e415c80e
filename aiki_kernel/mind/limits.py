"""The models that a persona may be answered by, kept to wherever a model is chosen.

The rule. A model that was named for this very message is refused when the persona may not use
it. Any other choice (the session's, the settings', a router's) that falls outside is replaced
by the first model that may and can be used now: of the tiers local, cheap, standard and smart
in this order, then any other that you have configured or the persona names; a note under the
answer says so. A router weighs only what is allowed; a cascade, a consultation or a fallback
never leaves the allowed models either, and is left out where none of its own is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from aiki_kernel.config import Paths
from aiki_kernel.errors import AikiError, ModelError
from aiki_kernel.mind.events import Decision
from aiki_kernel.mind.persona import Persona
from aiki_kernel.models.cards import ModelCard, Tier, by_tier, card, default_local, usable
from aiki_kernel.models.catalogue import names
from aiki_kernel.safety.audit import audit_of

if TYPE_CHECKING:
    from aiki_kernel.config import Settings

_ORDER: tuple[Tier, ...] = ("local", "cheap", "standard", "smart")


def within(
    settings: Settings,
    persona: Persona,
    decision: Decision,
    *,
    asked: bool,
    images: bool = False,
) -> tuple[Decision, str]:
    """``decision`` inside the persona's models, and a note where that changed who answers.

    ``asked`` says that the user named the model for this message; for one with ``images`` a
    model that sees comes first. Raises
    :class:`ModelError`, one line. May read the price list: call it off the event loop.
    """
    if not persona.models:
        return decision, ""
    if not _allowed(settings, persona, decision.then):
        decision = replace(decision, then="")
    if not _allowed(settings, persona, decision.consult):
        decision = replace(decision, consult="")
    if _allowed(settings, persona, decision.model):
        return decision, ""
    if asked:
        _audit(persona, decision.model)
        raise ModelError(
            f"{persona.name} may not be answered by {decision.model}, only by {persona.models}: "
            "leave the model out, or address another persona.",
            stage="connect",
        )
    found: Iterable[ModelCard] = _usable(settings, persona)
    for one in sorted(found, key=lambda one: one.vision is False) if images else found:
        note = f"{decision.model} is not among {persona.name}'s models: {one.name} answers."
        reason = f"{persona.name} may only use {persona.models}"
        return Decision(one.name, reason, "persona", decision.complexity), note
    raise ModelError(
        f"{persona.name} may only be answered by {persona.models}, and none of these can be used "
        "now: set a key, `aiki model pull` a local one, or change models in its file.",
        stage="connect",
    )


def kept(settings: Settings, persona: Persona, found: Iterable[str]) -> tuple[str, ...]:
    """Those of ``found`` that the persona may use, in their order."""
    if not persona.models:
        return tuple(found)
    return tuple(name for name in found if _allowed(settings, persona, name))


def refuse(settings: Settings, persona: Persona, *asked: str) -> None:
    """Raise :class:`ModelError` for a model outside. The last door before a call: what was
    chosen before it was chosen within the limits."""
    outside = set(asked) - set(kept(settings, persona, asked))
    if outside:
        _audit(persona, *sorted(outside))
        raise ModelError(
            f"{persona.name} may not be answered by {', '.join(sorted(outside))}, only by "
            f"{persona.models}.",
            stage="connect",
        )


def _audit(persona: Persona, *models: str) -> None:
    facts = {"persona": persona.name, "operation": "model", "models": list(models)}
    audit_of(Paths.default().home).record("permission.refused", **facts)


def _allowed(settings: Settings, persona: Persona, name: str) -> bool:
    if not name:
        return True
    try:
        one = card(settings, name)
    except AikiError:
        return False
    return persona.models.allows(one) or _local_by_name(persona, one)


def _local_by_name(persona: Persona, one: ModelCard) -> bool:
    """Whether the bare ``local`` means, on this machine, a model that is allowed by name."""
    if not one.local or one.name != "local":
        return False
    from aiki_kernel.models.weights import installed

    here = installed(Paths.default().models)
    return bool(here) and persona.models.allows(
        replace(one, name=f"local/{default_local(here)}", tier=None, local=False)
    )


def _usable(settings: Settings, persona: Persona) -> Iterator[ModelCard]:
    tiers = by_tier(settings)
    seen = set()
    for tier in _ORDER:
        for one in tiers[tier]:
            seen.add(one.name)
            if persona.models.allows(one):
                yield one
    plain = [name for name in persona.models.patterns if "/" in name and "*" not in name]
    for name in [*plain, *names(settings, public=False)]:
        if name in seen:
            continue
        seen.add(name)
        try:
            other = card(settings, name)
        except AikiError:
            continue
        if persona.models.allows(other) and usable(other):
            yield other
