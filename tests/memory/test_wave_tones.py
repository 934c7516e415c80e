"""Tones: known frequencies within 1 %, known damping within a few, and nothing out of noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki_kernel.memory.wave import Tone
from aiki_kernel.memory.wave_analysis import analyse
from aiki_kernel.memory.wave_tones import find_tones


def tones_of(x: np.ndarray, rate: float) -> tuple[Tone, ...]:
    return find_tones(np.asarray(x, float).reshape(len(x), -1), rate).tones


def near(found: float, wanted: float, percent: float) -> bool:
    return abs(found - wanted) <= abs(wanted) * percent / 100


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(1e-3, 2e5),
    cycles=st.floats(3.0, 400.0),
    per_cycle=st.floats(2.3, 40.0),
    phase=st.floats(-3.1, 3.1),
    level=st.floats(1e-6, 1e6),
    offset=st.floats(-1e3, 1e3),
)
def test_any_tone_at_any_rate_is_found_within_one_percent(
    rate: float, cycles: float, per_cycle: float, phase: float, level: float, offset: float
) -> None:
    n = max(16, int(cycles * per_cycle))
    wanted = rate / per_cycle
    t = np.arange(n) / rate
    found = tones_of(level * (offset + np.cos(2 * np.pi * wanted * t + phase)), rate)
    assert near(found[0].frequency_hz, wanted, 1)
    assert near(found[0].amplitude, level, 1)
    turn = (found[0].phase_rad - phase + np.pi) % (2 * np.pi) - np.pi
    assert abs(turn) < 0.05


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cycles=st.floats(8.0, 200.0),
    per_cycle=st.floats(2.5, 20.0),
)
def test_a_tone_in_as_much_noise_is_found_within_one_percent(
    seed: int, cycles: float, per_cycle: float
) -> None:
    """Signal to noise 0 dB: the noise has the same power as the tone; 256 samples or more."""
    n = max(256, int(cycles * per_cycle))
    t = np.arange(n)
    wanted = 1 / per_cycle
    if wanted * n < 8:
        return
    noise = np.random.default_rng(seed).normal(size=n) * np.sqrt(0.5)
    found = tones_of(np.cos(2 * np.pi * wanted * t + 1) + noise, 1.0)
    assert near(found[0].frequency_hz, wanted, 1)


@pytest.mark.parametrize(("first", "second"), [(440.0, 445.0), (50.0, 1999.0), (100.0, 200.0)])
def test_two_tones_are_told_apart(first: float, second: float) -> None:
    t = np.arange(16000) / 8000
    noise = np.random.default_rng(3).normal(size=len(t)) * 0.05
    found = tones_of(
        np.cos(2 * np.pi * first * t) + 0.3 * np.cos(2 * np.pi * second * t + 1) + noise, 8000
    )
    assert [near(one.frequency_hz, f, 0.1) for one, f in zip(found, (first, second), strict=True)]
    assert near(found[0].amplitude, 1, 2)
    assert near(found[1].amplitude, 0.3, 5)
    assert all(one.decay_per_s is None for one in found)


@settings(max_examples=30, deadline=None)
@given(
    frequency=st.floats(60.0, 3000.0),
    fall=st.floats(2.0, 40.0),
    seed=st.integers(0, 1000),
)
def test_a_struck_bell_is_found_with_its_damping(frequency: float, fall: float, seed: int) -> None:
    """40 dB above the noise: frequency within 1 %, damping within 3 % (fit), 10 % (envelope)."""
    rate = 8000
    t = np.arange(2 * rate) / rate
    bell = np.exp(-fall * t) * np.cos(2 * np.pi * frequency * t + 0.4)
    noise = np.random.default_rng(seed).normal(size=len(t)) * 0.0035
    channel = analyse({"audio": (bell + noise, rate)}).channels[0]
    tone = channel.tones[0]
    assert near(tone.frequency_hz, frequency, 1)
    assert tone.decay_per_s is not None
    assert near(tone.decay_per_s, fall, 3)
    assert channel.decay_per_s is not None
    assert near(channel.decay_per_s, fall, 10)


def test_a_bell_after_silence_is_analysed_from_its_stroke_on() -> None:
    rate = 8000
    x = np.random.default_rng(1).normal(size=20 * rate) * 1e-3
    t = np.arange(2 * rate) / rate
    x[7 * rate : 9 * rate] += np.exp(-9 * t) * np.sin(2 * np.pi * 523.25 * t)
    channel = analyse({"audio": (x, rate)}).channels[0]
    assert near(channel.onset_s, 7, 1)
    assert near(channel.tones[0].frequency_hz, 523.25, 0.1)
    assert channel.tones[0].decay_per_s is not None
    assert near(channel.tones[0].decay_per_s, 9, 3)


@pytest.mark.parametrize("seed", range(20))
def test_noise_has_no_tones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert not tones_of(rng.normal(size=(64, 300, 4096)[seed % 3]), 100)


def test_a_line_has_no_tones_and_hides_none() -> None:
    t = np.arange(500.0)
    assert not tones_of(0.1 * t, 1)
    found = tones_of(0.1 * t + np.cos(2 * np.pi * t / 40), 1)
    assert near(found[0].frequency_hz, 1 / 40, 0.01)


def test_columns_in_opposite_phase_do_not_cancel() -> None:
    wave = np.cos(2 * np.pi * 0.05 * np.arange(400))
    found = tones_of(np.stack([wave, -wave], axis=1), 1)
    assert near(found[0].frequency_hz, 0.05, 0.01)
    assert near(found[0].amplitude, np.sqrt(2), 0.1)


def test_a_long_recording_keeps_fast_and_slow_tones() -> None:
    """Six million samples: more than are transformed at once."""
    rate, n = 44100, 6_000_000
    t = np.arange(n) / rate
    x = 8000 * np.sin(2 * np.pi * 1000.4 * t) + 3000 * np.sin(2 * np.pi * 0.05 * t)
    found = analyse({"audio": (x.astype(np.int16), rate)}).channels[0]
    assert near(found.tones[0].frequency_hz, 1000.4, 0.001)
    assert near(found.tones[1].frequency_hz, 0.05, 1)
    assert near(found.tones[1].amplitude, 3000, 1)
    assert len(found.tones) == 2
