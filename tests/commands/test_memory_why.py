"""``memory why``: a real message, its memories, and the same after a restart."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fault_server import FaultServer

from aiki_kernel.commands.command import Context
from aiki_kernel.commands.registry import complete, run
from aiki_kernel.config import Settings, load
from aiki_kernel.errors import AikiError, UsageError
from aiki_kernel.mind.recollection import Recollection, Recollections, flush_all

QUESTION = "what is the budget of the cabin"


@pytest.fixture
def environment(
    aiki_home: Path, monkeypatch: pytest.MonkeyPatch, fault_server: FaultServer
) -> None:
    monkeypatch.setenv("AIKI_DAEMON", "off")
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    monkeypatch.setenv("AIKI_MEMORY__RECALL_TOKENS", "60")
    for name, value in fault_server.environment().items():
        monkeypatch.setenv(name, value)


def test_a_reply_tells_its_memories_also_after_a_restart(environment: None) -> None:
    context = Context("cli")
    texts = [
        "The budget of the cabin is 300 kroner",
        "The budget of the cabin is 300 kroner",  # the same once more
        "What is the budget of the cabin? " * 12,
        "Ola lives in Oslo",
        "Blueberries are blue",
    ]
    memory = context.aiki.memory
    ids = [memory.add(text).id for text in texts]
    reply = context.aiki.ask(QUESTION)
    context.close()

    again = Context("magic")  # another process might do this
    try:
        found = run(["memory", "why"], again)
        assert found.data["turn_id"] == reply.metadata["turn_id"]
        assert found.data["question"] == QUESTION
        fates = {row["id"]: row["fate"] for row in found.data["hits"]}
        assert set(fates) <= set(ids)
        assert fates[ids[2]] == "budget"
        assert {fates.get(ids[0], "used"), fates.get(ids[1], "used")} == {"used"}
        assert "relevance" in fates.values()
        (double,) = found.data["dropped"]
        assert {double["id"], double["of"]} == {ids[0], ids[1]}
        assert set(found.data["hits"][0]["ranks"]) == {"dense", "bm25", "bm25_turn"}
        for word in ("same text as", "did not fit into 60 tokens", "below 0.4 of the best"):
            assert word in str(found.html)
        assert "1 over the budget" in found.text

        again.aiki.memory.forget(ids[2])
        rest = run(["memory", "why", reply.metadata["turn_id"][:8]], again)
        assert rest.data["texts"][ids[2]] is None
        assert "(forgotten)" in rest.text
        assert complete(["memory", "why"], "la", again) == ["last"]
        assert reply.metadata["turn_id"] in complete(["memory", "why"], "", again)
        for wrong in ("deadbeef", "x"):
            with pytest.raises(UsageError):
                run(["memory", "why", wrong], again)
    finally:
        again.close()


def test_no_text_of_a_memory_is_kept_beside_it(environment: None, aiki_home: Path) -> None:
    with Context("cli").aiki as aiki:
        aiki.memory.add("The budget of the cabin is 300 kroner")
        aiki.ask(QUESTION)
    flush_all()
    file = aiki_home / "recollections.sqlite"
    assert file.stat().st_mode & 0o077 == 0
    kept = b"".join(part.read_bytes() for part in aiki_home.glob("recollections.sqlite*"))
    assert b"kroner" not in kept
    assert b"cabin" not in kept


def test_nothing_was_said_yet(environment: None) -> None:
    context = Context("cli")
    with pytest.raises(UsageError, match="No reply is known yet"):
        run(["memory", "why"], context)
    context.close()


@pytest.fixture
def settings(aiki_home: Path) -> Settings:
    return load()


def test_only_the_latest_are_kept_whoever_writes(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiki_kernel.mind.recollection.MOST", 50)
    path = tmp_path / "recollections.sqlite"

    def write(writer: int) -> None:
        rows = Recollections(path, settings)
        for n in range(40):
            rows.put(Recollection(f"{writer}-{n}", f"s{writer}", "2026", {"hits": []}))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = Recollections(path, settings)
    assert len(kept.latest(1000)) == 50
    (last,) = kept.latest(1)  # of whoever wrote last: the rows of the first may all be gone
    assert kept.latest(1, last.session_id) == [last]


def test_a_file_of_a_newer_version_or_a_broken_one_is_one_line(
    tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / "recollections.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(AikiError, match="newer AIKI"):
        Recollections(path, settings).latest()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(AikiError, match="cannot be read") as caught:
        Recollections(path, settings).latest()
    assert "\n" not in str(caught.value)


def test_rows_are_written_when_the_process_ends(environment: None, aiki_home: Path) -> None:
    """Nobody closes anything, as in a notebook whose kernel is shut down."""
    script = "from aiki_kernel import Aiki; Aiki().ask('what is the budget')"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert len(Recollections(aiki_home / "recollections.sqlite", load()).latest()) == 1
