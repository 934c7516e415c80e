"""The models that could answer a message, and what each would cost, the lost cache included.

A conversation that goes on with the same model reads its beginning from the provider's
prompt cache. Whoever switches pays full price for all of it again: conversation so far x
(full price - cached price). That part of a candidate's cost is shown by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiki_kernel.mind.conversation import Exchange
from aiki_kernel.mind.events import Candidate
from aiki_kernel.models.tokens import estimate

if TYPE_CHECKING:
    from aiki_kernel.models.cards import ModelCard

_CACHED_FROM = 1024  # tokens: shorter prompts are not cached by the providers
_WARM_S = 300.0  # how long a prompt cache lives at least
_USUAL_ANSWER = 300  # tokens, while the conversation has none to go by
_PER_MESSAGE = 4


@dataclass(frozen=True)
class Demand:
    """What a message asks for, in tokens, and which model's cache is warm ("" is none)."""

    history: int
    message: int
    answer: int
    warm: str = ""

    @property
    def prompt(self) -> int:
        return self.history + self.message

    @property
    def cacheable(self) -> int:
        """Tokens of the conversation so far that a warm cache would give."""
        return self.history if self.warm and self.history >= _CACHED_FROM else 0


def demand(
    text: str,
    before: Sequence[Exchange],
    *,
    system: str,
    context: int,
    recall: int,
    longest: int,
    attached: int = 0,
) -> Demand:
    """Read a demand off a conversation; ``context``, ``recall`` and ``longest`` are the budgets
    of context, recalled text and answer in tokens, ``attached`` what goes with the message."""
    history = estimate(system) + sum(
        estimate(one.sent or one.question) + estimate(one.answer) + 2 * _PER_MESSAGE
        for one in before
    )
    answers = [estimate(one.answer) for one in before[-5:] if one.answer]
    answer = round(sum(answers) / len(answers)) if answers else _USUAL_ANSWER
    warm = ""
    if before and _age_s(before[-1].created_at) < _WARM_S:
        warm = before[-1].model
    message = estimate(text) + attached + recall + _PER_MESSAGE
    return Demand(min(history, context), message, max(1, min(answer, longest)), warm)


def seeing(cards: Sequence[ModelCard]) -> ModelCard:
    """The first that sees, else the first of which nobody knows, else the first."""
    return min(cards, key=lambda one: {True: 0, None: 1, False: 2}[one.vision])


def candidates(
    tiers: Mapping[str, ModelCard], wanted: Demand, *, images: bool = False
) -> tuple[Candidate, ...]:
    """One candidate for each tier's model, priced; a window that is too small is noted, and for a
    message with ``images`` who does not see them, as long as another one does."""
    out = []
    seen = images and any(card.vision for card in tiers.values())
    for tier, card in tiers.items():
        stays = card.name == wanted.warm
        cost = card.cost_usd(wanted.prompt, wanted.answer, wanted.cacheable if stays else 0)
        loss: float | None = 0.0
        if not stays and wanted.cacheable:
            warm = card.cost_usd(wanted.prompt, wanted.answer, wanted.cacheable)
            loss = None if cost is None or warm is None else cost - warm
        note = ""
        if card.window is not None and wanted.prompt + wanted.answer > card.window:
            note = f"its window of {card.window:,} tokens is too small"
        elif seen and not card.vision:
            note = "it does not see the image" if card.vision is False else "it may not see"
        out.append(Candidate(card.name, tier, None, cost, loss, note))
    return tuple(out)


def with_quality(
    candidates: Sequence[Candidate], quality: Mapping[str, float]
) -> tuple[Candidate, ...]:
    """The same with what is expected of each tier."""
    return tuple(replace(one, quality=quality.get(one.tier)) for one in candidates)


def choose(candidates: Sequence[Candidate], value_usd: float) -> tuple[Candidate, str]:
    """The candidate with the most value: ``value_usd`` x quality - cost; and why.

    An unknown price is no price: such a candidate is taken only where no known one is left.
    Raises ValueError when there is none at all.
    """
    fitting = [one for one in candidates if not one.note]
    if not fitting:
        raise ValueError("no candidate")
    priced = [one for one in fitting if one.cost_usd is not None]
    if not priced:
        best = max(fitting, key=lambda one: one.quality or 0.0)
        return best, "no price is known: the best expected quality is taken"
    best = max(priced, key=lambda one: (_value(one, value_usd), -(one.cost_usd or 0.0)))
    others = [one for one in priced if one is not best]
    if not others:
        return best, "the only one with a known price"
    second = max(others, key=lambda one: _value(one, value_usd))
    gain = (best.quality or 0.0) - (second.quality or 0.0)
    more = (best.cost_usd or 0.0) - (second.cost_usd or 0.0)
    against = f"against {second.model}: {100 * gain:+.0f} points of quality for {_signed(more)}"
    return best, f"{against} (a right answer is worth ${value_usd:.2f})"


def _value(one: Candidate, value_usd: float) -> float:
    return value_usd * (one.quality or 0.0) - (one.cost_usd or 0.0)


def _signed(usd: float) -> str:
    return f"{'-' if usd < 0 else '+'}${abs(usd):.4f}"


def _age_s(stamp: str) -> float:
    try:
        then = datetime.fromisoformat(stamp)
    except ValueError:
        return float("inf")
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return (datetime.now(UTC) - then).total_seconds()
