"""Periods in plain words: ``last week``, ``since Monday``, ``i mars``, ``for tre dager siden``.

A text is searched for dates of any form (:data:`_FORMS`); the word before one says whether
it is the period itself, its beginning or its end; two of them may be the ends of a range.
A day of the week, a date or a month without a year is the latest one that has begun. Dates
in figures put the day first (``3.11.2026``, ``3/11/2026``), except where that is no date.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiki_kernel.errors import UsageError
from aiki_kernel.memory.asking import calendar
from aiki_kernel.memory.asking.calendar import Span
from aiki_kernel.memory.asking.vocabulary import (
    DAYS,
    MONTHS,
    NUMBERS,
    SEASONS,
    UNITS,
    UNSURE_MONTHS,
    word_set,
)

_RECENTLY_DAYS = 14


@dataclass(frozen=True)
class Period:
    """``since`` and ``until`` as ISO-8601 in UTC, ends included; ``words`` are the text's own."""

    since: str | None
    until: str | None
    words: str


def _any(words: object) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))  # type: ignore[call-overload]


_MONTH = f"(?P<month>{_any(MONTHS)})\\b\\.?"
_NUMBER = rf"(?:(?P<count>\d{{1,4}}|{_any(NUMBERS)})(?: of)?)"
_UNIT = f"(?P<unit>{_any(UNITS)})"
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_NTH = r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.)?"
_LAST = r"last|previous|forrige|førre|sist"
_THIS = r"this|current|denne|dette|inneværende"
_OF_YEAR = rf"(?:,? (?:of |in |i )?(?:{_YEAR}|(?P<ago>last year|i fjor)|this year|i år))?"

Form = Callable[[re.Match[str], datetime], Span]
_FORMS: list[tuple[re.Pattern[str], Form]] = []


def _form(pattern: str) -> Callable[[Form], Form]:
    def register(function: Form) -> Form:
        _FORMS.append((re.compile(rf"(?<![\w.]){pattern}(?!\w)", re.IGNORECASE), function))
        return function

    return register


def _year(found: re.Match[str], now: datetime) -> int | None:
    if found["year"]:
        return int(found["year"])
    return now.year - 1 if found["ago"] else None


def _word_before(found: re.Match[str]) -> str:
    return found.string[: found.start()].rstrip().rpartition(" ")[2].lower()


@_form(r"(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)(?:[T ](?P<h>\d\d):(?P<min>\d\d))?")
def _iso(found: re.Match[str], now: datetime) -> Span:
    span = calendar.date(now, int(found["d"]), int(found["m"]), int(found["y"]))
    if not found["h"]:
        return span
    start = span.start + timedelta(hours=int(found["h"]), minutes=int(found["min"]))
    return Span(start, start + timedelta(minutes=1))


@_form(r"(?P<a>\d{1,2})(?P<sep>[./])(?P<b>\d{1,2})(?:(?P=sep)(?P<c>\d{4}|\d\d)?)?")
def _figures(found: re.Match[str], now: datetime) -> Span:
    first, second = int(found["a"]), int(found["b"])
    if second > 12:  # the American order
        first, second = second, first
    if found["sep"] == "." and not found[0].endswith(".") and not found["c"]:
        raise ValueError("a number with a point")
    return calendar.date(now, first, second, int(found["c"]) if found["c"] else None)


@_form(rf"(?:the |den )?{_NTH} (?:of )?{_MONTH}{_OF_YEAR}")
@_form(rf"{_MONTH} (?:the )?{_NTH}(?![:\d]){_OF_YEAR}")
def _day_of_month(found: re.Match[str], now: datetime) -> Span:
    number = MONTHS[found["month"].lower()]
    return calendar.date(now, int(found["day"]), number, _year(found, now))


