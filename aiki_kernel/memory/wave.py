"""Wave patterns: what is kept of a sensor's signal, and the bounds on it.

A capture is one :class:`WavePattern` with one :class:`ChannelPattern` a channel. The numbers
are made by ``wave_analysis.py`` (the formulas stand there and in ``wave_tones.py``); this
module knows only what they are called, how they lie in a payload, and what may not be there.
It imports no NumPy: a client can name patterns without paying for it.

In the payload of a memory (``kind: sensor``, ``trust: sensor``) lie flat: ``channels`` and
``tags`` (names), ``duration_s``, ``note``, and ``wave``::

    {"version": 1, "channels": [{"name", "kind", "unit", "rate_hz", "samples", "columns",
      "duration_s", "mean", "minimum", "maximum", "rms", "slope_per_s", "noise_db",
      "tones": [[frequency_hz, amplitude, phase_rad, decay_per_s or null], ...],
      "decay_per_s", "onset_s", "envelope": [32 floats], "levels": [32 floats],
      "vector": base64 of float16 little-endian, "picture": {...}}]}

The picture (a spectrogram or a thumbnail, 8 bits a pixel, at most :data:`MOST_PIXELS`) lies
in the payload too and not in a file beside the store: so it is written, exported, moved to
another store and forgotten in the same step as its memory, and nothing can be left over. A
channel takes about 3.5 kB; a capture has at most :data:`MOST_CHANNELS`.

The store's second vector, named ``wave``, follows from this payload (:func:`vectors_in`),
as the sparse vectors follow from the text. See ``wave_vector.py`` for what is in it.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from aiki_kernel.errors import UsageError

FORMAT = 1
KIND = "sensor"
SLOT = "wave"
"""Name of the second vector of a point: one row a channel, compared by MaxSim."""

DIMENSION = 224
SEGMENTS = 32
MOST_CHANNELS = 16
MOST_TONES = 8
MOST_PIXELS = 1536
_LONGEST_NAME = 64
_LONGEST_NOTE = 4000


@dataclass(frozen=True)
class Tone:
    """One dominant part of a signal, ``amplitude * exp(-decay_per_s * t) * cos(2 pi
    frequency_hz * t + phase_rad)`` with t in seconds from the channel's ``onset_s``.

    Amplitude in the channel's unit. ``decay_per_s`` is None where none is told apart from
    zero; it is negative where the tone grows.
    """

    frequency_hz: float
    amplitude: float
    phase_rad: float
    decay_per_s: float | None = None


@dataclass(frozen=True)
class Picture:
    """``pixels``: width * height bytes, rows from the top, 0 is the least, 255 the most.

    A ``spectrogram`` has time from left to right and, upwards, equal steps of log frequency
    from ``low`` to ``high`` Hz; brightness is level from -60 dB to the highest. A
    ``thumbnail`` is the (mean) frame, brightness from ``low`` to ``high`` of its unit.
    """

    kind: str
    width: int
    height: int
    low: float
    high: float
    pixels: bytes


@dataclass(frozen=True)
class ChannelPattern:
    """What is kept of one channel.

    ``kind`` is ``signal``, ``frame`` or ``frames``. ``rms`` is of the signal without its
    mean; ``slope_per_s`` is the least-squares trend; ``noise_db`` is how far what no tone
    explains lies below the whole. ``envelope`` has the RMS of :data:`SEGMENTS` equal parts
    (without the mean of all), ``levels`` their means. ``decay_per_s`` is the damping of the
    envelope as a whole, None where it does not fall exponentially; ``onset_s`` is where the
    analysed part begins (0 unless most of the record is silent). ``vector``: unit length.
    """

    name: str
    kind: str
    unit: str
    rate_hz: float
    samples: int
    columns: int
    duration_s: float
    mean: float
    minimum: float
    maximum: float
    rms: float
    slope_per_s: float
    noise_db: float
    tones: tuple[Tone, ...]
    decay_per_s: float | None
    onset_s: float
    envelope: tuple[float, ...]
    levels: tuple[float, ...]
    vector: bytes
    picture: Picture | None = None

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["tones"] = [list(asdict(tone).values()) for tone in self.tones]
        data["envelope"], data["levels"] = list(self.envelope), list(self.levels)
        data["vector"] = base64.b64encode(self.vector).decode()
        if self.picture is not None:
            data["picture"]["pixels"] = base64.b64encode(self.picture.pixels).decode()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ChannelPattern:
        """The reverse of :meth:`to_json`. Raises ValueError, TypeError or KeyError."""
        picture = data.get("picture")
        made = cls(
            name=channel_name(data["name"]),
            kind=_one_of(data["kind"], ("signal", "frame", "frames")),
            unit=str(data["unit"])[:_LONGEST_NAME],
            rate_hz=_number(data["rate_hz"]),
            samples=int(data["samples"]),
            columns=int(data["columns"]),
            duration_s=_number(data["duration_s"]),
            mean=_number(data["mean"]),
            minimum=_number(data["minimum"]),
            maximum=_number(data["maximum"]),
            rms=_number(data["rms"]),
            slope_per_s=_number(data["slope_per_s"]),
            noise_db=_number(data["noise_db"]),
            tones=tuple(_tone(one) for one in _at_most(data["tones"], MOST_TONES)),
            decay_per_s=_maybe(data.get("decay_per_s")),
            onset_s=_number(data["onset_s"]),
            envelope=tuple(_number(one) for one in _at_most(data["envelope"], SEGMENTS)),
            levels=tuple(_number(one) for one in _at_most(data["levels"], SEGMENTS)),
            vector=_bytes(data["vector"], DIMENSION * 2),
            picture=None if picture is None else _picture(picture),
        )
        if len(made.vector) != DIMENSION * 2:
            raise ValueError(f"its vector has not {DIMENSION} numbers")
        return made


@dataclass(frozen=True)
class WavePattern:
    """All channels of one capture."""

    channels: tuple[ChannelPattern, ...] = field(default=())

    @property
    def names(self) -> list[str]:
        return [channel.name for channel in self.channels]

    @property
    def duration_s(self) -> float:
        """Seconds from the first sample to the last of the longest channel."""
        return max((channel.duration_s for channel in self.channels), default=0.0)

    def to_json(self) -> dict[str, Any]:
        return {"version": FORMAT, "channels": [one.to_json() for one in self.channels]}

    @classmethod
    def from_json(cls, data: Any) -> WavePattern:
        """The reverse of :meth:`to_json`. Raises :class:`UsageError` for anything else."""
        try:
            if data["version"] > FORMAT:
                raise UsageError(
                    "This wave pattern is of a newer AIKI: update with "
                    "`pip install -U aiki-kernel`."
                )
            channels = _at_most(data["channels"], MOST_CHANNELS)
            made = cls(tuple(ChannelPattern.from_json(one) for one in channels))
            if not made.channels or len(set(made.names)) != len(made.names):
                raise ValueError("its channels need names of their own")
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise UsageError(
                f"That is no wave pattern ({str(error) or type(error).__name__}): "
                "make it with aiki.memory.capture."
            ) from error
        return made


def pattern_in(metadata: Mapping[str, Any]) -> WavePattern | None:
    """The pattern in a memory's metadata or payload; None where there is none that is whole."""
    data = metadata.get(SLOT)
    if not isinstance(data, Mapping):
        return None
    try:
        return WavePattern.from_json(data)
    except UsageError:
        return None


