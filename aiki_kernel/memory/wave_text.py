"""wave_to_text: a wave pattern as sentences, in English or Norwegian.

Deterministic: the same pattern always reads the same, so a text that was embedded can be made
again. Numbers have three significant digits; slow tones are told by their period, as people do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aiki_kernel.errors import UsageError
from aiki_kernel.memory.wave import ChannelPattern, Tone, WavePattern

LANGUAGES = ("en", "no")
_NAMES = {"english": "en", "norwegian": "no", "nb": "no", "nn": "no", "norsk": "no"}

_SLOWEST_HZ = 0.5  # below, a period is told
_OVERTONE = 0.02  # of the fundamental
_HIGHEST_OVERTONE = 40
_STEADY = 0.2
_TOLD = 4
_TREND = 0.5
_ABOVE_NOISE_DB = 3.0


@dataclass(frozen=True)
class _Words:
    """The words of one language. ``{}`` takes the numbers."""

    point: str
    spans: tuple[tuple[str, str], ...]  # singular and plural, by _SPANS
    at_rate: str
    columns: str
    frame: str
    frames: str
    tone: str
    cycle: str
    amplitude: str
    overtones: str
    also: str
    no_tone: str
    still: str
    halves: str
    doubles: str
    steady: str
    fading: str
    growing: str
    bursts: str
    uneven: str
    begins: str
    mean: str
    rising: str
    falling: str
    noise: str


_EN = _Words(
    point=".",
    spans=(
        ("second", "seconds"),
        ("minute", "minutes"),
        ("hour", "hours"),
        ("day", "days"),
    ),
    at_rate="{} at {}",
    columns="{} columns",
    frame="one frame of {} pixels",
    frames="{} frames, {} at {} a second",
    tone="tone at {}",
    cycle="cycle of {}",
    amplitude="amplitude {}",
    overtones="overtones at {}",
    also="also {}",
    no_tone="no clear tone",
    still="nothing moves",
    halves="halving every {}",
    doubles="doubling every {}",
    steady="steady",
    fading="fading, halving every {}",
    growing="growing",
    bursts="in {} bursts",
    uneven="uneven",
    begins="begins after {}",
    mean="mean {}, from {} to {}",
    rising="rising {} per {}",
    falling="falling {} per {}",
    noise="noise {} dB below",
)
_NO = _Words(
    point=",",
    spans=(
        ("sekund", "sekunder"),
        ("minutt", "minutter"),
        ("time", "timer"),
        ("døgn", "døgn"),
    ),
    at_rate="{} med {}",
    columns="{} kolonner",
    frame="ett bilde på {} piksler",
    frames="{} bilder, {} med {} i sekundet",
    tone="tone på {}",
    cycle="syklus på {}",
    amplitude="amplitude {}",
    overtones="overtoner på {}",
    also="også {}",
    no_tone="ingen tydelig tone",
    still="ingenting beveger seg",
    halves="halveres hvert {}",
    doubles="dobles hvert {}",
    steady="jevn",
    fading="avtagende, halveres på {}",
    growing="økende",
    bursts="i {} støt",
    uneven="ujevn",
    begins="begynner etter {}",
    mean="middel {}, fra {} til {}",
    rising="stiger {} per {}",
    falling="synker {} per {}",
    noise="støy {} dB under",
)
_WORDS = {"en": _EN, "no": _NO}
_SPANS = (1.0, 60.0, 3600.0, 86400.0)


def language_of(names: Sequence[str]) -> str:
    """The first of ``names`` (``english``, ``norwegian``, ``en``, ``no``) that is written here."""
    for name in names:
        short = _NAMES.get(name.lower(), name.lower())
        if short in LANGUAGES:
            return short
    return "en"


def wave_to_text(pattern: WavePattern, language: str = "en", note: str = "") -> str:
    """The sentences for ``pattern``, one a channel, after ``note``.

    Raises :class:`UsageError` for a language that is not :data:`LANGUAGES`.
    """
    short = _NAMES.get(language.lower(), language.lower())
    if short not in _WORDS:
        raise UsageError(f"wave_to_text writes {' and '.join(LANGUAGES)}, not {language!r}.")
    words = _WORDS[short]
    said = note.strip()
    if said and said[-1] not in ".!?":
        said += "."
    return " ".join(
        [*([said] if said else []), *(_channel(one, words) for one in pattern.channels)]
    )


def _channel(one: ChannelPattern, w: _Words) -> str:
    parts = [_size(one, w)]
    if one.kind != "frame":
        parts += _sounds(one, w)
    parts.append(
        w.mean.format(
            _unit(_mean(one), one.unit, w), _number(one.minimum, w), _number(one.maximum, w)
        )
    )
    trend = _trend(one, w)
    if trend:
        parts.append(trend)
    name = one.name[:1].upper() + one.name[1:]
    return f"{name}: {'; '.join(parts)}."


def _size(one: ChannelPattern, w: _Words) -> str:
    if one.kind == "frame":
        return w.frame.format(_number(one.columns, w))
    if one.kind == "frames":
        return w.frames.format(one.samples, span(one.duration_s, w), _number(one.rate_hz, w))
    size = w.at_rate.format(span(one.duration_s, w), _hertz(one.rate_hz, w))
    return size if one.columns == 1 else f"{size}, {w.columns.format(one.columns)}"


def _sounds(one: ChannelPattern, w: _Words) -> list[str]:
    """Tones, how the level goes, and the noise."""
    if one.rms == 0 or (one.kind == "frames" and one.rms <= 1e-9 * abs(one.maximum)):
        return [w.still]
    course = _course(one, w)
    if not one.tones:
        return [w.no_tone, *([course] if course != w.steady else [])]
    first, overtones, others = _families(one.tones)
    out = [f"{_tone(first, one.unit, w)}, {course}"]
    if overtones:
        named = ", ".join(_hertz(tone.frequency_hz, w) for tone in overtones[:_TOLD])
        out.append(w.overtones.format(named))
    out += [w.also.format(_tone(tone, one.unit, w)) for tone in others[: _TOLD - 1]]
    if _ABOVE_NOISE_DB < one.noise_db < 60:
        out.append(w.noise.format(_number(round(one.noise_db), w)))
    return out


def _tone(tone: Tone, unit: str, w: _Words) -> str:
    if tone.frequency_hz >= _SLOWEST_HZ:
        name = w.tone.format(_hertz(tone.frequency_hz, w))
    else:
        name = w.cycle.format(span(1 / tone.frequency_hz, w))
    return f"{name} ({w.amplitude.format(_unit(tone.amplitude, unit, w))})"


def _families(tones: Sequence[Tone]) -> tuple[Tone, list[Tone], list[Tone]]:
    """The tone that is named first, its overtones, and the others.

    The first is the strongest, unless it is itself an overtone of one at least a fifth as
    strong.
    """
    strongest = tones[0]
    first = min(
        (
            tone
            for tone in tones
            if tone.amplitude >= strongest.amplitude / 5 and _whole(strongest, tone)
        ),
        key=lambda tone: tone.frequency_hz,
        default=strongest,
    )
    rest = [tone for tone in tones if tone is not first]
    overtones = sorted(
        (tone for tone in rest if _whole(tone, first)), key=lambda tone: tone.frequency_hz
    )
    return first, overtones, [tone for tone in rest if tone not in overtones]


def _whole(tone: Tone, of: Tone) -> bool:
    """Whether ``tone`` is a whole multiple of ``of``, at least twice it."""
    times = tone.frequency_hz / of.frequency_hz
    return 2 <= round(times) <= _HIGHEST_OVERTONE and abs(times - round(times)) < _OVERTONE


def _course(one: ChannelPattern, w: _Words) -> str:
    """How the level goes over the record."""
    begins = ", " + w.begins.format(span(one.onset_s, w)) if one.onset_s > 0 else ""
    if one.decay_per_s is not None:
        return w.fading.format(span(math.log(2) / one.decay_per_s, w)) + begins
    if any(tone.decay_per_s is not None and tone.decay_per_s < 0 for tone in one.tones[:1]):
        return w.growing + begins
    levels = one.envelope
    mean = sum(levels) / len(levels)
    spread = math.sqrt(sum((level - mean) ** 2 for level in levels) / len(levels))
    slow = bool(one.tones) and one.tones[0].frequency_hz * one.duration_s < len(levels)
    if spread < _STEADY * mean or slow or _trend(one, w):
        return w.steady + begins
    top = max(levels)
    loud = [level > top / 2 for level in levels]
    bursts = sum(now and not before for before, now in zip([False, *loud], loud, strict=False))
    return (w.bursts.format(bursts) if bursts > 1 else w.uneven) + begins


def _mean(one: ChannelPattern) -> float:
    """The mean, or zero where it is nothing beside the swing."""
    return 0.0 if abs(one.mean) < 1e-3 * (one.maximum - one.minimum) else one.mean


def _trend(one: ChannelPattern, w: _Words) -> str:
    """A rise or fall that makes up at least half of the spread, by a span that fits."""
    spread = abs(one.slope_per_s) * one.duration_s / math.sqrt(12)
    if one.kind == "frame" or one.rms == 0 or spread < _TREND * one.rms:
        return ""
    unit = max((i for i, s in enumerate(_SPANS) if s <= max(one.duration_s, 1.0)), default=0)
    text = w.rising if one.slope_per_s > 0 else w.falling
    return text.format(_unit(abs(one.slope_per_s) * _SPANS[unit], one.unit, w), w.spans[unit][0])


def span(seconds: float, w: _Words | str) -> str:
    """A length of time in the largest unit that it is more than 1.5 of; short ones in ms."""
    words = _WORDS[w] if isinstance(w, str) else w
    if seconds < 1:
        for factor, name in ((1e3, "ms"), (1e6, "µs")):
            if seconds * factor >= 1:
                return f"{_number(seconds * factor, words)} {name}"
        return f"{_number(seconds * 1e9, words)} ns"
    unit = max((i for i, s in enumerate(_SPANS) if seconds >= 1.5 * s), default=0)
    if abs(seconds / 86400 - 1) < 0.02:
        unit = 3
    text = _number(seconds / _SPANS[unit], words)
    return f"{text} {words.spans[unit][text != '1']}"


def _hertz(frequency: float, w: _Words) -> str:
    for factor, name in ((1e6, "MHz"), (1e3, "kHz")):
        if frequency >= 10 * factor:
            return f"{_number(frequency / factor, w)} {name}"
    return f"{_number(frequency, w, 4)} Hz"


def _unit(value: float, unit: str, w: _Words) -> str:
    return f"{_number(value, w)} {unit}".rstrip()


def number(value: float, language: str, digits: int = 3) -> str:
    """A number with so many significant digits, and the decimal sign of ``language``."""
    return _number(value, _WORDS[language], digits)


def _number(value: float, w: _Words, digits: int = 3) -> str:
    if value == 0 or abs(value) < 1e-300:
        return "0"
    if abs(value) >= 10**6 or abs(value) < 1e-4:
        text = f"{value:.{digits - 1}e}"
    else:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:.{places}f}"
        if "." in text:
            text = text.rstrip("0").rstrip(".")
    return text.replace(".", w.point)
