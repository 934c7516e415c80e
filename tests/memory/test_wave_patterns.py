"""Patterns over a period: what is planted is found, and noise is left alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from aiki_kernel.memory.patterns import Patterns
from aiki_kernel.memory.records import Record, Scope
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.memory.wave import ChannelPattern, WavePattern
from aiki_kernel.memory.wave_analysis import analyse
from aiki_kernel.memory.wave_trends import find_patterns

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
KARI = Scope("kari")
HOUR = 3600.0


def record(seconds: float, **levels: tuple[float, float]) -> Record:
    """A capture of a second at ``seconds``; by channel its mean and its RMS."""
    channels = tuple(
        ChannelPattern(
            name, "signal", "u", 10.0, 10, 1, 1.0, mean, mean, mean, rms, 0.0, 0.0, (), None,
            0.0, (rms,) * 32, (mean,) * 32, b"\x00\x3c" * 224, None,
        )
        for name, (mean, rms) in levels.items()
    )  # fmt: skip
    when = (BEGIN + timedelta(seconds=seconds)).isoformat()
    wave = {"wave": WavePattern(channels).to_json()}
    return Record("0", "x", "kari", "h", when, when, kind="sensor", metadata=wave)


def daily(hour: float, top: float, swing: float) -> float:
    return float(swing * np.cos(2 * np.pi * (hour - top) / 24))


def patterns_of(records: list[Record]) -> Patterns:
    return find_patterns(records, BEGIN.isoformat(), (BEGIN + timedelta(days=30)).isoformat())


@pytest.mark.parametrize("seed", range(4))
def test_a_daily_cycle_at_uneven_times(seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0, 10 * 24, 120))
    found = patterns_of(
        [
            record(
                h * HOUR,
                thermal=(
                    20 + 3 * np.cos(2 * np.pi * (h - 15) / 24) + rng.normal(),
                    1 + rng.random(),
                ),
            )
            for h in at
        ]
    )
    [cycle] = [one for one in found.cycles if one.measure == "level"]
    assert cycle.period_s == pytest.approx(24 * HOUR, rel=0.01)
    assert cycle.amplitude == pytest.approx(3, rel=0.15)
    top = datetime.fromisoformat(cycle.peak_at)
    assert (top.hour + top.minute / 60) == pytest.approx(15, abs=0.8)
    assert cycle.chance < 1e-4
    assert "cycle of 1 day" in found.text or "cycle of 0.99" in found.text


def test_two_cycles_of_one_channel() -> None:
    h = np.arange(24 * 14.0)
    rng = np.random.default_rng(0)
    values = (
        5 * np.sin(2 * np.pi * h / 24) + 3 * np.sin(2 * np.pi * h / 8) + rng.normal(size=len(h))
    )
    found = patterns_of([record(t * HOUR, a=(v, 1.0)) for t, v in zip(h, values, strict=True)])
    lengths = sorted(one.period_s / HOUR for one in found.cycles)
    assert lengths == [pytest.approx(8, rel=0.01), pytest.approx(24, rel=0.01)]


@pytest.mark.parametrize("seed", range(12))
def test_noise_and_drift_have_no_cycles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=200)
    if seed % 2:
        values = np.cumsum(values)
    found = patterns_of([record(k * HOUR, a=(v, 1.0)) for k, v in enumerate(values)])
    assert not found.cycles
    if not seed % 2:
        assert not found.trends
        assert found.text.endswith("No pattern stands out.")


def test_rising_activity() -> None:
    rng = np.random.default_rng(1)
    records = [
        record(k * HOUR, motion=(rng.normal(), 2 + 0.05 * k + 0.5 * rng.random()))
        for k in range(72)
    ]
    records[30] = record(30 * HOUR, motion=(0.0, 500.0))  # an outlier does not bend it
    found = patterns_of(records)
    [trend] = [one for one in found.trends if one.measure == "activity"]
    assert trend.per_day == pytest.approx(0.05 * 24, rel=0.1)
    assert trend.chance < 1e-6
    assert "motion (activity) rises by" in found.text
    assert not [one for one in found.trends if one.measure == "level"]


def test_more_and_more_captures() -> None:
    at = np.cumsum(np.geomspace(10, 1, 60))
    found = patterns_of([record(t * HOUR, door=(0.0, 1.0)) for t in at])
    assert [one.measure for one in found.trends if one.per_day > 0] == ["count"]


@pytest.mark.parametrize("lag", [0, 3, -5])
def test_one_channel_follows_another(lag: int) -> None:
    rng = np.random.default_rng(7)
    drive = np.convolve(rng.normal(size=340), np.ones(3) / 3, "same")
    a = drive[20:320]
    b = -2 * drive[20 - lag : 320 - lag] + 0.3 * rng.normal(size=300)
    found = patterns_of([record(k * 600, heat=(a[k], 1.0), fan=(b[k], 1.0)) for k in range(300)])
    [link] = [one for one in found.links if not one.cycle_s]
    assert link.lag_s == pytest.approx(abs(lag) * 600, abs=1)
    assert link.r < -0.8
    if lag:
        assert (link.first, link.second) == (("heat", "fan") if lag > 0 else ("fan", "heat"))
    assert "goes against" in found.text


def test_unrelated_channels_are_not_linked() -> None:
    linked = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = (np.convolve(rng.normal(size=204), np.ones(5) / 5, "valid") for _ in range(2))
        linked += bool(
            patterns_of([record(k * 60, a=(x[k], 1), b=(y[k], 1)) for k in range(200)]).links
        )
    assert linked <= 1


def test_a_shared_cycle_and_who_is_behind() -> None:
    rng = np.random.default_rng(2)
    records = []
    for h in range(24 * 6):
        sun = 10 * np.cos(2 * np.pi * (h - 12) / 24) + 0.3 * rng.normal()
        room = 3 * np.cos(2 * np.pi * (h - 16) / 24) + 0.3 * rng.normal()
        records.append(record(h * HOUR, sun=(sun, 1.0), room=(room, 1.0)))
    found = patterns_of(records)
    [link] = [one for one in found.links if one.cycle_s]
    assert (link.first, link.second) == ("sun", "room")
    assert link.lag_s == pytest.approx(4 * HOUR, rel=0.05)
    assert "room (level) and sun (level) share a cycle of" in found.text


def test_one_long_recording_is_a_series_of_its_own(memory: MemoryService) -> None:
    t = np.arange(0, 8 * 24 * 60)
    rng = np.random.default_rng(0)
    thermal = 20 + 4 * np.sin(2 * np.pi * t / 1440 * 0.5) + 0.2 * rng.normal(size=len(t))
    pattern = analyse({"thermal": (thermal, 1 / 60, "°C")})
    memory.waves.capture(pattern, KARI, at=BEGIN.isoformat())
    found = memory.waves.patterns(
        BEGIN.isoformat(), (BEGIN + timedelta(days=9)).isoformat(), KARI, "no"
    )
    assert found.captures == 1
    assert found.cycles[0].period_s == pytest.approx(48 * HOUR, rel=0.03)
    assert "thermal (nivå) går i syklus på" in found.text
    nothing = memory.waves.patterns("2020-01-01", "2020-02-01", KARI)
    assert (nothing.captures, nothing.cycles) == (0, ())


def test_a_tone_too_fast_for_the_series_is_no_cycle_of_it() -> None:
    t = np.arange(8000) / 8000
    made = analyse({"audio": (np.sin(2 * np.pi * 441 * t), 8000)})
    one = Record("0", "x", "k", "h", BEGIN.isoformat(), BEGIN.isoformat(), kind="sensor",
                 metadata={"wave": made.to_json()})  # fmt: skip
    assert not patterns_of([one]).cycles


def test_faces() -> None:
    rng = np.random.default_rng(0)
    found = patterns_of(
        [
            record(h * HOUR, **{"<b>": (np.sin(2 * np.pi * h / 24) + 0.1 * rng.normal(), 1.0)})
            for h in range(200)
        ]
    )
    assert found.cycles
    assert Patterns.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert "<b>" not in found._repr_html_()
    assert "<ul>" in found.html
    assert str(found) == found.text
