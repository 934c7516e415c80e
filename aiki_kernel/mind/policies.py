"""What three policies cost for the same messages: smart-only, cheap-only, consultant.

Smart-only reads the whole context and writes the answer; cheap-only likewise. The consultant
policy shows the smart model a distilled problem and has it write an insight, unless a stored
one is used again; the cheap model reads the context and the insight and writes the answer;
where the insight is not trusted the smart model does the work as well. Unknown prices make a
sum unknown.

The formula, with prices ``in``, ``read`` and ``out`` of each model, a context of ``n`` tokens of
which the share ``h`` lies in the prompt cache, an answer of ``a``, a problem of ``p`` (never more
than ``n``), an insight of ``i``, a share ``r`` of insights used again and ``e`` not trusted::

    read(model, n, h) = h n read + (1 - h) n in
    smart-only = read(smart, n, h) + a out_smart
    cheap-only = read(cheap, n, h') + a out_cheap
    consultant = (1 - r) (p in_smart + i out_smart) + e smart-only
                 + (1 - e) (read(cheap, n, h') + i in_cheap + a out_cheap)

Cold caches are ``h = h' = 0``. Warm ones are 0.9 by default: the newest tokens of a context (the
question, what was recalled) are never in the cache, and that tenth is what a good part of
a warm call costs. The distilled problem is new each time and read at the full price. What it
costs to write a cache is not in it: whoever keeps a conversation going has paid that once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
    consultations after which the smart model does the work itself. ``cached`` is the share of a
    context that a warm cache holds."""

    problem: int = 1000
    insight: int = 500
    reuse: float = 0.0
    escalated: float = 0.0
    warm: bool = False
    warm_executor: bool | None = None
    cached: float = 0.9

    def hit(self, context: int, *, executor: bool) -> int:
        """Tokens of a context that are read from the cache."""
        warm = self.warm
        if executor and self.warm_executor is not None:
            warm = self.warm_executor
        return int(self.cached * context) if warm else 0


class Priced(Protocol):
    """What a model's call costs; a :class:`aiki_kernel.models.cards.ModelCard` is one."""

    def cost_usd(
        self, input_tokens: int, output_tokens: int, cached_tokens: int = 0
    ) -> float | None: ...


def cost(policy: str, step: Step, smart: Priced, cheap: Priced, terms: Terms) -> float | None:
    """USD of one message under ``policy``; None where a price is unknown."""
    cached = terms.hit(step.context, executor=False)
    direct = smart.cost_usd(step.context, step.answer, cached)
    if policy == "smart-only":
        return direct
    cached = terms.hit(step.context, executor=True)
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
    steps: Sequence[Step], smart: Priced, cheap: Priced, terms: Terms
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
