"""The sentences: what is in them, in both languages, and always the same."""

from __future__ import annotations

import numpy as np
import pytest

from aiki_kernel.errors import UsageError
from aiki_kernel.memory.wave_analysis import analyse
from aiki_kernel.memory.wave_text import language_of, span, wave_to_text

RATE = 8000
T = np.arange(2 * RATE) / RATE
DAYS = np.arange(3 * 1440) / 1440


@pytest.mark.parametrize(
    ("given", "english", "norwegian"),
    [
        (
            (np.cos(2 * np.pi * 440 * T), RATE, "Pa"),
            ["2 seconds at 8000 Hz", "tone at 440 Hz (amplitude 1 Pa), steady"],
            ["2 sekunder med 8000 Hz", "tone på 440 Hz (amplitude 1 Pa), jevn"],
        ),
        (
            (np.exp(-7 * T) * np.cos(2 * np.pi * 523.3 * T), RATE),
            ["tone at 523.3 Hz", "fading, halving every 99 ms"],
            ["tone på 523,3 Hz", "avtagende, halveres på 99 ms"],
        ),
        (
            (20 + 5 * np.sin(2 * np.pi * DAYS) + 2 * DAYS, 1 / 60, "°C"),
            ["3 days", "cycle of 1 day (amplitude 5 °C)", "mean 23 °C"],
            ["3 døgn", "syklus på 1 døgn (amplitude 5 °C)", "middel 23 °C"],
        ),
        (
            (50 + 4 * DAYS, 1 / 60, "%"),
            ["no clear tone", "rising 4 % per day"],
            ["ingen tydelig tone", "stiger 4 % per døgn"],
        ),
        (
            (-3 * DAYS, 1 / 60),
            ["falling 3 per day"],
            ["synker 3 per døgn"],
        ),
        (
            (np.sign(np.sin(2 * np.pi * 5 * T + 0.1)), RATE),
            ["tone at 5 Hz", "overtones at 15 Hz, 25 Hz"],
            ["tone på 5 Hz", "overtoner på 15 Hz, 25 Hz"],
        ),
        (
            (np.where(T % 0.5 < 0.1, np.random.default_rng(0).normal(size=len(T)), 0), RATE),
            ["no clear tone", "in 4 bursts"],
            ["ingen tydelig tone", "i 4 støt"],
        ),
        (
            (np.random.default_rng(0).normal(size=(30, 40)),),
            ["one frame of 1200 pixels"],
            ["ett bilde på 1200 piksler"],
        ),
    ],
)
def test_sentences(given: tuple, english: list[str], norwegian: list[str]) -> None:
    pattern = analyse({"kitchen": given})
    for language, parts in (("en", english), ("no", norwegian)):
        text = wave_to_text(pattern, language, "by the stove")
        assert text.startswith("by the stove. Kitchen: ")
        for part in parts:
            assert part in text
        assert text == wave_to_text(analyse({"kitchen": given}), language, "by the stove")
        assert len(text) < 400


def test_languages() -> None:
    assert language_of(("norwegian", "english")) == "no"
    assert language_of(("english", "norwegian")) == "en"
    assert language_of(("german",)) == "en"
    with pytest.raises(UsageError, match="en and no"):
        wave_to_text(analyse({"a": (np.sin(T), 10)}), "fr")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (2e-9, "2 ns"),
        (3.5e-5, "35 µs"),
        (0.0312, "31.2 ms"),
        (1, "1 second"),
        (75, "75 seconds"),
        (600, "10 minutes"),
        (86400, "1 day"),
        (4e6, "46.3 days"),
    ],
)
def test_spans(seconds: float, told: str) -> None:
    assert span(seconds, "en") == told
