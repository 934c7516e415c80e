from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from daemon.turns import a_turn

from aiki_kernel.daemon.spool import Spool
from aiki_kernel.errors import StoreError
from aiki_kernel.memory.records import Turn


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_replay_gives_every_turn_once_and_in_order(spool: Spool) -> None:
    turns = [a_turn(question=f"question {number} æøå \ud83d\ude00") for number in range(5)]
    for turn in turns:
        spool.put(turn)
    seen: list[Turn] = []
    done = spool.replay(seen.append)
    assert [turn.id for turn in seen] == [turn.id for turn in turns]
    assert seen[3].question == "question 3 æøå 😀", "a split pair is joined"
    assert (done.stored, done.waiting) == (5, 0)
    assert spool.replay(seen.append).stored == 0
    assert len(seen) == 5


def test_the_same_turn_is_spooled_once(spool: Spool) -> None:
    turn = a_turn()
    assert spool.put(turn) == spool.put(turn)
    assert len(spool.waiting()) == 1


def test_files_are_private(spool: Spool) -> None:
    path = spool.put(a_turn())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_refused_turn_stays_and_does_not_block_the_others(spool: Spool) -> None:
    poison, good = a_turn(question="poison"), a_turn(question="good")
    spool.put(poison)
    spool.put(good)
    stored: list[str] = []

    def remember(turn: Turn) -> None:
        if turn.question == "poison":
            raise StoreError("refused")
        stored.append(turn.question)

    done = spool.replay(remember)
    assert stored == ["good"]
    assert (done.stored, done.waiting, done.error) == (1, 1, "refused")
    assert not spool.due(), "a refused turn waits before it is tried again"
    spool.hurry()
    assert spool.due()


def test_a_store_that_is_away_ends_the_pass(spool: Spool) -> None:
    for _ in range(10):
        spool.put(a_turn())
    asked: list[Turn] = []

    def away(turn: Turn) -> None:
        asked.append(turn)
        raise StoreError("away")

    assert spool.replay(away).waiting == 10
    assert len(asked) == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"id": "x"}', b'{"id": 5}', b"\xff\xfe", b"\x00" * 100],
    ids=["empty", "cut", "a list", "incomplete", "wrong type", "not text", "zeros"],
)
def test_a_damaged_file_is_set_aside_with_a_note(spool: Spool, content: bytes) -> None:
    spool.folder.mkdir()
    (spool.folder / "00000000000000000001-x.json").write_bytes(content)
    spool.put(a_turn())
    done = spool.replay(lambda turn: None)
    assert (done.stored, done.waiting, done.bad) == (1, 0, 1)
    kept = spool.folder / "bad" / "00000000000000000001-x.json"
    assert kept.read_bytes() == content
    assert "damaged" in kept.with_name(kept.name + ".txt").read_text()
    assert "damaged" in spool.notes[0]


def test_a_stored_rerun_drops_the_waiting_turn_that_it_replaces(spool: Spool) -> None:
    first = a_turn(question="first")
    second = a_turn(question="second", replaces=first.id)
    spool.put(first)
    spool.put(second)
    refused = {"first"}

    def remember(turn: Turn) -> None:
        if turn.question in refused:
            raise StoreError("no")

    assert spool.replay(remember).waiting == 0


def test_a_read_only_folder_refuses_in_one_line(tmp_path: Path) -> None:
    # A file where the folder should be: that stops root as well.
    (tmp_path / "spool").write_text("in the way")
    with pytest.raises(StoreError, match="not remembered") as caught:
        Spool(tmp_path / "spool").put(a_turn())
    assert "\n" not in str(caught.value)


def test_a_full_disk_acknowledges_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
import resource, signal, sys
from pathlib import Path
from daemon.turns import a_turn
from aiki_kernel.daemon.spool import Spool
from aiki_kernel.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
spool = Spool(Path({str(tmp_path / "spool")!r}))
spool.put(a_turn(answer="short"))
try:
    spool.put(a_turn(answer="long " * 1000))
except StoreError as error:
    print(error)
    sys.exit(7)
"""
    assert resource.RLIMIT_FSIZE is not None
    assert signal.SIGXFSZ
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 7, done.stderr
    assert "File too large" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert len(list((tmp_path / "spool").iterdir())) == 1


def test_what_a_crash_left_is_swept_away(spool: Spool) -> None:
    spool.put(a_turn())
    old, young = spool.folder / ".a.tmp", spool.folder / ".b.tmp"
    for path in (old, young):
        path.write_text("{")
    os.utime(old, (0, 0))
    spool.sweep()
    assert not old.exists()
    assert young.exists()
    assert len(spool.waiting()) == 1
