"""``aiki cost``: what the answers have cost, what else they could have, and what is left."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Annotated, Any, Literal

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, usd, when
from aiki_kernel.errors import UsageError

if TYPE_CHECKING:
    from aiki_kernel.mind.budget import Cap
    from aiki_kernel.mind.ledger import Ledger

By = Literal[
    "day", "week", "month", "model", "provider", "tier", "persona", "session", "stage", "kind"
]
_COUNTED = ("calls", "input_tokens", "output_tokens", "cached_tokens")
_COMPARED = ("compared_usd", "smart_only_usd", "cheap_only_usd")


@command("cost")
def cost(
    context: Context,
    by: Annotated[By | None, Arg("one row for each day, model, persona, session, ...")] = None,
    since: Annotated[str, Arg("from this day or time on: 2026-01-31, today, week, month")] = "",
    session: Annotated[bool, Arg("only the session that you are in")] = False,
    calls: Annotated[int, Arg("list the latest calls, so many, one a row")] = 0,
    csv: Annotated[bool, Arg("print comma-separated values")] = False,
) -> Result:
    """Show what the answers have cost: today, this week, in all, and by model.

    What has no known price is counted beside the sum, never as nothing. "Saved" is an
    estimate: the same tokens at the price of the smart tier's model.
    """
    book = ledger(context)
    begin = _begin(since)
    only = _session_id(context) if session else None
    if calls > 0:
        return _calls(context, book, calls, begin, only, csv)
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
    return Result(data, f"{table.text(context)}\n\n{_saved(whole)}".rstrip(), table.html())


@command("cost cache")
def cache(
    context: Context, clear: Annotated[bool, Arg("forget all kept answers and figures")] = False
) -> Result:
    """Show what the response cache holds, how often it answered and what that saved.

    It answers identical requests with temperature 0 or a seed: `aiki config set cache.chat true`,
    or for one cell `%%aiki --cache yes`.
    """
    from aiki_kernel.models.response_cache import ResponseCache

    wanted = context.settings.cache
    kept = ResponseCache(context.paths.responses, int(wanted.size_mb * 1e6), wanted.days)
    if clear:
        count = kept.clear()
        return Result({"cleared": count}, f"{count} kept answers are forgotten.")
    found = kept.health()
    kept.close()
    rate = found["hit_rate"]
    share = "it was never asked" if rate is None else f"{rate:.0%} of requests hit"
    text = (
        f"The response cache is {'on' if wanted.chat else 'off'} for chat: {found['answers']} "
        f"answers, {found['bytes'] / 1e6:.1f} of {wanted.size_mb:g} MB; {share}, "
        f"{usd(found['saved_usd'])} saved."
    )
    text += f" {found['trouble']}." if found["trouble"] else ""
    return Result({"chat": wanted.chat, "days": wanted.days, **found}, text)


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
    caps = budget(context, here)
    data = {"spans": sums, "models": models, "caps": [cap.to_json() for cap in caps]}
    lines = [_saved(sums["in all"]), *(_cap_line(cap) for cap in caps)]
    if sums["in all"]["local_s"]:
        lines.insert(0, f"Models of this machine: {sums['in all']['local_s']:,.0f} s, $0.")
    lines = [line for line in lines if line]
    if not sums["in all"]["calls"]:
        lines.insert(0, "No answer has been asked for yet, so nothing was spent.")
        return _shown(context, Result(data, "\n".join(lines)), only)
    tables = [_table("", sums, None), _table("model", models, None)]
    text = "\n\n".join([*(table.text(context) for table in tables), "\n".join(lines)])
    html = "".join(table.html() for table in tables)
    html += "".join(f"<div>{escape(line)}</div>" for line in lines)
    return _shown(context, Result(data, text.rstrip(), html), only)


def _shown(context: Context, overview: Result, only: str | None) -> Result:
    """In a notebook the board as well; of one session alone there is none."""
    if context.face != "magic" or only is not None:
        return overview
    from aiki_kernel.commands.cost_board import board

    return board(context, overview)


def budget(context: Context, session_id: str | None = None) -> list[Cap]:
    """The caps that are set, and how far each is used up."""
    from aiki_kernel.mind.budget import Budget

    return Budget(ledger(context).file, context.settings).state(session_id=session_id or "")


def saved_usd(sums: dict[str, Any]) -> float | None:
    """What smart-only would have cost more, an estimate in USD; None where nothing compares."""
    if sums["not_compared"] >= sums["calls"]:
        return None
    return float(sums["smart_only_usd"] - sums["compared_usd"])


def _saved(sums: dict[str, Any]) -> str:
    """One line on what is saved against smart-only."""
    saved = saved_usd(sums)
    if saved is None:
        return ""
    was, could = sums["compared_usd"], sums["smart_only_usd"]
    share = f" ({saved / could:.0%})" if could > 0 and saved > 0 else ""
    verb = f"~{usd(saved)} saved{share}" if saved >= 0 else f"~{usd(-saved)} more than that"
    left = ""
    if sums["not_compared"]:
        left = f" {sums['not_compared']} of {sums['calls']} calls could not be compared."
    return (
        f"Against smart-only (estimate): {usd(was)} instead of ~{usd(could)}, {verb}. "
        f"Cheap-only would have been ~{usd(sums['cheap_only_usd'])}.{left}"
    )


def _cap_line(cap: Cap) -> str:
    held = f", {usd(cap.held)} held for calls under way" if cap.held else ""
    calls = f"{cap.unpriced} {'call' if cap.unpriced == 1 else 'calls'}"
    unknown = f", {calls} of unknown price not counted" if cap.unpriced else ""
    return (
        f"Budget {cap.what}: {usd(cap.spent)} of {usd(cap.limit)} spent{held}{unknown}; "
        f"`aiki config set budget.{cap.setting}` changes it."
    )


def _calls(
    context: Context,
    book: Ledger,
    count: int,
    begin: datetime | None,
    only: str | None,
    as_csv: bool,
) -> Result:
    """The latest calls, newest first."""
    rows = [row.to_json() for row in book.rows(since=begin, session_id=only, limit=count)]
    data = {"calls": rows}
    if as_csv:
        out = io.StringIO()
        if rows:
            writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {k: _tame(v) if isinstance(v, str) else v for k, v in r.items()} for r in rows
            )
        return Result(data, out.getvalue().rstrip("\n"))
    if not rows:
        return Result(data, "No answer has been asked for yet, so nothing was spent.")
    heads = [Column(c, right=True, whole=True) for c in ("in", "out", "cost", "smart-only", "s")]
    table = Table(
        ["when", "stage", "model", *heads, "end"],
        [
            [
                when(r["when"]),
                r["stage"],
                r["name"] or r["model"],
                r["input_tokens"],
                r["output_tokens"],
                usd(r["cost_usd"]),
                "–" if r["smart_only_usd"] is None else f"~{usd(r['smart_only_usd'])}",
                f"{r['latency_s']:.1f}",
                r["finish_reason"],
            ]
            for r in rows
        ],
    )
    return Result(data, table.text(context), table.html())


def _table(title: str, rows: dict[str, Any], whole: dict[str, Any] | None) -> Table:
    shown = [_row(name, sums) for name, sums in rows.items()]
    if whole is not None and len(rows) > 1:
        shown.append(_row("in all", whole))
    numbers = [
        Column(c, right=True, whole=True) for c in ("calls", "in", "out", "cost", "saved", "")
    ]
    return Table([title, *numbers], shown)


def _row(name: str, sums: dict[str, Any]) -> list[Any]:
    saved = saved_usd(sums)
    notes = [f"{sums['errors']} failed"] if sums["errors"] else []
    if sums["interrupted"]:
        notes.append(f"{sums['interrupted']} interrupted")
    if sums["estimated"]:
        notes.append(f"{sums['estimated']} estimated")
    known = sums["calls"] - sums["unpriced"]
    cost = usd(sums["cost_usd"] if known or not sums["calls"] else None)
    if sums["hops"]:
        notes.append(f"{sums['hops']} {'hop' if sums['hops'] == 1 else 'hops'}")
    if sums["unpriced"] and known:
        cost += f" + {sums['unpriced']} unknown"
    counts = [sums["calls"], sums["input_tokens"], sums["output_tokens"]]
    compared = "–" if saved is None else f"~{usd(saved)}" if saved >= 0 else f"~-{usd(-saved)}"
    return [name, *counts, cost, compared, ", ".join(notes)]


def _csv(title: str, rows: dict[str, Any]) -> str:
    """Numbers plain; an empty ``cost_usd`` with ``unpriced`` calls is an unknown price. The
    estimates are over the calls whose own cost is ``compared_usd``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    estimates = ("compared_usd", "smart_only_usd_estimate", "cheap_only_usd_estimate")
    writer.writerow([title, *_COUNTED, "cost_usd", "unpriced", "local_s", *estimates])
    for name, sums in rows.items():
        known = sums["calls"] - sums["unpriced"]
        cost = f"{sums['cost_usd']:.8f}" if known else ""
        compared = sums["not_compared"] < sums["calls"]
        row = [_tame(name), *(sums[k] for k in _COUNTED), cost, sums["unpriced"]]
        row.append(f"{sums['local_s']:.3f}")
        writer.writerow([*row, *(f"{sums[k]:.8f}" if compared else "" for k in _COMPARED)])
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
