"""How long an answer will be: a bound from past answers of the same model at the same stage.

The bound is an order statistic: of ``n`` past answers the ``ceil(0.95 (n + 1))``-th shortest.
Whatever the lengths are distributed as, the next answer is at most that long in at least 95 of
100 cases, as long as past and next are alike (split conformal prediction). Fewer than
:data:`ENOUGH` answers bound nothing, and the forecast is then all that the call may take. An
answer that was cut at its limit counts as longer than any limit; one that came out of the response
cache does not count at all.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

COVERAGE = 0.95
ENOUGH = 19
"""Answers from which the longest of them is a bound at :data:`COVERAGE`."""

_RECENT = 200  # answers that count: what a model was asked a year ago tells little
_PAST = (
    "SELECT output_tokens, finish_reason FROM entry WHERE name = ? AND stage = ? "
    "AND error IS NULL AND interrupted = 0 AND input_tokens + output_tokens > 0 "
    "ORDER BY id DESC LIMIT ?"
)


@dataclass(frozen=True)
class Forecast:
    """At most ``tokens`` of answer, learnt from ``answers`` past ones (0: not learnt)."""

    tokens: int
    answers: int = 0


def of_past(db: sqlite3.Connection, name: str, stage: str, max_tokens: int) -> Forecast:
    """The forecast for a call that may take ``max_tokens``. ``name`` is the catalogue's."""
    rows = db.execute(_PAST, (name, stage, _RECENT)).fetchall()
    return bound([math.inf if reason == "length" else n for n, reason in rows], max_tokens)


def bound(lengths: Sequence[float], max_tokens: int) -> Forecast:
    """The forecast from past ``lengths``, in tokens; never more than ``max_tokens``."""
    n = len(lengths)
    if n < ENOUGH:
        return Forecast(max_tokens)
    place = math.ceil(COVERAGE * (n + 1))
    longest = sorted(lengths)[min(place, n) - 1]
    return Forecast(int(min(max(1.0, longest), max_tokens)), n)
