"""Periods as people write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from aiki_kernel.errors import UsageError
from aiki_kernel.memory.period import period_of

NOW = datetime(2026, 11, 21, 12, 30).astimezone()  # a Saturday


def local(*parts: int) -> datetime:
    return datetime(*parts).astimezone()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "begin", "end"),
    [
        ("24h", NOW - timedelta(hours=24), NOW),
        ("90 min", NOW - timedelta(minutes=90), NOW),
        ("1.5 days", NOW - timedelta(hours=36), NOW),
        ("last 3 days", NOW - timedelta(days=3), NOW),
        ("siste 2 uker", NOW - timedelta(weeks=2), NOW),
        ("2 døgn", NOW - timedelta(days=2), NOW),
        ("3 timer", NOW - timedelta(hours=3), NOW),
        ("6 måneder", NOW - timedelta(days=180), NOW),
        (timedelta(hours=2), NOW - timedelta(hours=2), NOW),
        ("today", local(2026, 11, 21), NOW),
        ("I går", local(2026, 11, 20), local(2026, 11, 21)),
        ("last week", local(2026, 11, 9), local(2026, 11, 16)),
        ("this week", local(2026, 11, 16), NOW),
        ("forrige måned", local(2026, 10, 1), local(2026, 11, 1)),
        ("i mars", local(2026, 3, 1), local(2026, 4, 1)),
        ("mars", local(2026, 3, 1), local(2026, 4, 1)),
        ("mandag", local(2026, 11, 16), local(2026, 11, 17)),
        ("2026-11-20", local(2026, 11, 20), local(2026, 11, 21)),
        ("2026-11-01..2026-11-03", local(2026, 11, 1), local(2026, 11, 4)),
        (("2026-11-01T10:00", "2026-11-01T11:00"), local(2026, 11, 1, 10), local(2026, 11, 1, 11)),
        ((date(2026, 1, 1), date(2026, 1, 1)), local(2026, 1, 1), local(2026, 1, 2)),
        ((datetime(2026, 1, 1, tzinfo=UTC), NOW), datetime(2026, 1, 1, tzinfo=UTC), NOW),
    ],
)
def test_periods(given: Any, begin: datetime, end: datetime) -> None:
    found = [datetime.fromisoformat(one) for one in period_of(given, NOW)]
    assert found == [begin, end]


@pytest.mark.parametrize(
    "given",
    ["", "soon", "24 parsecs", "-3h", "0 h", ("2026-02-01", "2026-01-01"), (1,), ("a", "b"),
     timedelta(0), "99999999 years"],
)  # fmt: skip
def test_what_is_no_period_is_one_line(given: Any) -> None:
    with pytest.raises(UsageError) as caught:
        period_of(given, NOW)
    assert "\n" not in str(caught.value)
