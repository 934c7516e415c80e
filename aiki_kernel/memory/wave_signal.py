"""Signals as they come in: arrays with a sampling rate, WAV files, frames.

Whatever is given becomes a :class:`Source`: it is checked in one place and read in blocks, so
that analysing an hour of sound takes no more memory than analysing a minute. What cannot be a
signal is refused with one line that says what to give instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.errors import UsageError
from aiki_kernel.memory.wave import MOST_CHANNELS, channel_name
from aiki_kernel.memory.wave_file import open_wav

Values = NDArray[np.float64]

BLOCK = 1 << 18
"""Numbers (samples times columns) that are converted and analysed at a time."""

LONGEST = 1 << 31
"""Samples a column: twelve hours at 48 kHz."""

LEAST = 8
MOST_COLUMNS = 64
_COLOURS = (3, 4)
_RED_GREEN_BLUE = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


@dataclass(frozen=True)
class Signal:
    """Values and how they were sampled: ``capture(audio=Signal(samples, 44100, "Pa"))``.

    ``values``: (n,) or (n, columns) of numbers at ``rate`` samples a second; (t, h, w) frames
    at ``rate`` frames a second; or, without a rate, (h, w) or (h, w, 3 or 4) one frame.
    """

    values: Any
    rate: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class Source:
    """A checked signal. ``blocks()`` yields (m, columns) float64, or (h, w) frames one by one.

    It may be called again. ``kind`` is ``signal``, ``frame`` or ``frames``; ``length`` counts
    samples or frames.
    """

    name: str
    kind: str
    unit: str
    rate: float
    length: int
    columns: int
    blocks: Callable[[], Iterator[Values]]

    @property
    def duration_s(self) -> float:
        return self.length / self.rate if self.rate else 0.0


def sources(channels: Mapping[str, Any]) -> list[Source]:
    """The channels of one capture. Raises :class:`UsageError`."""
    if not channels:
        raise UsageError("There is nothing to capture: give a channel, audio=(array, 44100).")
    if len(channels) > MOST_CHANNELS:
        raise UsageError(
            f"A capture has at most {MOST_CHANNELS} channels, not {len(channels)}: "
            "put columns into one array (n, columns)."
        )
    out = []
    for name, given in channels.items():
        try:
            out.append(source(channel_name(name), given))
        except ValueError as error:
            raise UsageError(f"{error}: name it like audio or thermal.") from error
    return out


def source(name: str, given: Any) -> Source:
    """One channel from whatever was given for it. Raises :class:`UsageError`."""
    if isinstance(given, str | Path):
        return wav_file(name, Path(given).expanduser())
    if isinstance(given, tuple):
        if not 1 <= len(given) <= 3:
            raise UsageError(f"{name} takes (values, rate) or (values, rate, unit).")
        given = Signal(*given)
    if not isinstance(given, Signal):
        given = Signal(given)
    values = _numbers(name, given.values)
    rate = _rate(name, given.rate)
    unit = str(given.unit or "")
    if values.size == 0:
        raise UsageError(f"{name} is empty: give an array with values.")
    if rate is None:
        return _frame(name, values, unit)
    if values.ndim == 3:
        return _frames(name, values, rate, unit)
    if values.ndim > 3:
        raise UsageError(
            f"{name} has {values.ndim} dimensions: give (n,), (n, columns) or frames (t, h, w)."
        )
    table = values.reshape(len(values), -1)
    length, columns = table.shape
    if columns > MOST_COLUMNS:
        raise UsageError(
            f"{name} has {columns} columns of {length} samples: give (n, columns) with at most "
            f"{MOST_COLUMNS} columns, or one frame without a rate."
        )
    return _checked(Source(name, "signal", unit, rate, length, columns, lambda: _rows(table)))


def wav_file(name: str, path: Path) -> Source:
    """PCM or floats; see ``wave_file.py``. Raises :class:`UsageError`."""
    try:
        found = open_wav(path)
    except FileNotFoundError:
        raise UsageError(f"There is no {path}.") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{path.name} cannot be read as WAV ({why}): convert it, or give the samples as "
            "(array, rate)."
        ) from error
    if found.columns > MOST_COLUMNS:
        raise UsageError(f"{path.name} has {found.columns} columns: at most {MOST_COLUMNS}.")
    if found.length == 0:
        raise UsageError(f"{name} is empty: {path.name} has no samples.")
    rate = _rate(name, found.rate)
    assert rate is not None
    return _checked(
        Source(name, "signal", "", rate, found.length, found.columns, lambda: found.blocks(BLOCK))
    )


def _numbers(name: str, values: Any) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise UsageError(f"{name} is not an array of numbers ({error}).") from error
    if array.dtype.kind not in "biuf":
        what = {"O": "objects", "c": "complex numbers"}.get(array.dtype.kind, str(array.dtype))
        raise UsageError(f"{name} holds {what}: give an array of real numbers.")
    if array.ndim == 0:
        raise UsageError(f"{name} is one number: give an array of samples and its rate.")
    return array


def _rate(name: str, rate: Any) -> float | None:
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
        raise UsageError(f"The rate of {name} must be a number of samples a second, not {rate!r}.")
    if not math.isfinite(rate) or rate <= 0:
        raise UsageError(f"The rate of {name} must be above 0 samples a second, not {rate}.")
    return float(rate)


def _checked(made: Source) -> Source:
    if made.length < LEAST:
        raise UsageError(
            f"{made.name} has {made.length} samples: a pattern needs at least {LEAST}."
        )
    if made.length > LONGEST:
        raise UsageError(
            f"{made.name} has {made.length:,} samples, more than {LONGEST:,}: capture it in parts."
        )
    return made


def _rows(table: NDArray[Any]) -> Iterator[Values]:
    step = max(1, BLOCK // table.shape[1])
    for start in range(0, len(table), step):
        yield table[start : start + step].astype(np.float64)


def _frame(name: str, values: NDArray[Any], unit: str) -> Source:
    colour = values.ndim == 3 and values.shape[2] in _COLOURS
    if values.ndim != 2 and not colour:
        raise UsageError(f"{name} needs its sampling rate: {name}=(array, 44100).")
    height, width = values.shape[:2]
    if min(height, width) < 2:
        raise UsageError(f"{name} needs its sampling rate: {name}=(array, 44100).")
    return Source(name, "frame", unit, 0.0, 1, height * width, lambda: iter([_grey(values)]))


def _frames(name: str, values: NDArray[Any], rate: float, unit: str) -> Source:
    length, height, width = values.shape
    if min(height, width) < 2:
        raise UsageError(f"{name} is not frames (t, h, w): a side has fewer than two pixels.")
    if length < LEAST:
        raise UsageError(f"{name} has {length} frames: a pattern needs at least {LEAST}.")

    def frames() -> Iterator[Values]:
        for one in values:
            yield one.astype(np.float64)

    return Source(name, "frames", unit, rate, length, height * width, frames)


def _grey(values: NDArray[Any]) -> Values:
    wide = values.astype(np.float64)
    return wide if wide.ndim == 2 else wide[..., :3] @ np.array(_RED_GREEN_BLUE)


def cuts(source: Source, starts: Sequence[int], length: int) -> Iterator[Values]:
    """(length, columns) from each of ``starts``, which must rise; one pass over the source."""
    wanted = iter(starts)
    start = next(wanted, None)
    held: list[Values] = []
    at = 0  # the sample that held[0] begins with
    for block in source.blocks():
        held.append(block)
        size = sum(len(one) for one in held)
        while start is not None and start + length <= at + size:
            joined = np.concatenate(held) if len(held) > 1 else held[0]
            held = [joined]
            yield joined[start - at : start - at + length]
            start = next(wanted, None)
        if start is None:
            return
        while held and at + len(held[0]) <= start:
            at += len(held.pop(0))


def slower(source: Source, factor: int) -> Values:
    """The record at 1/``factor`` of its rate: Hann-weighed means over two steps, one step apart.

    The weights have zeros at all multiples of the new rate, so what would fold down on an eighth
    of it or less is damped by 50 dB and more. (A step is lost at the end.)
    """
    weights = np.hanning(2 * factor + 1)[1:]
    weights /= weights.sum()
    ahead, behind = weights[:factor], weights[factor:]
    out: list[Values] = []
    before: Values | None = None
    rest = np.zeros((0, source.columns))
    for block in source.blocks():
        whole = np.concatenate([rest, block]) if len(rest) else block
        steps = len(whole) // factor
        rest = whole[steps * factor :]
        table = whole[: steps * factor].reshape(steps, factor, source.columns)
        if not steps:
            continue
        first = np.einsum("skc,k->sc", table, ahead)
        second = np.einsum("skc,k->sc", table, behind)
        if before is not None:
            out.append((before + second[0])[None])
        out.append(first[:-1] + second[1:])
        before = first[-1]
    return np.concatenate(out)
