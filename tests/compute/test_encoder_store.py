"""Images on disk: made once, believed only when whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiki_kernel.compute.encoder_store import default_folder, image


def test_an_image_is_made_once_and_mapped(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> bytearray:
        made.append(1)
        return bytearray(b"0123456789" * 100)

    first = image(tmp_path / "a" / "b", "x", make)
    again = image(tmp_path / "a" / "b", "x", make)
    assert first[:1000] == again[:1000] == b"0123456789" * 100
    assert again.readonly
    assert made == [1]
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["x.image"]


@pytest.mark.parametrize("damage", ["short", "bit", "empty", "head"])
def test_a_damaged_image_is_made_again(tmp_path: Path, damage: str) -> None:
    image(tmp_path, "x", lambda: bytearray(b"abcdefgh" * 1000))
    path = tmp_path / "x.image"
    raw = bytearray(path.read_bytes())
    if damage == "short":
        raw = raw[:-8]
    elif damage == "bit":
        raw[5000] ^= 4
    elif damage == "head":
        raw[3] ^= 1
    else:
        raw = bytearray()
    path.write_bytes(raw)
    assert image(tmp_path, "x", lambda: bytearray(b"abcdefgh" * 1000))[:8] == b"abcdefgh"
    assert image(tmp_path, "x", bytearray)[:8] == b"abcdefgh"


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = image(tmp_path / "file" / "under", "x", lambda: bytearray(b"abcdefgh"))
    assert found == b"abcdefgh"


def test_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "aiki-kernel" / "encoder"
    assert not list(tmp_path.iterdir())
