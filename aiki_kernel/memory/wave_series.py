"""Series over a period: what captures say of a channel from one time to the next.

Each capture gives one point a channel (its mean level and its RMS, the *activity*, at its
middle); where captures lie so close that a quarter of the gap between them is recorded, each
gives its 32 segments, activity then being the RMS within each (unless the means of the segments
hold less than a twentieth of its strength: then they are what is left of something too fast for
them). A third series counts the captures an hour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.memory.wave import SEGMENTS, WavePattern

Values = NDArray[np.float64]

MOST_POINTS = 1500
_LEAST_COUNT = 12
_HOUR = 3600.0
_FAINT = 0.05


@dataclass(frozen=True)
class Series:
    """``measure`` is level, activity or count."""

    channel: str
    measure: str
    unit: str
    at: Values  # seconds since 1970, rising
    values: Values


def series_of(captures: Sequence[tuple[float, WavePattern]], name: str) -> Iterator[Series]:
    """The series of channel ``name``; ``captures`` are (seconds since 1970, pattern)."""
    mine = [
        (start, channel)
        for start, pattern in captures
        for channel in pattern.channels
        if channel.name == name
    ]
    starts = np.array([start for start, _ in mine])
    gaps = np.diff(np.unique(starts))
    gap = float(np.median(gaps)) if len(gaps) else 0.0
    longest = max(channel.duration_s for _, channel in mine)
    alone = len(mine) == 1
    joined = longest > 0 and (alone or gap / 4 <= longest <= 1.1 * gap)
    strength = max(channel.rms for _, channel in mine)
    unit = mine[-1][1].unit
    at: list[float] = []
    level: list[float] = []
    activity: list[float] = []
    for start, channel in mine:
        length = channel.duration_s
        if joined and channel.kind != "frame" and length > 0:
            at += [start + length * (k + 0.5) / SEGMENTS for k in range(len(channel.levels))]
            level += channel.levels
            activity += [
                math.sqrt(max(0.0, envelope**2 - (part - channel.mean) ** 2))
                for envelope, part in zip(channel.envelope, channel.levels, strict=False)
            ]
        else:
            at.append(start + length / 2)
            level.append(channel.mean)
            activity.append(channel.rms)
    order = np.argsort(np.array(at), kind="stable")
    times = np.array(at)[order]
    for measure, values in (("level", level), ("activity", activity)):
        if joined and float(np.std(values)) < _FAINT * strength:
            continue
        yield _thinned(Series(name, measure, unit, times, np.array(values)[order]))
    if len(starts) >= _LEAST_COUNT:
        bins = int(min(48, len(starts)))
        counted, edges = np.histogram(starts, bins=bins)
        width = float(edges[1] - edges[0])
        # A schedule falls into equal bins as evenly as it can; what happens varies more.
        if width > 0 and counted.var() > counted.mean() / 2:
            yield Series(name, "count", "", (edges[:-1] + edges[1:]) / 2, counted / (width / _HOUR))


def _thinned(one: Series) -> Series:
    """At most :data:`MOST_POINTS`: means of neighbours."""
    if len(one.at) <= MOST_POINTS:
        return one
    edges = np.linspace(0, len(one.at), MOST_POINTS + 1).astype(int)[:-1]
    size = np.diff(np.append(edges, len(one.at)))
    return Series(
        one.channel,
        one.measure,
        one.unit,
        np.add.reduceat(one.at, edges) / size,
        np.add.reduceat(one.values, edges) / size,
    )
