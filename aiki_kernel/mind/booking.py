"""What a call cost, what else it could have cost, and the row of the ledger that says so.

The two comparisons are estimates on the tokens of the answer as it was: all by the first
usable model of the smart tier, all by that of the cheap tier. A model that you have no key
for is compared with nothing. Only the row of an answer carries them; a consultation or a
rejected first try (any other stage) carries zero, because neither policy would have made it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import AikiError
from aiki_kernel.mind.ledger import Entry, Stage
from aiki_kernel.models.cards import ModelCard, by_tier, card
from aiki_kernel.models.chat import Finished, Usage

if TYPE_CHECKING:
    from aiki_kernel.config import Settings
    from aiki_kernel.mind.run import Run


@dataclass(frozen=True)
class Costs:
    """USD of one call; None is unknown. ``smart`` and ``cheap`` are what it is compared with."""

    usd: float | None
    card: ModelCard | None = None
    smart_usd: float | None = None
    cheap_usd: float | None = None
    smart: str = ""
    cheap: str = ""

    def to_json(self) -> dict[str, Any]:
        """The comparison as metadata holds it."""
        return {
            "smart_only_usd": self.smart_usd,
            "cheap_only_usd": self.cheap_usd,
            "smart": self.smart,
            "cheap": self.cheap,
            "estimated": True,
        }


def costs(
    settings: Settings,
    name: str,
    usage: Usage,
    *,
    charged: float | None = None,
    stage: str = "generate",
) -> Costs:
    """What ``usage`` of the model called ``name`` costs, and could have cost elsewhere.

    ``charged`` is what the provider itself says it cost, which wins. May read the price list
    (about a second): call it off the event loop.
    """
    try:
        one = card(settings, name)
    except AikiError:
        return Costs(charged)
    tokens = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
    )
    usd = one.cost_usd(*tokens) if charged is None else charged
    if stage != "generate":
        return Costs(usd, one, 0.0, 0.0)
    try:
        tiers = by_tier(settings)
    except AikiError:  # a chain names what is not there: the router says so, not the books
        return Costs(usd, one)
    others = [tiers[tier][0] if tiers[tier] else None for tier in ("smart", "cheap")]
    # What was answered by a tier is what that tier costs, whichever of its models it was.
    compared = [
        (one.name, usd)
        if one.tier == tier
        else (other.name, other.cost_usd(*tokens))
        if other is not None
        else ("", None)
        for tier, other in zip(("smart", "cheap"), others, strict=True)
    ]
    (smart, smart_usd), (cheap, cheap_usd) = compared
    return Costs(usd, one, smart_usd, cheap_usd, smart, cheap)


def priced(settings: Settings, row: Entry) -> Entry:
    """``row`` with the cost of its tokens, where nobody reckoned it (a call that was cut)."""
    if row.cost_usd is not None or not row.name:
        return row
    usage = Usage(
        row.input_tokens, row.output_tokens, row.cached_tokens, True, row.cache_write_tokens
    )
    found = costs(settings, row.name, usage, stage=row.stage)
    tier = row.tier or ((found.card.tier or "") if found.card else "")
    return replace(row, cost_usd=found.usd, tier=tier)


def entry(
    run: Run,
    usage: Usage,
    cost: Costs,
    reason: str,
    *,
    stage: Stage = "generate",
    error: str | None = None,
) -> Entry:
    """The row of the answer of ``run``, made under its present name."""
    finished = run.finished or Finished(reason, usage, run.name, run.name.split("/")[0])
    ended = replace(finished, reason=reason, usage=usage)
    latencies = run.trace.latencies()
    seconds, recall = latencies.get(stage, 0.0), latencies.get("recall")
    made = row(run, run.name, ended, cost, seconds, stage)
    return replace(
        made,
        first_token_s=run.first_token_s,
        error=error,
        kind="rerun" if run.replaces else "message",
        hops=len(run.hops),
        smart_only_usd=cost.smart_usd,
        cheap_only_usd=cost.cheap_usd,
        recall_s=recall,
        route_s=latencies.get("route"),
        hits=None if recall is None else len(run.recall.hits),
        backend=run.recall.backend.name,
    )


def row(
    run: Run, name: str, finished: Finished, cost: Costs, seconds: float, stage: Stage
) -> Entry:
    """The row of one call for ``run`` to the model called ``name``, the answer's or one beside
    it. It is compared with nothing, as a call that no other policy would have made."""
    usage, one = finished.usage, cost.card
    return Entry(
        when=run.created_at,
        session_id=run.conversation.session_id,
        turn_id=run.turn_id,
        cell_id=run.message.cell_id or "",
        stage=stage,
        model=finished.model,
        provider=finished.provider,
        persona=run.persona.name,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        cost_usd=cost.usd,
        estimated=usage.estimated,
        latency_s=seconds,
        finish_reason=finished.reason,
        interrupted=finished.reason == "interrupted",
        name=name,
        tier=(one.tier or "") if one else "",
        cache_write_tokens=usage.cache_write_tokens,
        local_s=seconds if one is not None and one.local else 0.0,
        price_source=one.source if one is not None else "",
        smart_only_usd=0.0,
        cheap_only_usd=0.0,
    )
