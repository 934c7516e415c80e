"""Which model answers. A choice of the user comes first: for the message, then for the
session (a model, or a tier); then the router of ``[routing]``, then the model of the settings.

Five routers, one protocol. ``fixed`` takes the model of the settings; ``length``, ``rules``
and ``learned`` judge the message and take the candidate with the most expected value;
``cascade`` lets the cheap one answer first (see ``cascade``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from aiki_kernel.mind.events import Candidate, Decision
from aiki_kernel.mind.routing.candidates import choose, with_quality
from aiki_kernel.mind.routing.judges import CHEAP_SIDE, Judge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Name = Literal["fixed", "length", "rules", "learned", "cascade"]
NAMES: tuple[Name, ...] = get_args(Name)
PINS = ("smart", "standard", "cheap", "local", "consult", "auto")
"""What ``%aiki_route`` pins a session to: a tier's best model, a consultation before every
answer, or (``auto``) the router."""


@dataclass(frozen=True)
class Question:
    """What a router decides on. ``candidates`` are priced; ``vector`` is the embedding."""

    text: str
    candidates: Sequence[Candidate]
    vector: NDArray[np.float32] | None = None


class Router(Protocol):
    """Decides in well under 2 ms; whatever takes longer was done before (embedding, prices)."""

    @property
    def name(self) -> str: ...

    def decide(self, question: Question) -> Decision: ...


@dataclass(frozen=True)
class Fixed:
    """Always the same model."""

    model: str
    reason: str = "the default of your settings"
    name: str = "fixed"

    def decide(self, question: Question) -> Decision:
        return Decision(self.model, self.reason, self.name, candidates=tuple(question.candidates))


@dataclass(frozen=True)
class Judged:
    """Judge the message, then weigh expected quality against cost.

    ``value_usd`` is what a right answer is worth; ``fallback`` answers where no candidate can.
    """

    judge: Judge
    value_usd: float
    fallback: str
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.judge.name

    def decide(self, question: Question) -> Decision:
        found = self.judge.judge(question.text, question.vector)
        priced = with_quality(question.candidates, found.quality)
        reasons = (*self.notes, *found.reasons, *_left_out(priced))
        try:
            best, why = choose(priced, self.value_usd)
        except ValueError:
            why = "no tier has a model that can answer, so the model of your settings does"
            return Decision(
                self.fallback, why, self.name, found.complexity, priced, (*reasons, why)
            )
        reason = f"{self.name}: {best.tier}, complexity {found.complexity:.2f}"
        return Decision(best.model, reason, self.name, found.complexity, priced, (*reasons, why))


@dataclass(frozen=True)
class Cascade:
    """The cheap model answers first; its own signs decide whether the smart one is asked."""

    judge: Judge
    fallback: str
    notes: tuple[str, ...] = ()
    name: str = "cascade"

    def decide(self, question: Question) -> Decision:
        found = self.judge.judge(question.text, question.vector)
        priced = with_quality(question.candidates, found.quality)
        usable = [one for one in priced if not one.note]
        first = next((o for tier in CHEAP_SIDE for o in usable if o.tier == tier), None)
        then = next((o for t in ("smart", "standard") for o in usable if o.tier == t), None)
        reasons = (*self.notes, *found.reasons, *_left_out(priced))
        if first is None or then is None:
            only = first or then
            missing = "cheap or local" if first is None else "smart or standard"
            why = f"no cascade: no {missing} model can answer"
            model = only.model if only else self.fallback
            return Decision(model, why, self.name, found.complexity, priced, (*reasons, why))
        why = f"{first.model} answers first; {then.model} when its own signs are poor"
        return Decision(
            first.model,
            f"cascade: {why}",
            self.name,
            found.complexity,
            priced,
            (*reasons, why),
            then=then.model,
        )


def pinned(tier: str, candidates: Sequence[Candidate]) -> Decision | None:
    """The decision for a session pinned to ``tier``; None when it has no model."""
    for one in candidates:
        if one.tier == tier:
            reason = f"{tier}, pinned for this session"
            return Decision(one.model, reason, "pinned", candidates=tuple(candidates))
    return None


def consulting(
    candidates: Sequence[Candidate], why: str, judged: Decision | None = None
) -> Decision | None:
    """The decision in which the smart model is asked for an insight and a cheap one answers;
    None when there is no such pair."""
    usable = [one for one in candidates if not one.note]
    smart = next((one for one in usable if one.tier == "smart"), None)
    does = next((o for tier in CHEAP_SIDE for o in usable if o.tier == tier), None)
    if smart is None or does is None:
        return None
    return Decision(
        does.model,
        f"consult: {smart.model} gives an insight, {does.model} answers; {why}",
        "consult",
        judged.complexity if judged else None,
        tuple(judged.candidates if judged else candidates),
        (*(judged.reasons if judged else ()), why),
        consult=smart.model,
    )


def _left_out(candidates: Sequence[Candidate]) -> list[str]:
    """Why a candidate is not weighed: its window, or a price that nobody knows."""
    out = [f"{one.model} is left out: {one.note}" for one in candidates if one.note]
    unknown = [one.model for one in candidates if one.cost_usd is None and not one.note]
    if unknown and len(unknown) < len(candidates):
        out.append(f"{', '.join(unknown)} left out: price unknown (pin it, or add its price)")
    return out