@_form(rf"{_MONTH}{_OF_YEAR}")
def _month(found: re.Match[str], now: datetime) -> Span:
    name, year = found["month"].lower(), _year(found, now)
    if name in UNSURE_MONTHS and year is None and _word_before(found) not in _BEFORE_MONTHS:
        raise ValueError("it may be no month")
    if year is None and found[0].lower().endswith(("this year", "i år")):
        year = now.year
    if year is None:
        return calendar.past_month(now, MONTHS[name])
    return calendar.months(now, year, MONTHS[name], 1)


@_form(r"(?:the |den )(?P<day>\d{1,2})(?:st|nd|rd|th|\.)")
def _day_alone(found: re.Match[str], now: datetime) -> Span:
    number, back = int(found["day"]), 0
    while back < 12:
        start = calendar.month(now, back).start
        try:
            span = calendar.date(now, number, start.month, start.year)
        except ValueError:
            back += 1
            continue
        if span.start <= now:
            return span
        back += 1
    raise ValueError("no such day")


@_form(rf"(?:for )?{_NUMBER} {_UNIT} (?:ago|siden)")
def _ago(found: re.Match[str], now: datetime) -> Span:
    unit = UNITS[found["unit"].lower()]
    maker: Callable[[datetime, int], Span] = getattr(calendar, unit)
    return maker(now, _count(found["count"]))


@_form(rf"(?:the |de )?(?:last|past|previous|siste) {_NUMBER} {_UNIT}")
def _last_some(found: re.Match[str], now: datetime) -> Span:
    return calendar.rolling(now, _count(found["count"]), UNITS[found["unit"].lower()])


@_form(rf"(?:the |den |det )?(?:past|siste) {_UNIT}")
def _past_one(found: re.Match[str], now: datetime) -> Span:
    return calendar.rolling(now, 1, UNITS[found["unit"].lower()])


@_form(rf"(?:{_LAST}) (?P<unit>week|uke|uka|veke|month|måned|månad|year|år)")
def _last(found: re.Match[str], now: datetime) -> Span:
    maker: Callable[[datetime, int], Span] = getattr(calendar, UNITS[found["unit"].lower()])
    return maker(now, 1)


@_form(
    rf"(?:{_THIS}|earlier this|so far this) "
    r"(?P<unit>week|uka|uken|uke|veka|month|måneden|måned|månaden|year|året)"
)
def _this(found: re.Match[str], now: datetime) -> Span:
    maker: Callable[[datetime, int], Span] = getattr(calendar, UNITS[found["unit"].lower()])
    return maker(now, 0)


@_form(rf"(?P<which>{_LAST}|{_THIS}|the|i) (?P<what>weekend|helg|helga|helgen|helgi)")
def _weekend(found: re.Match[str], now: datetime) -> Span:
    back = int(re.fullmatch(_LAST, found["which"].lower()) is not None)
    span = calendar.weekend(now, back)
    return span if back or span.start <= now else calendar.weekend(now, 1)


@_form(rf"(?:on |på |om )?(?:(?P<which>{_LAST}) )?(?P<name>{_any(DAYS)})(?P<s>s)?")
def _weekday(found: re.Match[str], now: datetime) -> Span:
    name = DAYS[found["name"].lower()]
    return calendar.weekday(now, name, before_today=bool(found["which"]))


@_form(rf"(?:in |i )?(?:week|uke|veke) (?P<number>\d{{1,2}})(?:,? (?:of |in |i )?{_YEAR})?")
def _week(found: re.Match[str], now: datetime) -> Span:
    return calendar.iso_week(
        now, int(found["number"]), int(found["year"]) if found["year"] else None
    )


@_form(rf"q(?P<number>[1-4])(?:,? (?:of |in |i )?{_YEAR})?")
def _quarter(found: re.Match[str], now: datetime) -> Span:
    first = 3 * int(found["number"]) - 2
    year = int(found["year"]) if found["year"] else now.year - (first > now.month)
    return calendar.months(now, year, first, 3)


