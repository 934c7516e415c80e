"""The response cache's file: bounds, versions, damage, secrets, several processes at once."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from aiki_kernel.models.response_cache import Kept, ResponseCache

USAGE = {"input_tokens": 10, "output_tokens": 5, "cached_tokens": 0}


def kept(text: str = "Oslo.") -> Kept:
    return Kept(text, "stop", USAGE, "m", "p", {"engine": "mojo"})


def cache(folder: Path, size: int = 1_000_000, days: float = 30.0) -> ResponseCache:
    return ResponseCache(folder / "cache" / "responses.sqlite", size, days)


def key(number: int) -> str:
    return f"{number:064x}"


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    one = cache(tmp_path)
    assert one.health()["hit_rate"] is None
    assert one.clear() == 0
    assert not one.path.exists()


def test_an_answer_comes_back_whole(tmp_path: Path) -> None:
    one = cache(tmp_path)
    assert one.get(key(1)) is None
    assert one.put(key(1), kept("Blåbærsyltetøy \u2028 \U0001f3d4"))
    found = cache(tmp_path).get(key(1))
    assert found is not None
    assert found.text == "Blåbærsyltetøy \u2028 \U0001f3d4"
    assert (found.usage, found.detail, found.reason) == (USAGE, {"engine": "mojo"}, "stop")
    assert abs(found.made - time.time()) < 60
    one.saved(0.25)
    health = one.health()
    assert (health["hits"], health["misses"], health["hit_rate"]) == (1, 1, 0.5)
    assert (health["answers"], health["saved_usd"]) == (1, 0.25)
    if os.name == "posix":
        assert stat.S_IMODE(one.path.stat().st_mode) == 0o600
    assert one.clear() == 1
    assert one.get(key(1)) is None


def test_it_stays_within_its_bounds_and_keeps_what_is_used(tmp_path: Path) -> None:
    one = cache(tmp_path, size=20_000)
    assert not one.put(key(0), kept("x" * 6000)), "no answer takes a quarter of it all"
    for number in range(1, 60):
        assert one.put(key(number), kept("y" * 900))
        assert one.get(key(1)) is not None, "used each time"
        assert one.health()["bytes"] <= 20_000
    assert one.get(key(2)) is None
    assert one.get(key(59)) is not None


def test_old_answers_are_not_given(tmp_path: Path) -> None:
    one = cache(tmp_path, days=1.0)
    one.put(key(1), kept())
    with sqlite3.connect(one.path) as db:
        db.execute("UPDATE answer SET made = made - 90000")
    assert one.get(key(1)) is None
    one.put(key(2), kept())
    assert one.health()["answers"] == 1, "and are gone with the next write"


@pytest.mark.parametrize(
    "text",
    ["Use sk-" + "a1B2" * 12 + " for it.", "-----BEGIN RSA PRIVATE " + "KEY-----\nabc\n"],
)
def test_what_looks_like_a_key_is_not_kept(tmp_path: Path, text: str) -> None:
    one = cache(tmp_path)
    one.put(key(9), kept("harmless"))
    from aiki_kernel.safety.secrets import redact

    if redact(text) == text:
        pytest.skip("the detector does not know this shape")
    assert not one.put(key(1), kept(text))
    one.close()
    assert text.split()[1].encode() not in one.path.read_bytes()


def test_half_a_character_is_not_kept(tmp_path: Path) -> None:
    assert not cache(tmp_path).put(key(1), kept("\ud800"))


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b""])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: bytes) -> None:
    one = cache(tmp_path)
    one.put(key(1), kept())
    one.close()
    for suffix in ("-wal", "-shm"):
        one.path.with_name(one.path.name + suffix).unlink(missing_ok=True)
    one.path.write_bytes(damage)
    assert one.get(key(1)) is None
    assert one.put(key(1), kept())
    assert one.get(key(1)) is not None
    assert one.trouble == ""


def test_another_versions_file_is_begun_anew(tmp_path: Path) -> None:
    one = cache(tmp_path)
    one.path.parent.mkdir()
    with sqlite3.connect(one.path) as db:
        db.execute("CREATE TABLE answer (key TEXT, other TEXT)")
        db.execute("PRAGMA user_version = 99")
    assert one.get(key(1)) is None
    assert one.put(key(1), kept())
    assert one.get(key(1)) is not None


def test_a_body_that_is_not_ours_is_a_miss(tmp_path: Path) -> None:
    one = cache(tmp_path)
    one.put(key(1), kept())
    with sqlite3.connect(one.path) as db:
        db.execute("UPDATE answer SET body = ?", (json.dumps({"text": "x", "odd": 1}),))
    assert one.get(key(1)) is None


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands where the folder would be")
    one = cache(tmp_path)
    assert one.get(key(1)) is None
    assert not one.put(key(1), kept())
    assert "cannot be used" in one.trouble
    assert "cannot be used" in one.health()["trouble"] or one.health()["answers"] == 0


CHILD = """
import sys
from pathlib import Path
from aiki_kernel.models.response_cache import Kept, ResponseCache
cache = ResponseCache(Path(sys.argv[1]), 10_000_000, 30.0)
mine, wrong = int(sys.argv[2]), 0
for number in range(150):
    for owner in (0, 1):
        key = f"{number:062x}{owner:02x}"
        if owner == mine:
            cache.put(key, Kept(f"{owner} {number}", "stop", {"input_tokens": 1}, "m", "p"))
        found = cache.get(key)
        wrong += found is not None and found.text != f"{owner} {number}"
        wrong += owner == mine and found is None
    cache.saved(1.0)
print(wrong, cache.trouble or "ok")
"""


def test_two_processes_read_and_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "responses.sqlite"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(owner)], stdout=subprocess.PIPE, text=True
        )
        for owner in (0, 1)
    ]
    assert [one.communicate(timeout=100)[0].strip() for one in both] == ["0 ok", "0 ok"]
    health = cache(tmp_path, 10_000_000).health()
    assert health["answers"] == 300
    assert health["hits"] + health["misses"] == 600
    assert health["saved_usd"] == 300.0


def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    """Changing to WAL does not wait for others that do the same."""
    for round_ in range(20):
        gate, told = threading.Barrier(6), []

        def work(number: int, folder: Path, gate: threading.Barrier, told: list[str]) -> None:
            one = cache(folder)
            gate.wait()
            one.put(key(number), kept())
            told.append(one.trouble)

        folder = tmp_path / str(round_)
        threads = [threading.Thread(target=work, args=(n, folder, gate, told)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told == [""] * 6


def test_threads_share_one_cache(tmp_path: Path) -> None:
    one = cache(tmp_path)
    wrong: list[Any] = []

    def work(mine: int) -> None:
        for number in range(40):
            one.put(key(100 * mine + number), kept(f"{mine} {number}"))
            found = one.get(key(100 * mine + number))
            if found is None or found.text != f"{mine} {number}":
                wrong.append((mine, number))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
