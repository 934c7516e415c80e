"""``memory capture``, ``memory like``, ``memory patterns`` on a real store."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from aiki_kernel.commands.command import Context, Face, Result
from aiki_kernel.commands.registry import complete, run
from aiki_kernel.errors import AikiError, UsageError

Call = Callable[..., Result]


@pytest.fixture
def context(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setenv("AIKI_DAEMON", "off")
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    made = Context("cli", report=lambda what, done, total: None)
    yield made
    made.close()


@pytest.fixture
def call(context: Context) -> Call:
    def run_it(*words: str, face: Face = "cli") -> Result:
        context.face = face
        return run(["memory", *words], context)

    return run_it


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "fridge.wav"
    samples = 9000 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def test_from_a_file_to_its_like(call: Call, sound: Path, tmp_path: Path) -> None:
    frame = tmp_path / "corner.npy"
    np.save(frame, np.add.outer(np.arange(30.0), np.arange(40.0)))
    made = call("capture", str(sound), "--note", "the fridge hums", "--at", "2026-03-01T10:00Z")
    assert "tone at 220 Hz" in made.text
    assert made.html is not None
    assert 'src="data:image/png;base64,' in made.html
    channel = made.data["metadata"]["wave"]["channels"][0]
    assert channel["name"] == "audio"
    assert "vector" not in channel
    assert made.data["provenance"]["files"] == {"audio": "fridge.wav"}
    json.dumps(made.data)
    both = call(
        "capture", f"mic={sound}", f"thermal={frame}", "--unit", "°C", "--language", "no",
        face="magic",
    )  # fmt: skip
    assert both.data["metadata"]["channels"] == ["mic", "thermal"]
    assert "ett bilde" in both.text
    found = call("like", str(sound))
    assert {one["id"] for one in found.data} == {made.data["id"], both.data["id"]}
    assert found.data[0]["score"] > 0.99
    assert [one["id"] for one in call("like", str(sound), "--channel", "mic").data] == [
        both.data["id"]
    ]
    assert "Nothing like it" in call("like", str(sound), "--channel", "depth").text
    assert call("search", "fridge").data["hits"][0]["id"] == made.data["id"]
    assert call("list", "--kind", "sensor").data["memories"]


def test_patterns(call: Call, sound: Path) -> None:
    call("capture", str(sound), "--at", "2026-03-01T10:00Z")
    found = call("patterns", "2026-03-01..2026-03-02")
    assert found.data["captures"] == 1
    assert "1 capture: audio (1)." in found.text
    assert found.html is not None
    assert call("patterns", "last", "week").data["captures"] == 0
    assert call("patterns", "siste", "3", "dager", "--language", "no").text.endswith("ut.")
    assert call("patterns").data["captures"] == 0
    assert json.loads(call("patterns", "--json").text)["captures"] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["capture", "nowhere.wav"], "There is no"),
        (["capture", "notes.txt"], "neither .wav nor .npy"),
        (["capture", "nowhere.npy"], "There is no"),
        (["capture"], "FILE"),
        (["capture", "a.wav", "b.wav", "--channel", "x"], "NAME=FILE"),
        (["capture", "x=a.wav", "x=b.wav"], "Two files"),
        (["like", "nowhere.wav", "--limit", "0"], "at least 1"),
        (["patterns", "in", "a", "while"], "no period"),
        (["patterns", "--language", "fr"], "cannot be 'fr'"),
    ],
)
def test_mistakes_are_one_line(call: Call, words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        call(*words)
    assert "\n" not in str(caught.value)


def test_an_array_file_is_data_and_never_code(call: Call, tmp_path: Path) -> None:
    bad = tmp_path / "bad.npy"
    np.save(bad, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(AikiError, match="no array of numbers"):
        call("capture", str(bad), "--rate", "10")
    bad.write_bytes(b"not numpy")
    with pytest.raises(AikiError, match="no array of numbers"):
        call("capture", str(bad), "--rate", "10")


def test_tab(context: Context, sound: Path) -> None:
    folder = str(sound.parent) + "/"
    assert complete(["memory", "capture"], f"{folder}fri", context) == [str(sound)]
    assert "last week" in complete(["memory", "patterns"], "la", context)
    assert complete(["memory", "patterns", "last"], "we", context) == ["week"]
    assert "--note" in complete(["memory", "capture"], "--", context)
    assert {"capture", "like", "patterns"} <= set(complete(["memory"], "", context))
