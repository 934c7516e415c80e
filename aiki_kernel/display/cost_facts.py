"""What the cost board shows: a span of days in bars, and what the money went to.

Read from the ledger; the widget, the HTML and the text are renderings of the same words. What
has no known price is counted beside the sums and named, never taken for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiki_kernel.display.facts import clean
from aiki_kernel.safety.secrets import redact

if TYPE_CHECKING:
    from aiki_kernel.mind.ledger import GroupBy, Ledger

SPANS = {"today": "today", "7": "in 7 days", "30": "in 30 days"}
GROUPS: tuple[GroupBy, ...] = ("model", "session", "persona")
_ROWS, _NAME, _MOST_CALLS, _UNKNOWN = 8, 60, 5000, 6

Board = dict[str, Any]


def begin(span: str, now: datetime) -> datetime:
    """When a span begins, in the user's own time; ``now`` is aware."""
    midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    days = int(span) - 1 if span.isdigit() else 0
    return (midnight.replace(tzinfo=None) - timedelta(days=days)).astimezone()


def board(
    book: Ledger,
    span: str,
    caps: Sequence[Mapping[str, Any]],
    lines: Sequence[str],
    now: datetime,
    session_id: str | None = None,
) -> Board:
    """The board of ``span`` (of :data:`SPANS`); ``caps`` as ``cost --json`` has them with
    ``what``, ``lines`` what else is to be said (saved, caches)."""
    since = begin(span, now)
    whole = book.totals(since=since)
    groups = {name: book.totals(since=since, group_by=name) for name in GROUPS}
    return {
        "span": span,
        "said": f"{money(whole)} {SPANS[span]}",
        "counted": _counted(whole),
        "bars": _hours(book, since) if span == "today" else _days(book, since, int(span)),
        "groups": {name: _group(found, session_id) for name, found in groups.items()},
        "caps": [_cap(one) for one in caps],
        "lines": [line for line in (_unknown(groups["model"]), *lines) if line],
        "at": now.astimezone().strftime("%H:%M"),
    }


def usd(amount: float | None) -> str:
    """``$0``, ``$0.0123``, ``$0.50``, ``$4.20``; None is unknown, which is not nothing."""
    if amount is None:
        return "unknown"
    if amount == 0:
        return "$0"
    if amount < 1e-4:
        return "<$0.0001"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}".removesuffix("00")


def money(sums: Mapping[str, Any]) -> str:
    """A sum with what it leaves out: ``$0.12 + 3 of unknown price``."""
    unpriced = sums["unpriced"]
    if unpriced and unpriced == sums["calls"]:
        return f"{unpriced} of unknown price" if unpriced > 1 else "unknown price"
    return usd(sums["cost_usd"]) + (f" + {unpriced} of unknown price" if unpriced else "")


def _counted(sums: Mapping[str, Any]) -> str:
    if not sums["calls"]:
        return "No answer was asked for, so nothing was spent."
    calls = f"{sums['calls']:,} {'call' if sums['calls'] == 1 else 'calls'}"
    cached = f" ({sums['cached_tokens']:,} cached)" if sums["cached_tokens"] else ""
    tokens = f"{sums['input_tokens']:,} → {sums['output_tokens']:,} tokens{cached}"
    failed = f", {sums['errors']} failed" if sums["errors"] else ""
    local = f", {sums['local_s']:,.0f} s on this machine" if sums["local_s"] >= 0.5 else ""
    return f"{calls}, {tokens}{failed}{local}"


def _days(book: Ledger, since: datetime, count: int) -> list[Board]:
    found = book.totals(since=since, group_by="day")
    bars = []
    for n in range(count):
        day = (since.replace(tzinfo=None) + timedelta(days=n)).date()
        sums = found.get(day.isoformat())
        bars.append(_bar(f"{day.day} {day:%B}", f"{day.day}", sums))
    return bars


def _hours(book: Ledger, since: datetime) -> list[Board]:
    hours: list[dict[str, Any]] = [{"calls": 0, "cost_usd": 0.0, "unpriced": 0} for _ in range(24)]
    for entry in book.rows(since=since, limit=_MOST_CALLS):
        one = hours[datetime.fromisoformat(entry.when).astimezone().hour]
        one["calls"] += 1
        one["cost_usd"] += entry.cost_usd or 0.0
        one["unpriced"] += entry.cost_usd is None
    return [_bar(f"{n:02d}:00", f"{n:02d}", sums) for n, sums in enumerate(hours)]


def _bar(name: str, short: str, sums: Mapping[str, Any] | None) -> Board:
    if not sums or not sums["calls"]:
        return {"name": name, "short": short, "usd": 0.0, "said": "nothing", "unknown": False}
    return {
        "name": name,
        "short": short,
        "usd": round(sums["cost_usd"], 8),
        "said": f"{money(sums)}, {sums['calls']:,} {'call' if sums['calls'] == 1 else 'calls'}",
        "unknown": bool(sums["unpriced"]),
    }


def _group(found: Mapping[str, Any], session_id: str | None) -> list[list[str]]:
    ordered = sorted(found.items(), key=lambda one: (-one[1]["cost_usd"], -one[1]["calls"]))
    rows = [_row(_named(name, session_id), sums) for name, sums in ordered[:_ROWS]]
    rest = [sums for _, sums in ordered[_ROWS:]]
    if rest:
        keys = ("calls", "input_tokens", "output_tokens", "cost_usd", "unpriced")
        rows.append(_row(f"{len(rest)} others", {key: sum(s[key] for s in rest) for key in keys}))
    return rows


def _row(name: str, sums: Mapping[str, Any]) -> list[str]:
    tokens = f"{sums['input_tokens']:,} → {sums['output_tokens']:,}"
    return [name, f"{sums['calls']:,}", tokens, money(sums)]


def _named(name: str, session_id: str | None) -> str:
    if name and name == session_id:
        return "this session"
    text = clean(redact(str(name))) or "none"
    return text if len(text) <= _NAME else text[: _NAME - 1] + "…"


def _unknown(models: Mapping[str, Any]) -> str:
    names = [_named(name, None) for name, sums in models.items() if sums["unpriced"]]
    if not names:
        return ""
    shown = ", ".join(names[:_UNKNOWN])
    more = f" and {len(names) - _UNKNOWN} more" if len(names) > _UNKNOWN else ""
    return f"Unknown price: {shown}{more}. What they cost is not in the sums."


def _cap(one: Mapping[str, Any]) -> Board:
    spent, held, limit = one["spent_usd"], one["held_usd"], one["limit_usd"]
    share = min(1.0, (spent + held) / limit) if limit else 1.0
    held_too = f", {usd(held)} held for calls under way" if held else ""
    unknown = f", {one['unpriced_calls']} of unknown price not counted"
    return {
        "said": f"Budget {one['what']}: {usd(one['left_usd'])} left of {usd(limit)}"
        f" ({usd(spent)} spent{held_too}{unknown if one['unpriced_calls'] else ''})",
        "share": round(share, 4),
    }