@_form(rf"(?P<which>{_LAST}|{_THIS}|in the|the|i|om) (?P<fjor>fjor )?(?P<name>{_any(SEASONS)})")
def _season(found: re.Match[str], now: datetime) -> Span:
    first = SEASONS[found["name"].lower()]
    span = calendar.months(now, now.year, first, 3)
    if span.start > now:
        span = calendar.months(now, now.year - 1, first, 3)
    last = re.fullmatch(_LAST, found["which"].lower()) is not None
    if found["fjor"] or (last and span.end > now):
        return calendar.months(now, (now.year if found["fjor"] else span.start.year) - 1, first, 3)
    return span


@_form(_YEAR)
def _whole_year(found: re.Match[str], now: datetime) -> Span:
    if _word_before(found) not in _BEFORE_MONTHS:
        raise ValueError("it may be any number")
    return calendar.months(now, int(found["year"]), 1, 12)


@_form(r"(?:at |kl\.? ?|klokka |klokken )?(?P<h>[01]?\d|2[0-3]):(?P<min>[0-5]\d)")
@_form(r"(?:kl\.? ?|klokka |klokken )(?P<h>[01]?\d|2[0-3])(?P<min>)")
def _clock(found: re.Match[str], now: datetime) -> Span:
    start = calendar.day(now).start + timedelta(
        hours=int(found["h"]), minutes=int(found["min"] or 0)
    )
    return Span(start, start + timedelta(minutes=1 if found["min"] else 60))


_PARTS: dict[str, Callable[[datetime], Span]] = {
    "today|i dag|idag": lambda now: calendar.day(now),
    "yesterday|i går|igår": lambda now: calendar.day(now, 1),
    "(?:the )?day before yesterday|i forgårs|forgårs": lambda now: calendar.day(now, 2),
    "this morning|i morges|i dag tidlig|i formiddag": lambda now: calendar.part(now, 4, 12),
    "this afternoon|i ettermiddag": lambda now: calendar.part(now, 12, 18),
    "tonight|this evening|i kveld": lambda now: calendar.part(now, 17, 28),
    "last night|i natt|yesterday evening|i går kveld": lambda now: calendar.part(now, 17, 30, 1),
    "yesterday morning|i går morges|i går formiddag": lambda now: calendar.part(now, 4, 12, 1),
    "yesterday afternoon|i går ettermiddag": lambda now: calendar.part(now, 12, 18, 1),
    "i fjor": lambda now: calendar.year(now, 1),
    "i år": lambda now: calendar.year(now),
    "recently|lately|nylig|i det siste|nyleg": lambda now: calendar.rolling(
        now, _RECENTLY_DAYS, "day"
    ),
    "just now|nettopp": lambda now: calendar.rolling(now, 1, "hour"),
}


def _fixed(make: Callable[[datetime], Span]) -> Form:
    return lambda _found, now: make(now)


for _words, _make in _PARTS.items():
    _form(f"(?:{_words})")(_fixed(_make))

_SINCE = re.compile(r"\b(?:ever since|since|siden|sidan|from|fra|frå)\s+(?:i\s+|på\s+)?$", re.I)
_AFTER = re.compile(r"\b(?:after|etter)\s+$", re.I)
_BEFORE = re.compile(r"\b(?:before|før|earlier than|tidligere enn)\s+$", re.I)
_UNTIL = re.compile(r"\b(?:until|till|til|up to|til og med|through|by|innen)\s+$", re.I)
_PLAIN = re.compile(r"\b(?:in|on|during|within|i|på|om|under|for|from|of|av|the|fra)\s+$", re.I)
_BETWEEN = re.compile(r"\b(?:between|mellom|from|fra|frå)\s+(?:i\s+)?$", re.I)
_JOIN = re.compile(r"\s*(?:and|og|to|til|until|till|through|-|–|—)\s*(?:i\s+)?", re.I)
_BEFORE_MONTHS = word_set(
    "in i during since siden from fra before før after etter until til of av last forrige this "
    "and og to mellom between by innen early late mid year året"
)


