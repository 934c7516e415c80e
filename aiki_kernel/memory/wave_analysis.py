"""Analysis: from checked signals to what is kept of them.

Per channel, in at most three passes over blocks of it (whatever its length, about 200 MB):

- mean, least, most, trend, and sums over :data:`_FINE` equal parts: the envelope is the root
  of each part's mean square about the mean of all; its damping d is half the slope of
  log(energy) from the loudest part until it falls into the noise (least squares, kept where
  R2 is at least 0.8), for amplitude * exp(-d t).
- tones (``wave_tones.py``) of the part of the record that holds the energy: a struck bell in a
  minute of silence is analysed from its stroke on, and ``onset_s`` says where that was. A record
  of more than :data:`_WHOLE` numbers is analysed twice: all of it at a lower rate for the slow
  tones, and its loudest stretch at the full rate for the others.
- a picture: for signals a spectrogram (Hann windows, power by log frequency, 60 dB deep), for
  frames the mean frame, averaged down by area.

Several columns are one channel: energies are summed over them, and amplitudes and ``rms`` are
the root of the sum of squares, so that a sensor of three axes says the same however it lies.
Of frames, sixteen fields (4 x 4) are followed over time as columns: what moves within the frame
is seen even where its total brightness stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.errors import UsageError
from aiki_kernel.memory import wave_vector
from aiki_kernel.memory.wave import (
    MOST_TONES,
    SEGMENTS,
    ChannelPattern,
    Picture,
    Tone,
    WavePattern,
    brief,
)
from aiki_kernel.memory.wave_pictures import averaged, spectrogram, thumbnail
from aiki_kernel.memory.wave_signal import Source, cuts, slower, sources
from aiki_kernel.memory.wave_tones import Tones, find_tones

Values = NDArray[np.float64]

_FINE = 960  # a multiple of the 32 segments and of the 24 parts of the vector
_WHOLE = 1 << 22
_STRETCH = 1 << 20
_FURTHEST = 1e100
_SILENT = 1e-12
_FIELDS = 4
_FIT = 0.8
_LARGEST_SIDE = 128


def analyse(channels: Mapping[str, Any]) -> WavePattern:
    """The wave pattern of ``channels``: name to whatever :func:`~.wave_signal.source` takes.

    Raises :class:`UsageError`, one line, for what cannot be a signal.
    """
    return WavePattern(tuple(_channel(one) for one in sources(channels)))


def _channel(source: Source) -> ChannelPattern:
    if source.kind == "frame":
        return _still(source)
    if source.kind == "frames":
        return _moving(source)
    return _signal(source)


@dataclass(frozen=True)
class _Survey:
    """One pass: totals, and sums over equal parts of the record."""

    mean: Values  # (columns,)
    minimum: float
    maximum: float
    slope: float  # of the mean over columns, per sample
    energy: Values  # (parts,) mean square about the mean, summed over columns
    level: Values  # (parts,) mean over columns

    @property
    def rms(self) -> float:
        return math.sqrt(float(self.energy.mean()))


def _survey(source: Source) -> _Survey:
    parts = min(_FINE, source.length)
    edges = np.linspace(0, source.length, parts + 1).astype(np.int64)
    count = np.zeros(parts)
    sums = np.zeros((parts, source.columns))
    squares = np.zeros((parts, source.columns))
    least, most, at = math.inf, -math.inf, 0
    base: Values | None = None
    for block in source.blocks():
        low, high = float(block.min()), float(block.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            where = at + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise UsageError(
                f"{source.name} has a NaN or an infinity at sample {where:,}: "
                "take it out, or fill it in."
            )
        least, most = min(least, low), max(most, high)
        if max(abs(least), abs(most)) > _FURTHEST:
            raise UsageError(f"{source.name} has values beyond 1e100: scale it.")
        if base is None:
            base = block[0].copy()  # sums of squares keep their digits near zero
        shifted = block - base
        index = np.searchsorted(edges, np.arange(at, at + len(block)), "right") - 1
        first, last = int(index[0]), int(index[-1])
        starts = np.flatnonzero(np.diff(index, prepend=first - 1))
        sums[first : last + 1] += np.add.reduceat(shifted, starts, axis=0)
        squares[first : last + 1] += np.add.reduceat(shifted**2, starts, axis=0)
        count[first : last + 1] += np.diff(np.append(starts, len(block)))
        at += len(block)
    if base is None or at != source.length:
        raise UsageError(
            f"{source.name} ends after {at:,} of its {source.length:,} samples, so it was cut "
            "off: give the samples as (array, rate)."
        )
    sums, squares, count = sums[count > 0], squares[count > 0], count[count > 0]
    mean = sums.sum(axis=0) / at
    apart = squares - 2 * mean * sums + count[:, None] * mean**2
    centre = np.cumsum(count) - count / 2
    flat = (sums / count[:, None]).mean(axis=1)
    weights = count / count.sum()
    off = centre - (weights * centre).sum()
    slope = float((weights * off * flat).sum() / max(float((weights * off**2).sum()), 1e-300))
    return _Survey(
        mean=mean + base,
        minimum=least,
        maximum=most,
        slope=slope,
        energy=np.maximum(apart, 0.0).sum(axis=1) / count,
        level=flat + base.mean(),
    )


def _signal(source: Source) -> ChannelPattern:
    survey = _survey(source)
    _refuse_constant(source, survey)
    begin, end = _active(survey.energy, source.length)
    found = _tones(source, survey, begin, end)
    return _pattern(source, survey, found, begin, spectrogram(source, survey.mean), None)


def _pattern(
    source: Source,
    survey: _Survey,
    found: Sequence[Tones],
    begin: int,
    picture: Picture | None,
    shapes: Values | None,
) -> ChannelPattern:
    """Put the parts together. ``found``: analyses that share the frequencies between them."""
    tones = _strongest(found)
    spectrum, energies, tonal = _energies(found)
    rate = source.rate
    moves = source.kind != "frame" and bool(found)
    decay = _damping(survey.energy, source.duration_s) if moves else None
    envelope = np.sqrt(_parts(survey.energy, SEGMENTS))
    return ChannelPattern(
        name=source.name,
        kind=source.kind,
        unit=source.unit,
        rate_hz=rate,
        samples=source.length,
        columns=source.columns,
        duration_s=source.duration_s,
        mean=brief(float(survey.mean.mean())),
        minimum=brief(survey.minimum),
        maximum=brief(survey.maximum),
        rms=brief(survey.rms),
        # Beside the tones where all of the record was fitted: half a cycle looks like a slope.
        slope_per_s=brief(found[0].slope if found and begin == 0 else survey.slope * rate),
        noise_db=round(-10 * math.log10(max(1 - tonal, 1e-12)), 1),
        tones=tones,
        decay_per_s=None if decay is None else brief(decay),
        onset_s=brief(begin / rate if rate else 0.0),
        envelope=tuple(brief(float(one), 4) for one in envelope),
        levels=tuple(brief(float(one)) for one in _parts(survey.level, SEGMENTS)),
        vector=wave_vector.joined(
            wave_vector.bands(spectrum, energies),
            _parts(survey.energy, wave_vector.PARTS) * moves,
            wave_vector.character(decay, tonal) * moves,
            np.zeros(wave_vector.SHAPES) if shapes is None else shapes,
        ),
        picture=picture,
    )


def _refuse_constant(source: Source, survey: _Survey) -> None:
    span = survey.maximum - survey.minimum
    size = max(abs(survey.minimum), abs(survey.maximum))
    if span <= _SILENT * size or survey.rms <= _SILENT * size or span < 1 / _FURTHEST:
        raise UsageError(
            f"{source.name} is constant ({survey.minimum:g}): there is no pattern in it; "
            "aiki.memory.add remembers a value."
        )


def _active(energy: Values, length: int) -> tuple[int, int]:
    """The samples between the first and the last that stand out of the silence, where those
    are less than half of the record."""
    parts = len(energy)
    wide = max(1, parts // 120)
    smooth = np.convolve(energy, np.ones(wide) / wide, "same")
    floor = float(np.median(energy))
    if floor >= 0.25 * float(smooth.max()):
        return 0, length
    heard = np.flatnonzero(smooth > 3 * floor + 1e-3 * float(smooth.max()))
    first, last = int(heard[0]), int(heard[-1]) + 1
    if last - first > parts // 2:
        return 0, length
    near = np.arange(max(0, first - wide), min(parts, first + 2 * wide))
    sharp = near[energy[near] > 4 * floor + 0.01 * float(energy.max())]
    first = int(sharp[0]) if len(sharp) else first
    begin = first * length // parts
    end = max(begin + min(length, 64), min(length, (last + 1) * length // parts))
    return min(begin, max(0, length - 64)), min(end, length)


def _tones(source: Source, survey: _Survey, begin: int, end: int) -> list[Tones]:
    columns = source.columns
    if (end - begin) * columns <= _WHOLE:
        return [find_tones(next(cuts(source, [begin], end - begin)), source.rate)]
    stretch = max(4096, _STRETCH // columns)
    window = max(1, round(stretch / source.length * len(survey.energy)))
    loud = np.convolve(survey.energy, np.ones(window), "valid")
    start = min(int(np.argmax(loud)) * source.length // len(survey.energy), source.length - stretch)
    near = find_tones(next(cuts(source, [start], stretch)), source.rate)
    factor = -(-source.length // stretch)
    slow = find_tones(slower(source, factor), source.rate / factor)
    split = source.rate / factor / 8
    return [_within(slow, 0.0, split), _within(near, split, math.inf)]


def _within(found: Tones, low: float, high: float) -> Tones:
    """Only what lies from ``low`` to below ``high`` Hz."""
    at = np.arange(len(found.power)) * found.rate / found.samples
    kept = (at >= low) & (at < high)
    chosen = [j for j, one in enumerate(found.tones) if low <= one.frequency_hz < high]
    return Tones(
        tuple(found.tones[j] for j in chosen),
        found.power * kept,
        found.residual * kept,
        found.rate,
        found.samples,
        found.slope,
        tuple(found.energies[j] for j in chosen),
    )


def _strongest(found: Sequence[Tones]) -> tuple[Tone, ...]:
    """By falling energy over the record."""
    pairs = [
        pair for one in found for pair in zip(one.energies, one.tones, strict=True) if pair[0] > 0
    ]
    tones = [tone for _, tone in sorted(pairs, key=lambda pair: -pair[0])]
    return tuple(
        Tone(
            brief(tone.frequency_hz, 9),
            brief(tone.amplitude),
            brief(tone.phase_rad),
            None if tone.decay_per_s is None else brief(tone.decay_per_s),
        )
        for tone in tones[:MOST_TONES]
    )


def _energies(found: Sequence[Tones]) -> tuple[Values, Values, float]:
    """Frequencies and energies of tones and residual bins; and the share that is in tones."""
    frequencies, energies = [np.zeros(0)], [np.zeros(0)]
    tonal = total = 0.0
    for one in found:
        at = np.arange(len(one.power)) * one.rate / one.samples
        whole = float(one.power.sum())
        left = min(float(one.residual.sum()), whole)
        weights = np.array(one.energies)
        if len(weights) and whole > left:
            frequencies.append(np.array([tone.frequency_hz for tone in one.tones]))
            energies.append(weights / weights.sum() * (whole - left))
            tonal += whole - left
        frequencies.append(at)
        energies.append(one.residual)
        total += whole
    share = tonal / total if total > 0 else 0.0
    return np.concatenate(frequencies), np.concatenate(energies), share


def _damping(energy: Values, duration: float) -> float | None:
    """Nepers a second by which the envelope falls; None where it is no exponential fall."""
    level = _parts(energy, min(len(energy), 240))
    top = int(np.argmax(level))
    floor = max(float(np.median(level[-max(2, len(level) // 10) :])) * 4, level[top] * 1e-6)
    under = np.flatnonzero(level[top:] <= floor)
    fall = level[top : top + int(under[0])] if len(under) else level[top:]
    if len(fall) < 4:
        return None
    at = np.arange(len(fall)) * duration / len(level)
    log = np.log(fall)
    slope, start = np.polyfit(at, log, 1)
    rest = float(((log - start - slope * at) ** 2).sum())
    spread = float(((log - log.mean()) ** 2).sum())
    if slope >= 0 or spread <= 0 or 1 - rest / spread < _FIT or log[0] - log[-1] < math.log(2):
        return None
    return float(-slope / 2)


def _parts(values: Values, count: int) -> Values:
    """``values`` as ``count`` means of equal stretches (repeated where there are fewer)."""
    edges = np.linspace(0, len(values), count + 1)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.interp(edges, np.arange(len(sums)), sums)
    return np.asarray(np.diff(at) / np.diff(edges))


# --- frames -----------------------------------------------------------------------------


def _still(source: Source) -> ChannelPattern:
    frame = next(iter(source.blocks()))
    survey = _frame_survey(source, frame)
    _refuse_constant(source, survey)
    return _pattern(source, survey, [], 0, thumbnail(frame), wave_vector.shapes(_fitting(frame)))


def _frame_survey(source: Source, frame: Values) -> _Survey:
    if not np.isfinite(frame).all():
        raise UsageError(f"{source.name} has a NaN or an infinity: fill it in.")
    if float(np.abs(frame).max()) > _FURTHEST:
        raise UsageError(f"{source.name} has values beyond 1e100: scale it.")
    mean = float(frame.mean())
    return _Survey(
        np.array([mean]),
        float(frame.min()),
        float(frame.max()),
        0.0,
        np.array([float(((frame - mean) ** 2).mean())]),
        np.array([mean]),
    )


def _fitting(frame: Values) -> Values:
    return averaged(frame, min(_LARGEST_SIDE, frame.shape[0]), min(_LARGEST_SIDE, frame.shape[1]))


def _moving(source: Source) -> ChannelPattern:
    total: Values | None = None
    least, most = math.inf, -math.inf
    fields = []
    for number, frame in enumerate(source.blocks()):
        if not np.isfinite(frame).all():
            raise UsageError(f"{source.name} has a NaN or an infinity in frame {number:,}.")
        total = frame.copy() if total is None else total + frame
        least, most = min(least, float(frame.min())), max(most, float(frame.max()))
        rows, columns = min(_FIELDS, frame.shape[0]), min(_FIELDS, frame.shape[1])
        fields.append(averaged(frame, rows, columns).ravel())
    assert total is not None
    mean = total / source.length
    if max(abs(least), abs(most)) > _FURTHEST:
        raise UsageError(f"{source.name} has values beyond 1e100: scale it.")
    still = _frame_survey(source, mean)
    table = np.array(fields)
    inner = Source(
        source.name,
        "frames",
        source.unit,
        source.rate,
        source.length,
        table.shape[1],
        lambda: iter([table]),
    )
    survey = _survey(inner)
    moves = survey.rms > 1e-9 * max(abs(least), abs(most))
    if not moves:
        _refuse_constant(source, still)
    begin, end = _active(survey.energy, source.length) if moves else (0, source.length)
    found = _tones(inner, survey, begin, end) if moves else []
    whole = _Survey(survey.mean, least, most, survey.slope, survey.energy, survey.level)
    return _pattern(
        source, whole, found, begin, thumbnail(mean), wave_vector.shapes(_fitting(mean))
    )
