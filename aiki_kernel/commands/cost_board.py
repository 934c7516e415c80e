"""What ``%aiki_cost`` shows in a notebook: the cost board, or its static faces."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiki_kernel.commands.command import Context, Result
from aiki_kernel.commands.tables import usd

if TYPE_CHECKING:
    from aiki_kernel.mind.ledger import GroupBy

_FIRST = "7"


def board(context: Context, overview: Result) -> Result:
    """The board of a week; ``overview`` is what a terminal shows, and stays below it as text."""
    from aiki_kernel.commands import cost
    from aiki_kernel.display import cost_facts
    from aiki_kernel.display.static_cost import render_html, render_text

    def look(span: str) -> dict[str, Any]:
        book, now = cost.ledger(context), datetime.now().astimezone()
        here = cost._session_id(context)
        caps = [{**cap.to_json(), "what": cap.what} for cap in cost.budget(context, here)]
        whole = book.totals(since=cost_facts.begin(span, now))
        lines = [cost._saved(whole), _cached(context), _in_all(book.totals())]
        return cost_facts.board(book, span, caps, lines, now, here)

    def copied(kind: str, span: str, by: str) -> str:
        group: GroupBy = by if by in ("model", "session", "persona") else "day"  # type: ignore[assignment]
        since = cost_facts.begin(span, datetime.now().astimezone())
        rows = cost.ledger(context).totals(since=since, group_by=group)
        if kind == "json":
            told = {"by": group, "since": since.isoformat(), "rows": rows}
            return json.dumps(told, ensure_ascii=False, indent=2)
        return cost._csv(group, rows)

    first = look(_FIRST)

    def widget() -> Any:
        from aiki_kernel.display.cost_board import CostBoard

        return CostBoard(look, copied, first)

    text = f"{render_text(first)}\n\n{overview.text}"
    return Result(overview.data, text, render_html(first), widget=widget)


def _in_all(sums: dict[str, Any]) -> str:
    from aiki_kernel.display.cost_facts import money

    return f"In all: {money(sums)}, {sums['calls']:,} calls." if sums["calls"] else ""


def _cached(context: Context) -> str:
    """What the response cache has saved, in all; nothing where it never answered."""
    from aiki_kernel.models.response_cache import ResponseCache

    wanted = context.settings.cache
    if not context.paths.responses.exists():
        return ""
    kept = ResponseCache(context.paths.responses, int(wanted.size_mb * 1e6), wanted.days)
    found = kept.health()
    kept.close()
    saved = found.get("saved_usd")
    return f"Response cache: {usd(saved)} saved in all." if saved else ""
