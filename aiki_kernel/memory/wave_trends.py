"""Finding patterns over a period: cycles, trends, links between channels.

What a series is, see ``wave_series.py``.

- Cycles: generalised Lomb-Scargle periodogram with a floating mean (Zechmeister and Kürster
  2009), which uneven times do not harm, from 2.5 cycles in the series up to half its median
  rate. With N points and power P of 0..1 noise reaches P at one frequency with probability
  (1 - P)^((N - 3) / 2), and at any of M = span * highest frequency with
  ``chance`` = 1 - (1 - that)^M. As sensors drift, and drifting noise has high peaks at low
  frequencies, a peak must also stand above a power law through its neighbourhood by what M
  peaks of noise would reach. Found, subtracted, and looked again, at most twice.
- Trends: Theil-Sen slope (the median of all slopes between pairs), Mann-Kendall test with ties
  (Kendall 1975), its variance widened by (1 + r) / (1 - r) for the lag-one autocorrelation r of
  what remains. On the series without its cycles.
- Links: first, cycles of two channels whose lengths differ by less than 5 %, with the time
  between their tops. Then what remains without cycles, both on a common grid, without trend;
  the correlation at each lag up to a quarter of their length; N reduced to
  N (1 - r1 r2) / (1 + r1 r2) (Bretherton et al. 1999), Fisher's z, and ``chance`` multiplied by
  the number of lags that were tried.

What is reported has a chance below 1 in 100.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.memory.patterns import Cycle, Link, Patterns, Trend
from aiki_kernel.memory.records import Record
from aiki_kernel.memory.wave import pattern_in
from aiki_kernel.memory.wave_series import MOST_POINTS, Series, series_of

Values = NDArray[np.float64]

_CHANCE = 0.01
_LEAST_CYCLE, _LEAST_TREND, _LEAST_LINK = 12, 8, 16
_CYCLES = 2.5
_OVERSAMPLED = 5
_MOST_FREQUENCIES = 8192
_MOST_CHANNELS = 8
_WEAKEST_LINK = 0.5
_SAME_CYCLE = 0.05
_DAY = 86400.0


def find_patterns(
    records: Sequence[Record], since: str, until: str, language: str = "en"
) -> Patterns:
    """The patterns in ``records`` (oldest first) of the period."""
    captures = []
    for record in records:
        pattern = pattern_in(record.metadata)
        if pattern is not None:
            captures.append((datetime.fromisoformat(record.created_at).timestamp(), pattern))
    count: dict[str, int] = {}
    for _, pattern in captures:
        for name in pattern.names:
            count[name] = count.get(name, 0) + 1
    series = [
        one for name in sorted(count, key=lambda n: -count[n]) for one in series_of(captures, name)
    ]
    cycles: list[Cycle] = []
    trends: list[Trend] = []
    rest: dict[tuple[str, str], Series] = {}
    for one in series:
        found, flat = _cycles(one)
        cycles += found
        trends += _trend(flat)
        rest[one.channel, one.measure] = flat
    return Patterns(
        since,
        until,
        len(captures),
        count,
        tuple(sorted(cycles, key=lambda c: -c.share)),
        tuple(sorted(trends, key=lambda t: t.chance)),
        tuple(
            sorted([*_shared(cycles), *_links(list(rest.values()))], key=lambda one: -abs(one.r))
        ),
        language,
    )


# --- cycles -----------------------------------------------------------------------------


def _cycles(one: Series) -> tuple[list[Cycle], Series]:
    """The cycles of a series, and the series without them (its trend stays)."""
    found: list[Cycle] = []
    values = one.values.copy()
    n = len(values)
    whole = float(one.at[-1] - one.at[0]) if n else 0.0
    if n < _LEAST_CYCLE or whole <= 0 or _flat(values):
        return found, one
    origin = float(one.at[0])
    at = one.at - origin
    slope = _theil_sen(at, values)
    line = slope * (at - at.mean())
    step = float(np.median(np.diff(at)[np.diff(at) > 0]))
    highest = 0.5 / step
    independent = max(1, round(whole * highest))
    count = min(_MOST_FREQUENCIES, independent * _OVERSAMPLED)
    frequencies = np.linspace(_CYCLES / whole, highest, max(2, count))
    variance = float((values - line).var())
    for _ in range(2):
        rest = values - line
        power, sine, cosine = _lomb_scargle(at, rest, frequencies)
        best = int(np.argmax(power))
        top = min(float(power[best]), 1 - 1e-12)
        single = (1 - top) ** ((n - 3) / 2)
        chance = -math.expm1(independent * math.log1p(-min(single, 1 - 1e-12)))
        if chance > _CHANCE or not _stands_out(frequencies, power, best, whole, independent):
            break
        fine = np.linspace(
            max(frequencies[0], frequencies[best] - 1 / whole),
            min(highest, frequencies[best] + 1 / whole),
            201,
        )
        power, sine, cosine = _lomb_scargle(at, rest, fine)
        k = int(np.argmax(power))
        omega, a, b = 2 * math.pi * float(fine[k]), float(cosine[k]), float(sine[k])
        amplitude = math.hypot(a, b)
        phase = math.atan2(b, a) / omega % (2 * math.pi / omega)
        found.append(
            Cycle(
                one.channel,
                one.measure,
                float(1 / fine[k]),
                amplitude,
                one.unit,
                min(1.0, amplitude**2 / 2 / variance) if variance > 0 else 0.0,
                chance,
                datetime.fromtimestamp(origin + phase, UTC).isoformat(timespec="seconds"),
                n,
            )
        )
        values = values - a * np.cos(omega * at) - b * np.sin(omega * at)
        if (values - line).var() < 1e-12 * variance:
            break
    return found, Series(one.channel, one.measure, one.unit, one.at, values)


def _lomb_scargle(at: Values, values: Values, frequencies: Values) -> tuple[Values, Values, Values]:
    """Power 0..1 by frequency, and the sine and cosine that fit best there."""
    n = len(at)
    total = float(((values - values.mean()) ** 2).sum()) or 1.0
    power, sine, cosine = (np.zeros(len(frequencies)) for _ in range(3))
    size = max(1, 2_000_000 // n)
    y = values - values.mean()
    for start in range(0, len(frequencies), size):
        part = slice(start, start + size)
        angle = 2 * np.pi * np.outer(frequencies[part], at)
        c, s = np.cos(angle), np.sin(angle)
        c_mean, s_mean = c.mean(axis=1), s.mean(axis=1)
        cc = (c**2).mean(axis=1) - c_mean**2
        ss = (s**2).mean(axis=1) - s_mean**2
        cs = (c * s).mean(axis=1) - c_mean * s_mean
        yc, ys = (c @ y) / n, (s @ y) / n
        under = np.maximum(cc * ss - cs**2, 1e-30)
        a = (yc * ss - ys * cs) / under
        b = (ys * cc - yc * cs) / under
        power[part] = np.clip((a * yc + b * ys) * n / total, 0, 1)
        cosine[part], sine[part] = a, b
    return power, sine, cosine


def _stands_out(
    frequencies: Values, power: Values, best: int, whole: float, independent: int
) -> bool:
    """Whether a peak is one, and not the low end of a drift: against a line through the log
    power over the log frequency around it. (The mean log of noise's power lies 0.577 below the
    log of its mean.)"""
    f = frequencies[best]
    near = (frequencies > f / 6) & (frequencies < f * 6)
    near &= np.abs(frequencies - f) > 1.5 / whole
    if best == 0 or near.sum() < 8:
        return best > 0
    x, y = np.log(frequencies[near] / f), np.log(np.maximum(power[near], 1e-12))
    weights = np.sqrt(f / frequencies[near])  # as many to each octave
    slope, level = np.polyfit(x, y, 1, w=weights)
    ground = math.exp(level + 0.577) if slope < 0 else math.exp(float(np.average(y)) + 0.577)
    return float(power[best]) > math.log(max(independent, 2) / _CHANCE) * ground


# --- trends ----------------------------------------------------------------------------


def _trend(one: Series) -> list[Trend]:
    n = len(one.values)
    if n < _LEAST_TREND or _flat(one.values) or one.at[-1] <= one.at[0]:
        return []
    at = one.at - one.at[0]
    slope = _theil_sen(at, one.values)
    later = np.sign(one.values[None, :] - one.values[:, None])
    s = float(np.triu(later, 1).sum())
    _, ties = np.unique(one.values, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18
    r = _lag_one(one.values - slope * at)
    variance *= max(1.0, (1 + r) / (1 - r))
    if variance <= 0 or slope == 0:
        return []
    z = max(0.0, abs(s) - 1) / math.sqrt(variance)
    chance = math.erfc(z / math.sqrt(2))
    if chance > _CHANCE:
        return []
    return [
        Trend(
            one.channel,
            one.measure,
            slope * _DAY,
            one.unit,
            slope * float(at[-1]),
            chance,
            n,
        )
    ]


def _theil_sen(at: Values, values: Values) -> float:
    first, second = np.triu_indices(len(at), 1)
    if len(first) > 200_000:
        some = np.random.default_rng(len(first)).choice(len(first), 200_000, replace=False)
        first, second = first[some], second[some]
    apart = at[second] - at[first]
    kept = apart > 0
    if not kept.any():
        return 0.0
    return float(np.median((values[second][kept] - values[first][kept]) / apart[kept]))


def _lag_one(values: Values) -> float:
    y = values - values.mean()
    whole = float((y**2).sum())
    return 0.0 if whole <= 0 else float(np.clip((y[1:] * y[:-1]).sum() / whole, -0.99, 0.99))


def _flat(values: Values) -> bool:
    return float(np.ptp(values)) <= 1e-9 * max(float(np.abs(values).max()), 1e-300)


# --- links -----------------------------------------------------------------------------


def _shared(cycles: Sequence[Cycle]) -> Iterator[Link]:
    """Pairs of channels that go in the same cycle: the strongest pair of measures of each."""
    best: dict[tuple[str, str], Link] = {}
    for i, a in enumerate(cycles):
        for b in cycles[i + 1 :]:
            if "count" in (a.measure, b.measure):
                continue
            if a.channel == b.channel or abs(a.period_s / b.period_s - 1) > _SAME_CYCLE:
                continue
            period = math.sqrt(a.period_s * b.period_s)
            tops = [datetime.fromisoformat(one.peak_at).timestamp() for one in (a, b)]
            lag = (tops[1] - tops[0]) % period
            first, second = (a, b) if lag <= period / 2 else (b, a)
            made = Link(
                first.channel,
                first.measure,
                second.channel,
                second.measure,
                min(lag, period - lag),
                math.sqrt(a.share * b.share),
                max(a.chance, b.chance),
                min(a.points, b.points),
                period,
            )
            pair = (min(a.channel, b.channel), max(a.channel, b.channel))
            if pair not in best or made.r > best[pair].r:
                best[pair] = made
    yield from best.values()


def _links(series: Sequence[Series]) -> Iterator[Link]:
    names = list(dict.fromkeys(one.channel for one in series))[:_MOST_CHANNELS]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            best: Link | None = None
            for a in (one for one in series if one.channel == first and one.measure != "count"):
                for b in (one for one in series if one.channel == second):
                    if b.measure == "count":
                        continue
                    found = _link(a, b)
                    if found and (best is None or abs(found.r) > abs(best.r)):
                        best = found
            if best is not None:
                yield best


def _link(a: Series, b: Series) -> Link | None:
    low, high = max(a.at[0], b.at[0]), min(a.at[-1], b.at[-1])
    if len(a.at) < _LEAST_LINK or len(b.at) < _LEAST_LINK or high <= low:
        return None
    step = max(float(np.median(np.diff(a.at))), float(np.median(np.diff(b.at))))
    if step <= 0 or _flat(a.values) or _flat(b.values):
        return None
    grid = np.arange(low, high + step / 2, step)[:MOST_POINTS]
    n = len(grid)
    if n < _LEAST_LINK:
        return None
    x, y = (_on_grid(one, grid) for one in (a, b))
    if _flat(x) or _flat(y):
        return None
    furthest = n // 4
    lags = np.arange(-furthest, furthest + 1)
    rs = np.array([_correlation(x, y, int(lag)) for lag in lags])
    k = int(np.argmax(np.abs(rs) - 1e-9 * np.abs(lags)))
    r, lag = float(rs[k]), int(lags[k])
    both = _lag_one(x) * _lag_one(y)
    size = (n - abs(lag)) * (1 - both) / (1 + both)
    if size <= 4 or abs(r) < _WEAKEST_LINK:
        return None
    z = math.atanh(min(abs(r), 1 - 1e-12)) * math.sqrt(size - 3)
    tried = max(1.0, len(lags) * size / n)
    chance = min(1.0, math.erfc(z / math.sqrt(2)) * tried)
    if chance > _CHANCE:
        return None
    if lag < 0:
        a, b, lag = b, a, -lag
    return Link(a.channel, a.measure, b.channel, b.measure, lag * step, r, chance, n)


def _on_grid(one: Series, grid: Values) -> Values:
    values = np.interp(grid, one.at, one.values)
    slope = np.polyfit(grid - grid[0], values, 1)[0]
    return np.asarray(values - slope * (grid - grid[0]))


def _correlation(x: Values, y: Values, lag: int) -> float:
    """Of x now with y ``lag`` steps later."""
    first, second = (x[: len(x) - lag], y[lag:]) if lag >= 0 else (x[-lag:], y[: len(y) + lag])
    first, second = first - first.mean(), second - second.mean()
    under = math.sqrt(float((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / under) if under > 0 else 0.0
