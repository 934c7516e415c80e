"""``aiki cost``: what the answers have cost, from the ledger."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, usd
from aiki_kernel.errors import UsageError

if TYPE_CHECKING:
    from aiki_kernel.mind.ledger import Ledger

By = Literal["day", "week", "month", "model", "provider", "session"]
_COUNTED = ("calls", "input_tokens", "output_tokens", "cached_tokens")


@command("cost")
def cost(
    context: Context,
    by: Annotated[
        By | None, Arg("one row for each day, week, month, model, provider or session")
    ] = None,
    since: Annotated[str, Arg("from this day or time on: 2026-01-31, today, week, month")] = "",
    session: Annotated[bool, Arg("only the session that you are in")] = False,
    csv: Annotated[bool, Arg("print comma-separated values")] = False,
) -> Result:
    """Show what the answers have cost: today, this week, in all, and by model.

    What has no known price is counted beside the sum, never as nothing.
    """
    book = ledger(context)
    begin = _begin(since)
    only = _session_id(context) if session else None
    if by is None and not since and not csv:
        return _overview(context, book, only)
    grouped = book.totals(since=begin, session_id=only, group_by=by or "model")
    whole = book.totals(since=begin, session_id=only)
    title = by or "model"
    data = {"by": title, "since": begin.isoformat() if begin else None, "rows": grouped}
    data["total"] = whole
    if csv:
        return Result(data, _csv(title, grouped))
    table = _table(title, grouped, whole)
    return Result(data, table.text(context), table.html())


def ledger(context: Context) -> Ledger:
    """The ledger of this home: the running Aiki's own, if there is one."""
    if context.started:
        return context.aiki.ledger
    from aiki_kernel.mind.ledger import Ledger

    return Ledger(context.paths.ledger)


def _overview(context: Context, book: Ledger, only: str | None) -> Result:
    spans = {"today": _begin("today"), "this week": _begin("week"), "in all": None}
    sums = {name: book.totals(since=begin, session_id=only) for name, begin in spans.items()}
    here = _session_id(context)
    if here and only is None:
        sums = {"this session": book.totals(session_id=here), **sums}
    models = book.totals(session_id=only, group_by="model")
    data = {"spans": sums, "models": models}
    if not sums["in all"]["calls"]:
        return Result(data, "No answer has been asked for yet, so nothing was spent.")
    tables = [_table("", sums, None), _table("model", models, None)]
    text = "\n\n".join(table.text(context) for table in tables)
    return Result(data, text, "".join(table.html() for table in tables))


def _table(title: str, rows: dict[str, Any], whole: dict[str, Any] | None) -> Table:
    shown = [_row(name, sums) for name, sums in rows.items()]
    if whole is not None and len(rows) > 1:
        shown.append(_row("in all", whole))
    numbers = [Column(c, right=True, whole=True) for c in ("answers", "in", "out", "cost", "")]
    return Table([title, *numbers], shown)


def _row(name: str, sums: dict[str, Any]) -> list[Any]:
    notes = [f"{sums['errors']} failed"] if sums["errors"] else []
    if sums["interrupted"]:
        notes.append(f"{sums['interrupted']} interrupted")
    if sums["estimated"]:
        notes.append(f"{sums['estimated']} estimated")
    known = sums["calls"] - sums["unpriced"]
    cost = usd(sums["cost_usd"] if known or not sums["calls"] else None)
    if sums["unpriced"] and known:
        cost += f" + {sums['unpriced']} unknown"
    counts = [sums["calls"], sums["input_tokens"], sums["output_tokens"]]
    return [name, *counts, cost, ", ".join(notes)]


def _csv(title: str, rows: dict[str, Any]) -> str:
    """Numbers plain; an empty ``cost_usd`` with ``unpriced`` calls is an unknown price."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([title, *_COUNTED, "cost_usd", "unpriced"])
    for name, sums in rows.items():
        known = sums["calls"] - sums["unpriced"]
        cost = f"{sums['cost_usd']:.8f}" if known else ""
        writer.writerow([_tame(name), *(sums[k] for k in _COUNTED), cost, sums["unpriced"]])
    return out.getvalue().rstrip("\n")


def _tame(name: str) -> str:
    """A spreadsheet takes a cell that begins with one of these for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def _begin(since: str) -> datetime | None:
    """The start of a span in the user's own time. Raises UsageError."""
    if not since:
        return None
    today = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    named = {
        "today": today,
        "week": today - timedelta(days=today.weekday()),
        "month": today.replace(day=1),
    }
    if since in named:
        return named[since]
    try:
        return datetime.fromisoformat(since).astimezone()
    except ValueError:
        raise UsageError(
            f"--since cannot be {since!r}: give a day such as 2026-01-31, or today, week, month."
        ) from None


def _session_id(context: Context) -> str | None:
    return context.conversation.session_id if context.conversation is not None else None