def find(text: str, now: datetime) -> tuple[Period | None, str]:
    """The period that ``text`` speaks of, and the text without its words.

    ``now`` is aware; days are those of its zone.
    """
    spans = _spans(text, now)
    if not spans:
        return None, text
    first, last, span = spans[0]
    since: datetime | None = span.start
    until: datetime | None = span.end
    if len(spans) > 1 and _JOIN.fullmatch(text[last : spans[1][0]]):
        _, last, other = spans[1]
        until = other.end
        led = _BETWEEN.search(text[:first])
    elif led := _SINCE.search(text[:first]):
        until = None
    elif led := _AFTER.search(text[:first]):
        since, until = span.end, None
    elif led := _BEFORE.search(text[:first]):
        since, until = None, span.start
    elif led := _UNTIL.search(text[:first]):
        since = None
    else:
        led = _PLAIN.search(text[:first])
    begin = led.start() if led else first
    words = " ".join(text[begin:last].split())
    rest = " ".join(f"{text[:begin]} {text[last:]}".split())
    return Period(_iso_of(since), _iso_of(until, -1), words), rest


def bound(text: str, now: datetime, *, end: bool = False) -> str:
    """One end of a period in the same words, or as ``7d``, ``12h``, ``2w``: ISO-8601 in UTC.

    ``end`` gives the last moment of what ``text`` names. Raises :class:`UsageError`.
    """
    short = re.fullmatch(r"(\d{1,4}) ?(min|m|h|t|d|w|u)", text.strip(), re.IGNORECASE)
    if short:
        unit = {"m": "minutes", "h": "hours", "t": "hours", "d": "days"}.get(
            short[2][0].lower(), "weeks"
        )
        return _iso_of(now - timedelta(**{unit: int(short[1])})) or ""
    try:
        whole = datetime.fromisoformat(text.strip())
    except ValueError:
        whole = None
    if whole is not None and len(text.strip()) > 10:
        return _iso_of(whole if whole.tzinfo else whole.replace(tzinfo=now.tzinfo)) or ""
    stripped = text.strip()
    spans = _spans(stripped, now) or _spans(f"in {stripped}", now)
    if not spans:
        raise UsageError(
            f"{text!r} is no time that is understood: write 2026-03-01, yesterday, "
            "'last week', 'i mars', 'for tre dager siden' or 7d."
        )
    span = spans[0][2]
    return (_iso_of(span.end, -1) if end else _iso_of(span.start)) or ""


def whole(text: str, now: datetime) -> Span | None:
    """What ``text`` names when it is one date and nothing else."""
    for said in (text.strip(), f"in {text.strip()}"):
        for first, last, span in _spans(said, now):
            if last == len(said) and (not first or _PLAIN.match(said[:first])):
                return span
    return None


def _spans(text: str, now: datetime) -> list[tuple[int, int, Span]]:
    """Where dates stand in ``text``, in order; of two in one place the longer."""
    found: list[tuple[int, int, Span]] = []
    for pattern, form in _FORMS:
        for match in pattern.finditer(text):
            try:
                found.append((match.start(), match.end(), form(match, now)))
            except (ValueError, OverflowError, KeyError):
                continue  # it looked like one and is none, as 45.13.
    found.sort(key=lambda one: (one[0] - one[1], one[0], one[2]))
    kept: list[tuple[int, int, Span]] = []
    for one in found:
        if all(one[1] <= other[0] or one[0] >= other[1] for other in kept):
            kept.append(one)
    return sorted(kept)


def _count(word: str) -> int:
    return int(word) if word.isdecimal() else NUMBERS[word.lower()]


def _iso_of(when: datetime | None, microseconds: int = 0) -> str | None:
    if when is None:
        return None
    moved = when.astimezone(UTC) + timedelta(microseconds=microseconds)
    return moved.isoformat(timespec="microseconds")
