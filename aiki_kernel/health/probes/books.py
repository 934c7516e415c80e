"""What the ledger tells: today's cost against the budget, errors and times of the last hour."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import Any

from aiki_kernel.health.moment import Moment
from aiki_kernel.health.reading import DEGRADED, DOWN, OK, Reading

_HOUR_S = 3600.0
_FEW = 3  # calls that say nothing about a rate

_COST = """SELECT coalesce(sum(cost_usd), 0.0), coalesce(sum(cost_usd IS NULL), 0), count(*),
 coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0) FROM entry WHERE at >= ?"""
_ERRORS = """SELECT CASE name WHEN '' THEN model ELSE name END, count(*),
 sum(error IS NOT NULL AND NOT interrupted) FROM entry WHERE at >= ? GROUP BY 1 ORDER BY 3 DESC"""
_OLD_ERRORS = _ERRORS.replace("CASE name WHEN '' THEN model ELSE name END", "model")
_TIMES = """SELECT stage, latency_s, first_token_s, recall_s, route_s FROM entry
 WHERE at >= ? AND error IS NULL AND NOT interrupted ORDER BY at DESC LIMIT 5000"""
_OLD_TIMES = _TIMES.replace("recall_s, route_s", "NULL, NULL")
_REMEMBERED = "SELECT seconds FROM remembered WHERE at >= ? ORDER BY at DESC LIMIT 5000"


class Cost:
    """Today's cost. The day is the user's own, as for the budget."""

    name, title, timeout_s = "cost", "Cost today", 0.0

    def measure(self, moment: Moment) -> Reading:
        cap = moment.plan.day_usd
        with moment.ledger() as ledger:
            row = ledger.execute(_COST, (_midnight(moment.wall),)).fetchone() if ledger else None
        spent, unpriced, calls, tokens_in, tokens_out = row or (0.0, 0, 0, 0, 0)
        facts = {
            "usd": round(spent, 6),
            "day_usd": cap,
            "unpriced": unpriced,
            "calls": calls,
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
        }
        noun = "call" if unpriced == 1 else "calls"
        more = f" and {unpriced} {noun} of unknown price" if unpriced else ""
        if cap is None:
            return Reading(OK, f"${spent:.4f} today{more}; no budget is set.", spent, "USD", facts)
        raise_it = f"raise it with `aiki config set budget.day_usd {_round_up(cap)}`"
        if spent >= cap:
            reason = (
                f"Today's budget of ${cap:g} is used up (${spent:.4f}{more}): paid models are "
                f"refused until midnight; {raise_it}, or use a local model."
            )
            return Reading(DOWN, reason, spent, "USD", facts)
        if spent >= moment.plan.budget_part * cap:
            reason = (
                f"${spent:.4f} of today's ${cap:g} is spent{more}: {raise_it}, or use a local "
                "model."
            )
            return Reading(DEGRADED, reason, spent, "USD", facts)
        return Reading(OK, f"${spent:.4f} of today's ${cap:g}{more}.", spent, "USD", facts)


class Answers:
    """The share of the last hour's model calls that failed; what the user stopped did not."""

    name, title, timeout_s = "answers", "Answers", 0.0

    def measure(self, moment: Moment) -> Reading:
        with moment.ledger() as ledger:
            rows = _rows(ledger, moment.wall - _HOUR_S) if ledger else []
        calls, errors = sum(row[1] for row in rows), sum(row[2] for row in rows)
        part = errors / calls if calls else 0.0
        facts = {"calls": calls, "errors": errors}
        if not errors:
            return Reading(
                OK, f"{calls} model calls in the last hour, none failed.", 0.0, "of calls", facts
            )
        said = f"{errors} of {calls} model calls of the last hour failed, most of {rows[0][0]}"
        low, high = moment.plan.error_part
        if calls < _FEW or part < low:
            return Reading(OK, f"{said}.", part, "of calls", facts)
        state = DOWN if part >= high else DEGRADED
        reason = (
            f"{said}: `aiki route` shows which model answers, `aiki config set model NAME` "
            "chooses another."
        )
        return Reading(state, reason, part, "of calls", facts)


class Latency:
    """How long the last hour's answers let their users wait."""

    name, title, timeout_s = "latency", "Waiting time", 0.0

    def measure(self, moment: Moment) -> Reading:
        with moment.ledger() as ledger:
            stages = _times(ledger, moment.wall - _HOUR_S) if ledger else {}
        facts: dict[str, Any] = {}
        for stage, seconds in stages.items():
            seconds.sort()
            facts[stage] = {
                "p50_s": round(_quantile(seconds, 0.5), 3),
                "p95_s": round(_quantile(seconds, 0.95), 3),
                "calls": len(seconds),
            }
        first_token = stages.get("first_token")
        if not first_token:
            return Reading(OK, "No answer in the last hour.", None, "s", facts)
        p50, p95 = _quantile(first_token, 0.5), _quantile(first_token, 0.95)
        said = f"The first word came after {p50:.1f} s (median) and {p95:.1f} s (95 %)"
        if len(first_token) >= _FEW and p50 > moment.plan.first_token_s:
            reason = f"{said}: choose a smaller model, or see `aiki bench generate`."
            return Reading(DEGRADED, reason, p50, "s", facts)
        return Reading(OK, f"{said}.", p50, "s", facts)


def _rows(ledger: sqlite3.Connection, since: float) -> list[tuple[str, int, int]]:
    try:
        return ledger.execute(_ERRORS, (since,)).fetchall()
    except sqlite3.OperationalError:  # a ledger of the first format, which nobody has written to
        return ledger.execute(_OLD_ERRORS, (since,)).fetchall()


def _times(ledger: sqlite3.Connection, since: float) -> dict[str, list[float]]:
    """Seconds by stage; the formats before lack some stages."""
    try:
        rows = ledger.execute(_TIMES, (since,)).fetchall()
    except sqlite3.OperationalError:
        rows = ledger.execute(_OLD_TIMES, (since,)).fetchall()
    stages: dict[str, list[float]] = {}
    for stage, *seconds in rows:
        for name, one in zip((stage, "first_token", "recall", "route"), seconds, strict=True):
            if one is not None:
                stages.setdefault(name, []).append(one)
    with contextlib.suppress(sqlite3.OperationalError):  # before format 4 nobody noted it
        if remembered := [one for (one,) in ledger.execute(_REMEMBERED, (since,))]:
            stages["remember"] = remembered
    return stages


def _quantile(ordered: list[float], part: float) -> float:
    """The nearest rank of a list that is in order."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _midnight(wall: float) -> float:
    now = time.localtime(wall)
    return time.mktime((now.tm_year, now.tm_mon, now.tm_mday, 0, 0, 0, 0, 0, -1))


def _round_up(usd: float) -> str:
    return f"{2 * usd or 1:g}"
