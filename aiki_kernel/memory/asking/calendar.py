"""Spans of the calendar around a moment: days, weeks, months, years, seasons.

All of them are half-open pairs ``(start, end)`` of aware datetimes in the zone of the
moment that they are reckoned from. A week begins on Monday (ISO 8601).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple


class Span(NamedTuple):
    """From ``start`` up to but without ``end``."""

    start: datetime
    end: datetime


def midnight(when: datetime) -> datetime:
    """The beginning of that day, with the offset that the zone has on that day."""
    return _local(when.replace(hour=0, minute=0, second=0, microsecond=0))


def day(when: datetime, back: int = 0) -> Span:
    """The day ``back`` days before ``when``."""
    start = _days(midnight(when), -back)
    return Span(start, _days(start, 1))


def part(when: datetime, first: int, last: int, back: int = 0) -> Span:
    """Hours of a day; ``last`` may be beyond 24, into the next one."""
    start = day(when, back).start
    return Span(start + timedelta(hours=first), start + timedelta(hours=last))


def week(when: datetime, back: int = 0) -> Span:
    start = _days(midnight(when), -when.weekday() - 7 * back)
    return Span(start, _days(start, 7))


def weekend(when: datetime, back: int = 0) -> Span:
    """Saturday and Sunday of the week ``back`` weeks before."""
    start = _days(week(when, back).start, 5)
    return Span(start, _days(start, 2))


def month(when: datetime, back: int = 0) -> Span:
    number = when.year * 12 + when.month - 1 - back
    return months(when, number // 12, number % 12 + 1, 1)


def months(when: datetime, year: int, first: int, count: int) -> Span:
    """``count`` months from month ``first`` of ``year``, in the zone of ``when``."""
    last = year * 12 + first - 1 + count
    start = midnight(when.replace(year=year, month=first, day=1))
    return Span(start, midnight(when.replace(year=last // 12, month=last % 12 + 1, day=1)))


def year(when: datetime, back: int = 0) -> Span:
    return months(when, when.year - back, 1, 12)


def hour(when: datetime, back: int = 0) -> Span:
    start = (when - timedelta(hours=back)).replace(minute=0, second=0, microsecond=0)
    return Span(start, start + timedelta(hours=1))


def minute(when: datetime, back: int = 0) -> Span:
    """The few minutes around that one: nobody means the very minute."""
    middle = when - timedelta(minutes=back)
    return Span(middle - timedelta(minutes=3), middle + timedelta(minutes=3))


def weekday(when: datetime, number: int, *, before_today: bool = False) -> Span:
    """The latest such day (0 is Monday), today included unless it must be before."""
    back = (when.weekday() - number) % 7
    return day(when, 7 if before_today and not back else back)


def iso_week(when: datetime, number: int, of: int | None = None) -> Span:
    """Week ``number``; without a year the latest that has begun. Raises ValueError for 54."""
    start = datetime.fromisocalendar(of or when.year, number, 1).replace(tzinfo=when.tzinfo)
    if of is None and start > when:
        start = datetime.fromisocalendar(when.year - 1, number, 1).replace(tzinfo=when.tzinfo)
    start = midnight(start)
    return Span(start, _days(start, 7))


def date(when: datetime, day_: int, month_: int, year_: int | None = None) -> Span:
    """A date; without a year the latest that has begun. Raises ValueError when there is none."""
    if year_ is not None and year_ < 100:
        year_ += 2000
    for candidate in (year_,) if year_ else range(when.year, when.year - 8, -1):
        try:
            found = day(when.replace(year=candidate, month=month_, day=day_))
        except ValueError:  # 29 February
            if year_:
                raise
            continue
        if year_ or found.start <= when:
            return found
    raise ValueError("no such date")


def past_month(when: datetime, number: int) -> Span:
    """The latest month of that number that has begun."""
    return months(when, when.year - (number > when.month), number, 1)


def rolling(when: datetime, count: int, unit: str) -> Span:
    """The last ``count`` minutes, hours, days, weeks, months or years, up to now."""
    if unit in ("minute", "hour"):
        return Span(when - timedelta(**{f"{unit}s": count}), when + timedelta(seconds=1))
    days = {"day": 1, "week": 7}.get(unit)
    if days:
        return Span(_days(midnight(when), -days * count), when + timedelta(seconds=1))
    number = when.year * 12 + when.month - 1 - count * (12 if unit == "year" else 1)
    year_, month_ = number // 12, number % 12 + 1
    for day_ in range(when.day, 0, -1):
        try:
            start = midnight(when.replace(year=year_, month=month_, day=day_))
        except ValueError:  # 31 June
            continue
        return Span(start, when + timedelta(seconds=1))
    raise ValueError("no such date")


def _days(when: datetime, count: int) -> datetime:
    return _local(when.replace(tzinfo=None) + timedelta(days=count), when)


def _local(when: datetime, like: datetime | None = None) -> datetime:
    """``when`` by its wall clock, with the offset of that day where the zone is this machine's.

    A zone that is a mere offset (as ``astimezone()`` gives) does not know of summer time.
    """
    zone = (like or when).tzinfo
    bare = when.replace(tzinfo=None)
    now = datetime.now().astimezone()
    if zone is not None and zone == now.tzinfo:
        return bare.astimezone()
    return bare.replace(tzinfo=zone)
