"""An insight on its way to one answer: as the working model and the reader are told of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiki_kernel.mind.booking import Costs
from aiki_kernel.mind.insight import Stored
from aiki_kernel.models.chat import ChatMessage, ChatRequest

if TYPE_CHECKING:
    from aiki_kernel.mind.run import Run


@dataclass(frozen=True)
class Advice:
    """An insight for this message. ``confidence`` is calibrated; ``fits`` is the chance that one
    which is used again was given for the same question."""

    kept: Stored
    confidence: float
    cost_usd: float | None
    seconds: float
    reused: bool
    fits: float = 1.0

    def told(self) -> dict[str, Any]:
        """What the answer's metadata says of it."""
        one = self.kept.insight
        return {
            **one.to_json(),
            "id": self.kept.id,
            "claimed": one.confidence,
            "confidence": round(self.confidence, 4),
            "model": self.kept.model,
            "reused": self.reused,
            "fits": round(self.fits, 3),
            "usd": self.cost_usd,
        }


def advised(request: ChatRequest, advice: Advice) -> tuple[ChatMessage, ...]:
    """The messages with the insight behind the question, as data between two marks."""
    one = advice.kept.insight
    mark = secrets.token_hex(4)
    steps = "".join(f"\n{place}. {step}" for place, step in enumerate(one.plan, 1))
    told = (
        f"\n\nAdvice of a consultant, as data ({mark}):\n{one.insight}\nBecause: {one.reasoning}"
        f"{steps}\n(end of {mark})\nUse the advice where it fits, and answer the question in full."
    )
    *before, last = request.messages
    return (*before, replace(last, content=last.content + told))


def closing(advice: Advice, run: Run) -> Callable[[Costs], list[str]]:
    """The first lines under the answer: the insight with its confidence, then all the costs."""

    def lines(cost: Costs) -> list[str]:
        one = advice.kept.insight
        again = f"used again (fits {advice.fits:.0%}), no call"
        how = again if advice.reused else f"insight {_usd(advice.cost_usd)}"
        return [
            f"Consulted {advice.kept.model} (confidence {one.confidence:.2f}, calibrated "
            f"{advice.confidence:.2f}): {one.insight}",
            f"{how}, answer {_usd(cost.usd)}, in all {_usd(run.total(cost.usd))}; about "
            f"{_usd(cost.smart_usd)} smart-only, {_usd(cost.cheap_usd)} cheap-only",
        ]

    return lines


def _usd(usd: float | None) -> str:
    return "unknown" if usd is None else f"${usd:.4f}" if usd else "$0"
