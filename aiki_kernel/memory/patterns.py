"""Patterns over a period, as a result: cycles, trends and links, told and shown.

Plain data without NumPy; ``wave_trends.py`` finds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from html import escape
from typing import Any

from aiki_kernel.memory.wave_text import number, span


@dataclass(frozen=True)
class Cycle:
    """``measure`` of ``channel`` comes back every ``period_s`` seconds.

    ``share``: of the variance that the sine explains. ``chance``: that noise alone would give
    as high a peak anywhere in the spectrum. ``peak_at``: the first maximum, ISO-8601.
    """

    channel: str
    measure: str
    period_s: float
    amplitude: float
    unit: str
    share: float
    chance: float
    peak_at: str
    points: int


@dataclass(frozen=True)
class Trend:
    """``measure`` of ``channel`` rises by ``per_day`` (falls, where that is negative).

    ``chance``: that a series without a trend would order itself like this, either way.
    """

    channel: str
    measure: str
    per_day: float
    unit: str
    change: float
    chance: float
    points: int


@dataclass(frozen=True)
class Link:
    """``second`` goes with ``first``, ``lag_s`` seconds later; ``r`` is the correlation there.

    With a ``cycle_s`` they share a cycle of that length, and ``r`` is the root of the product
    of the two shares; without one they go together beside their cycles.
    """

    first: str
    first_measure: str
    second: str
    second_measure: str
    lag_s: float
    r: float
    chance: float
    points: int
    cycle_s: float = 0.0


@dataclass(frozen=True)
class Patterns:
    """What the captures of a period have in common. Strongest first in each list.

    ``channels``: name to the number of captures that have it. Shows itself in a notebook.
    """

    since: str
    until: str
    captures: int
    channels: Mapping[str, int] = field(default_factory=dict)
    cycles: tuple[Cycle, ...] = ()
    trends: tuple[Trend, ...] = ()
    links: tuple[Link, ...] = ()
    language: str = "en"

    def to_json(self) -> dict[str, Any]:
        """A plain dict of all fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Patterns:
        """The reverse of :meth:`to_json`."""
        return cls(
            data["since"],
            data["until"],
            data["captures"],
            dict(data["channels"]),
            tuple(Cycle(**one) for one in data["cycles"]),
            tuple(Trend(**one) for one in data["trends"]),
            tuple(Link(**one) for one in data["links"]),
            data.get("language", "en"),
        )

    @property
    def text(self) -> str:
        """A line for the period and one for each pattern."""
        return "\n".join([self._head(), *self._lines()])

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        """The same lines as HTML."""
        lines = "".join(f"<li>{escape(line)}</li>" for line in self._lines())
        return f"<p>{escape(self._head())}</p><ul>{lines}</ul>"

    html = property(_repr_html_)

    def _head(self) -> str:
        names = ", ".join(f"{name} ({count})" for name, count in self.channels.items())
        when = f"{_minute(self.since)} – {_minute(self.until)}"
        if self.language == "no":
            return f"{when}: {self.captures} opptak" + (f": {names}." if names else ".")
        plural = "capture" if self.captures == 1 else "captures"
        return f"{when}: {self.captures} {plural}" + (f": {names}." if names else ".")

    def _lines(self) -> list[str]:
        said = [
            *(_cycle(one, self.language) for one in self.cycles),
            *(_trend(one, self.language) for one in self.trends),
            *(_link(one, self.language) for one in self.links),
        ]
        if not said:
            none = {"en": "No pattern stands out.", "no": "Ingen mønstre skiller seg ut."}
            said = [none[self.language]]
        return said


_MEASURES = {
    "en": {"level": "level", "activity": "activity", "count": "captures an hour"},
    "no": {"level": "nivå", "activity": "aktivitet", "count": "opptak i timen"},
}


def _cycle(one: Cycle, language: str) -> str:
    what = _what(one.channel, one.measure, language)
    swing = f"{number(one.amplitude, language)} {one.unit}".rstrip()
    share = round(one.share * 100)
    every, top = span(one.period_s, language), _minute(one.peak_at)
    if language == "no":
        return (
            f"{what} går i syklus på {every} (± {swing}, topp {top}; "
            f"{share} % av variasjonen, {_chance(one.chance, language)})."
        )
    return (
        f"{what} goes in a cycle of {every} (± {swing}, top at {top}; "
        f"{share} % of the variance, {_chance(one.chance, language)})."
    )


def _trend(one: Trend, language: str) -> str:
    what = _what(one.channel, one.measure, language)
    rate = f"{number(abs(one.per_day), language)} {one.unit}".rstrip()
    change = f"{number(abs(one.change), language)} {one.unit}".rstrip()
    if language == "no":
        way = "stiger" if one.per_day > 0 else "synker"
        return f"{what} {way} {rate} per døgn, {change} i alt ({_chance(one.chance, language)})."
    way = "rises" if one.per_day > 0 else "falls"
    return f"{what} {way} by {rate} a day, {change} in all ({_chance(one.chance, language)})."


def _link(one: Link, language: str) -> str:
    first = _what(one.first, one.first_measure, language)
    second = _what(one.second, one.second_measure, language)
    r = number(one.r, language)
    against = one.r < 0
    if one.cycle_s > 0:
        cycle, late = span(one.cycle_s, language), span(one.lag_s, language)
        if language == "no":
            return f"{second} og {first} deler en syklus på {cycle}; den første {late} etter."
        return f"{second} and {first} share a cycle of {cycle}; the first is {late} behind."
    if language == "no":
        how = "går motsatt av" if against else "følger"
        late = f" {span(one.lag_s, language)} etter" if one.lag_s > 0 else " samtidig"
        return f"{second} {how} {first}{late} (r = {r}, {_chance(one.chance, language)})."
    how = "goes against" if against else "follows"
    late = f" after {span(one.lag_s, language)}" if one.lag_s > 0 else " at the same time"
    return f"{second} {how} {first}{late} (r = {r}, {_chance(one.chance, language)})."


def _what(channel: str, measure: str, language: str) -> str:
    return f"{channel} ({_MEASURES[language].get(measure, measure)})"


def _chance(chance: float, language: str) -> str:
    return (
        "p < 0.0001".replace(".", "," if language == "no" else ".")
        if chance < 1e-4
        else (f"p = {number(chance, language, 2)}")
    )


def _minute(stamp: str) -> str:
    return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")
