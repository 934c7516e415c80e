"""Periods as people write them: "24h", "last week", "siste uke", a pair of times.

Calendar words go by the clock of this machine's user; results are UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from aiki_kernel.errors import UsageError
from aiki_kernel.memory.asking.period import whole

WORDS = (
    "24h",
    "7d",
    "30d",
    "today",
    "yesterday",
    "this week",
    "last week",
    "this month",
    "last month",
)
"""What Tab offers."""

_UNITS = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "sekund": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "minutt": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "t": 3600.0,
    "time": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "dag": 86400.0,
    "døgn": 86400.0,
    "w": 604800.0,
    "week": 604800.0,
    "uke": 604800.0,
    "month": 2592000.0,
    "måned": 2592000.0,
    "year": 31536000.0,
    "år": 31536000.0,
}
_PLURALS = ("r", "er", "s", "e", "ter")
_LENGTH = re.compile(
    r"(?:(?:the )?(?:last|past)|(?:de )?siste)?\s*(\d+(?:[.,]\d+)?)\s*([a-zåøæ]+)", re.I
)


def period_of(given: Any, present: datetime | None = None) -> tuple[str, str]:
    """Beginning and end of ``given``, ISO-8601 in UTC.

    ``given``: a length up to now ("24h", "90 min", "last 3 days", "siste 2 uker", a
    ``timedelta``), a date in any words that a question about the past may use ("today", "last
    week", "i går", "forrige måned", "2026-11-20", "i mars"), or a pair of times (``datetime``,
    ``date`` or ISO-8601). Raises :class:`UsageError`.
    """
    here = (present or datetime.now(UTC)).astimezone()
    if isinstance(given, timedelta):
        return _since(given.total_seconds(), here)
    if isinstance(given, tuple | list):
        if len(given) != 2:
            raise UsageError("A period is a pair of times: (beginning, end).")
        begin, end = _moment(given[0]), _moment(given[1], end=True)
        if end <= begin:
            raise UsageError("A period ends after it begins: turn the two times round.")
        return _iso(begin), _iso(end)
    if isinstance(given, datetime):
        return _iso(_moment(given)), _iso(here)
    if isinstance(given, date):
        return _iso(_moment(given)), _iso(_moment(given, end=True))
    text = " ".join(str(given).lower().replace("\u00a0", " ").split())
    if ".." in text:
        begin_text, _, end_text = text.partition("..")
        return period_of((begin_text.strip(" ."), end_text.strip(" .")), here)
    length = _LENGTH.fullmatch(text)
    if length is not None:
        unit = _unit(length[2])
        if unit is not None:
            return _since(float(length[1].replace(",", ".")) * unit, here)
    span = whole(text, here)
    if span is not None:
        begin, end = span
        return _iso(begin), _iso(min(end, here) if begin < here else end)
    raise UsageError(
        f'{given!r} is no period: write "24h", "last week", "2026-11-20", or two times '
        "(2026-11-01..2026-11-20)."
    )


def _since(seconds: float, here: datetime) -> tuple[str, str]:
    if seconds <= 0:
        raise UsageError("A period is longer than nothing: write 24h or last week.")
    try:
        return _iso(here - timedelta(seconds=seconds)), _iso(here)
    except OverflowError:
        raise UsageError("That period begins before the calendar: write 30d.") from None


def _unit(word: str) -> float | None:
    for ending in ("", *_PLURALS):
        if not ending or word.endswith(ending):
            stem = word[: len(word) - len(ending)]
            if stem in _UNITS:
                return _UNITS[stem]
    return None


def _moment(given: Any, *, end: bool = False) -> datetime:
    """A time with a zone; a day alone is its beginning, or, as an ``end``, that of the next."""
    text = ""
    if isinstance(given, datetime):
        when, whole = given, False
    elif isinstance(given, date):
        when, whole = datetime(given.year, given.month, given.day), True
    else:
        text = str(given).strip()
        try:
            when = datetime.fromisoformat(text.upper().replace(" ", "T", 1))
        except ValueError:
            raise UsageError(f"{given!r} is no time: write it as 2026-11-21T09:30.") from None
        whole = len(text) <= 10
    if whole and end:
        when += timedelta(days=1)
    return when if when.tzinfo else when.astimezone()


def _iso(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="microseconds")