def channel_name(given: Any) -> str:
    """``given`` as the name of a channel. Raises ValueError."""
    if not isinstance(given, str) or not given.strip() or not given.isprintable():
        raise ValueError(f"{given!r} cannot name a channel")
    if len(given) > _LONGEST_NAME:
        raise ValueError(f"the name of a channel has at most {_LONGEST_NAME} characters")
    return given.strip()


def checked_note(note: str) -> str:
    """A note that fits. Raises :class:`UsageError`."""
    if not isinstance(note, str) or len(note) > _LONGEST_NOTE:
        raise UsageError(f"A note is a text of at most {_LONGEST_NOTE} characters.")
    return note.strip()


def _at_most(items: Any, most: int) -> list[Any]:
    if not isinstance(items, list | tuple) or len(items) > most:
        raise ValueError(f"at most {most} in a list")
    return list(items)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def _maybe(value: Any) -> float | None:
    return None if value is None else _number(value)


def _one_of(value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return str(value)


def _tone(one: Any) -> Tone:
    frequency, amplitude, phase, decay = one
    return Tone(_number(frequency), _number(amplitude), _number(phase), _maybe(decay))


def _picture(data: Mapping[str, Any]) -> Picture:
    made = Picture(
        kind=_one_of(data["kind"], ("spectrogram", "thumbnail")),
        width=int(data["width"]),
        height=int(data["height"]),
        low=_number(data["low"]),
        high=_number(data["high"]),
        pixels=_bytes(data["pixels"], MOST_PIXELS),
    )
    if min(made.width, made.height) < 1 or made.width * made.height != len(made.pixels):
        raise ValueError("its picture has another size than it says")
    return made


def _bytes(text: Any, most: int) -> bytes:
    if not isinstance(text, str) or len(text) > (most + 2) // 3 * 4:
        raise ValueError(f"more than {most} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from error


def brief(value: float, digits: int = 6) -> float:
    """``value`` to so many significant digits: what a payload needs, and no more."""
    return float(f"{value:.{digits}g}")
