"""What comes in: WAV files of all widths, frames, and one line for what is no signal."""

from __future__ import annotations

import json
import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki_kernel.errors import UsageError
from aiki_kernel.memory.wave import MOST_PIXELS, WavePattern, pattern_in
from aiki_kernel.memory.wave_analysis import analyse
from aiki_kernel.memory.wave_signal import Signal
from aiki_kernel.memory.wave_vector import rows, vectors_in


def write_wav(path: Path, x: np.ndarray, rate: int, width: int) -> Path:
    """``x``: (n, columns) in -1..1."""
    if width == 1:
        raw = np.round(x * 127 + 128).astype(np.uint8).tobytes()
    elif width == 3:
        wide = np.round(x * (2**23 - 1)).astype("<i4")
        raw = wide.view(np.uint8).reshape(*x.shape, 4)[..., :3].tobytes()
    else:
        raw = np.round(x * (2.0 ** (8 * width - 1) - 1)).astype(f"<i{width}").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(x.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(raw)
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("columns", [1, 2])
def test_a_wav_file_of_any_width(tmp_path: Path, width: int, columns: int) -> None:
    t = np.arange(11025) / 22050
    x = np.stack([0.5 * np.sin(2 * np.pi * 987.77 * t), 0.25 * np.cos(2 * np.pi * 987.77 * t)], 1)
    path = write_wav(tmp_path / "b5.wav", x[:, :columns], 22050, width)
    found = analyse({"audio": path}).channels[0]
    assert found.tones[0].frequency_hz == pytest.approx(987.77, rel=1e-4)
    level = 0.5 if columns == 1 else np.hypot(0.5, 0.25)
    assert found.tones[0].amplitude == pytest.approx(level, rel=0.01)
    assert (found.columns, found.samples, found.rate_hz) == (columns, 11025, 22050)
    assert found.picture is not None
    assert found.picture.kind == "spectrogram"


@pytest.mark.parametrize(("tag", "bits"), [(3, 32), (3, 64), (1, 24), (1, 16)])
def test_floats_the_extensible_form_and_chunks_before_the_samples(
    tmp_path: Path, tag: int, bits: int
) -> None:
    x = 0.5 * np.sin(2 * np.pi * 1234.5 * np.arange(8000) / 16000)
    if tag == 3:
        raw = x.astype(f"<f{bits // 8}").tobytes()
    else:
        wide = np.round(x * 2.0**31).astype("<i4").view(np.uint8).reshape(-1, 4)
        raw = wide[:, 4 - bits // 8 :].tobytes()
    step = bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE, 1, 16000, 16000 * step, step, bits)
    form += struct.pack("<HHIH", 22, bits, 4, tag) + b"\x00\x00\x00\x00\x10\x00" + b"\x80" * 8
    chunks = b"".join(
        name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        for name, body in ((b"fmt ", form), (b"LIST", b"odd"), (b"data", raw))
    )
    path = tmp_path / "made.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    found = analyse({"audio": path}).channels[0]
    assert found.tones[0].frequency_hz == pytest.approx(1234.5, rel=1e-4)
    assert found.tones[0].amplitude == pytest.approx(0.5, rel=1e-3)


@given(data=st.binary(max_size=300), cut=st.integers(0, 200), at=st.integers(0, 60))
def test_a_damaged_file_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int, at: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    write_wav(path, np.sin(np.arange(60.0))[:, None], 100, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + data[:8] + whole[at + 4 : len(whole) - cut])
    told = ""
    try:
        analyse({"audio": path})
    except UsageError as error:
        told = str(error)
    assert "\n" not in told


def test_a_wav_file_that_is_cut_off_says_where_it_ends(tmp_path: Path) -> None:
    x = np.sin(np.arange(8000) / 3)[:, None] * 0.5
    path = write_wav(tmp_path / "cut.wav", x, 8000, 2)
    path.write_bytes(path.read_bytes()[:-4001])
    with pytest.raises(UsageError, match="ends after 5,999 of its 8,000"):
        analyse({"audio": path})


def test_a_frame_has_a_thumbnail_and_its_shape_for_a_vector() -> None:
    down, along = np.mgrid[0:120, 0:160]
    spot = 30 + 40 * np.exp(-((down - 40) ** 2 + (along - 100) ** 2) / 400)
    found = analyse({"thermal": Signal(spot, unit="°C")}).channels[0]
    assert found.kind == "frame"
    assert not found.tones
    assert found.maximum == pytest.approx(70, abs=0.1)
    assert found.picture is not None
    assert found.picture.width * found.picture.height == len(found.picture.pixels) <= MOST_PIXELS
    bright = int(np.argmax(np.frombuffer(found.picture.pixels, np.uint8)))
    place = divmod(bright, found.picture.width)
    assert place[0] / found.picture.height == pytest.approx(40 / 120, abs=0.05)
    assert place[1] / found.picture.width == pytest.approx(100 / 160, abs=0.05)
    # The same spot at half the size and another level is the same shape; stripes are not.
    small = rows(analyse({"a": spot[::2, ::2] * 3 + 5}))[0]
    stripes = rows(analyse({"a": np.sin(along / 2.0)}))[0]
    whole = rows(analyse({"a": spot}))[0]
    assert whole @ small > 0.98
    assert whole @ stripes < 0.5


def test_frames_show_what_moves_in_them() -> None:
    frames = np.zeros((200, 24, 32))
    for k in range(200):
        left = int(12 + 10 * np.sin(2 * np.pi * 1.5 * k / 20))
        frames[k, 8:16, left : left + 6] = 100
    found = analyse({"depth": (frames, 20, "mm")}).channels[0]
    assert found.kind == "frames"
    assert found.tones[0].frequency_hz == pytest.approx(1.5, rel=0.01)
    assert found.picture is not None
    assert found.picture.kind == "thumbnail"


def test_a_colour_picture_is_one_frame() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    assert analyse({"camera": picture}).channels[0].columns == 40 * 60


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((np.array([]), 10), "is empty"),
        ((np.array([1.0, np.nan] * 20), 10), "NaN or an infinity at sample 1"),
        ((np.r_[np.arange(70_0000.0), np.inf], 10), "at sample 700,000"),
        ((np.full(100, 7.0), 10), "is constant"),
        ((np.full((20, 20), 7.0),), "is constant"),
        (np.zeros((50, 8, 8)), "needs its sampling rate"),
        ((np.zeros((50, 8, 8)), 5), "is constant"),
        ((np.array([1, "a", None], object), 10), "objects"),
        ((np.ones(20) * 1j, 10), "complex"),
        ((["a", "b"], 10), "real numbers"),
        ((5.0, 10), "one number"),
        (np.arange(100.0), "needs its sampling rate"),
        ((np.arange(100.0), 0), "above 0"),
        ((np.arange(100.0), -5), "above 0"),
        ((np.arange(100.0), float("nan")), "above 0"),
        ((np.arange(100.0), "fast"), "must be a number"),
        ((np.arange(100.0), True), "must be a number"),
        ((np.arange(5.0), 10), "at least 8"),
        ((np.zeros((4, 100)), 10), "at most 64 columns"),
        ((np.zeros((2, 2, 2, 2)), 10), "4 dimensions"),
        ((np.array([1e200, -1e200] * 20), 10), "beyond 1e100"),
        ([[1, 2], [3]], "not an array"),
        ("nowhere.wav", "There is no"),
        (__file__, "does not begin with RIFF"),
    ],
)
def test_what_is_no_signal_is_refused_in_one_line(given: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        analyse({"audio": given})
    assert "\n" not in str(caught.value)


def test_channels_are_named_and_bounded() -> None:
    x = (np.sin(np.arange(100.0)), 10)
    with pytest.raises(UsageError, match="at most 16"):
        analyse({f"c{k}": x for k in range(17)})
    with pytest.raises(UsageError, match="give a channel"):
        analyse({})
    with pytest.raises(UsageError, match="cannot name"):
        analyse({"\x1b[31m": x})


def test_the_vector_knows_neither_level_nor_rate() -> None:
    def row(frequency: float, rate: int, level: float = 1.0, noise: float = 0.0) -> np.ndarray:
        t = np.arange(2 * rate) / rate
        x = np.cos(2 * np.pi * frequency * t) + 0.5 * np.cos(2 * np.pi * 3 * frequency * t)
        x += noise * np.random.default_rng(rate).normal(size=len(t))
        return rows(analyse({"a": (level * x, rate)}))[0]

    pattern = row(440, 44100)
    assert pattern @ row(440, 8000, 1e-3) > 0.999
    assert pattern @ row(440, 16000, 50.0, noise=0.2) > 0.95  # 15 dB
    assert pattern @ row(450, 11025) > 0.99
    assert pattern @ row(700, 44100) < 0.6
    assert pattern @ row(95, 44100) < 0.6


def test_a_pattern_survives_json_and_nothing_else_is_one() -> None:
    made = analyse({"a": (np.sin(np.arange(500.0)), 10), "b": np.random.rand(20, 30)})
    data = json.loads(json.dumps(made.to_json()))
    assert WavePattern.from_json(data) == made
    assert len(json.dumps(data)) < 2 * 4500
    assert vectors_in({"wave": data}) == rows(made).tolist()
    for spoil in (
        {"version": 1, "channels": []},
        {"version": 99, "channels": data["channels"]},
        {"version": 1, "channels": [{**data["channels"][0], "vector": "AAAA"}]},
        {"version": 1, "channels": [{**data["channels"][0], "rms": float("nan")}]},
        {"version": 1, "channels": [{**data["channels"][0], "rms": True}]},
        {"version": 1, "channels": [data["channels"][0]] * 2},
        {"version": 1, "channels": [{**data["channels"][0], "envelope": [0.0] * 99}]},
        {"version": 1, "channels": "x" * 5},
        "hello",
        7,
        [],
    ):
        with pytest.raises(UsageError):
            WavePattern.from_json(spoil)
        assert pattern_in({"wave": spoil}) is None
        assert vectors_in({"wave": spoil}) is None
    assert vectors_in({"data": "no wave"}) is None
