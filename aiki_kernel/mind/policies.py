"""What three policies cost for the same messages: smart-only, cheap-only, consultant.

Smart-only reads the whole context and writes the answer; cheap-only likewise. The consultant
policy shows the smart model a distilled problem and has it write an insight, unless a stored
one is used again; the cheap model reads the context and the insight and writes the answer;
where the insight is not trusted the smart model does the work as well. With warm caches the
context (and of the consultant's prompt nothing: it is new each time) is read at the cached
price. Unknown prices make a sum unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiki_kernel.models.cards import ModelCard

POLICIES = ("smart-only", "cheap-only", "consultant")


@dataclass(frozen=True)
class Step:
    """One message of a trace, in tokens; labels (0..1) say whose answer was right."""

    context: int
    answer: int
    right: Mapping[str, float]

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Step:
        """A line of a trace. Raises ValueError, KeyError or TypeError when it does not fit."""
        right = {
            policy: float(row[key])
            for policy, key in zip(POLICIES, ("smart", "cheap", "consult"), strict=True)
            if row.get(key) is not None
        }
        step = cls(int(row["context_tokens"]), int(row["output_tokens"]), right)
        if step.context < 0 or step.answer < 0 or not all(0 <= r <= 1 for r in right.values()):
            raise ValueError("tokens are not negative, and labels are 0 to 1")
        return step


@dataclass(frozen=True)
class Terms:
    """The consultant's sizes in tokens, the share of insights used again, and the share of
    consultations after which the smart model does the work itself."""

    problem: int = 1000
    insight: int = 500
    reuse: float = 0.0
    escalated: float = 0.0
    warm: bool = False
    warm_executor: bool | None = None


def cost(policy: str, step: Step, smart: ModelCard, cheap: ModelCard, terms: Terms) -> float | None:
    """USD of one message under ``policy``; None where a price is unknown."""
    cached = step.context if terms.warm else 0
    direct = smart.cost_usd(step.context, step.answer, cached)
    if policy == "smart-only":
        return direct
    warm = terms.warm if terms.warm_executor is None else terms.warm_executor
    cached = step.context if warm else 0
    if policy == "cheap-only":
        return cheap.cost_usd(step.context, step.answer, cached)
    asked = smart.cost_usd(min(terms.problem, max(step.context, 1)), terms.insight)
    work = cheap.cost_usd(step.context + terms.insight, step.answer, cached)
    if asked is None or work is None or direct is None:
        return None
    # Whoever does not trust the insight does not let the cheap model work on it first.
    executed = (1.0 - terms.escalated) * work + terms.escalated * direct
    return (1.0 - terms.reuse) * asked + executed


def replay(
    steps: Sequence[Step], smart: ModelCard, cheap: ModelCard, terms: Terms
) -> list[dict[str, Any]]:
    """One row for each policy: sum, mean, what it saves against smart-only, and the cost of
    one correct answer where every step is labelled for it."""
    rows: list[dict[str, Any]] = []
    smart_only: float | None = None
    for policy in POLICIES:
        costs = [cost(policy, step, smart, cheap, terms) for step in steps]
        total = None if None in costs else sum(one or 0.0 for one in costs)
        if policy == "smart-only":
            smart_only = total
        labelled = [step.right[policy] for step in steps if policy in step.right]
        right = sum(labelled) if steps and len(labelled) == len(steps) else None
        rows.append(
            {
                "policy": policy,
                "usd": total,
                "usd_per_message": None if total is None or not steps else total / len(steps),
                "saved": None if not smart_only or total is None else 1.0 - total / smart_only,
                "right": None if right is None else right / len(steps),
                "usd_per_correct": None if total is None or not right else total / right,
            }
        )
    return rows
