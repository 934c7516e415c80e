from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aiki_kernel.mind.ledger import Entry, Ledger, LedgerError

WHEN = "2026-11-18T12:00:00+00:00"  # a Wednesday
ENTRY = Entry(
    when=WHEN,
    session_id="s1",
    turn_id="t1",
    cell_id="c1",
    model="gpt-4o-mini",
    provider="openai",
    input_tokens=100,
    output_tokens=20,
    cached_tokens=40,
    cost_usd=0.25,
    latency_s=1.5,
    first_token_s=0.4,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "deep" / "ledger.sqlite")


def test_a_row_comes_back_as_it_was_written(ledger):
    odd = replace(ENTRY, cost_usd=None, first_token_s=None, error="it broke", interrupted=True)
    ledger.record(ENTRY)
    ledger.record(odd)
    assert ledger.rows() == [odd, ENTRY]
    assert Ledger(ledger.path).rows(limit=1) == [odd]


def test_reading_nothing_creates_nothing(ledger):
    assert ledger.rows() == []
    assert ledger.totals()["calls"] == 0
    assert ledger.totals(group_by="day") == {}
    assert not ledger.path.parent.exists()


def test_totals_keep_unknown_prices_apart_from_zero(ledger):
    ledger.record(ENTRY)
    ledger.record(replace(ENTRY, cost_usd=0.0, model="local", estimated=True))
    ledger.record(replace(ENTRY, cost_usd=None, error="ModelError"))
    ledger.record(replace(ENTRY, cost_usd=None, interrupted=True, error="CancelledError"))
    total = ledger.totals()
    assert total["calls"] == 4
    assert total["cost_usd"] == 0.25
    assert (total["unpriced"], total["estimated"]) == (2, 1)
    assert (total["errors"], total["interrupted"]) == (1, 1)
    assert (total["input_tokens"], total["cached_tokens"]) == (400, 160)


@pytest.mark.parametrize(
    ("group", "keys"),
    [
        ("tier", ["cheap", "unknown"]),
        ("kind", ["message", "rerun"]),
        ("day", ["2026-11-15", "2026-11-18", "2026-11-23"]),
        ("week", ["2026-11-09", "2026-11-16", "2026-11-23"]),
        ("month", ["2026-11"]),
        ("model", ["gpt-4o-mini", "local"]),
        ("session", ["s1", "s2"]),
        ("persona", ["default", "teacher"]),
    ],
)
def test_totals_by(ledger, group, keys):
    ledger.record(replace(ENTRY, tier="cheap", kind="rerun"))
    ledger.record(replace(ENTRY, when="2026-11-15T12:00:00+00:00", session_id="s2"))
    ledger.record(
        replace(ENTRY, when="2026-11-23T12:00:00+00:00", model="local", persona="teacher")
    )
    found = ledger.totals(group_by=group)
    assert list(found) == keys
    assert sum(sums["calls"] for sums in found.values()) == 3


def test_rows_and_totals_within_a_time(ledger):
    start = datetime(2026, 11, 1, tzinfo=UTC)
    for day in range(5):
        ledger.record(replace(ENTRY, when=(start + timedelta(days=day)).isoformat()))
    assert len(ledger.rows(since=start + timedelta(days=1), until="2026-11-04T00:00:00Z")) == 2
    assert ledger.totals(since="2026-11-03T00:00:00+00:00")["calls"] == 3
    assert ledger.totals(session_id="nobody")["calls"] == 0


@pytest.mark.parametrize("call", [{"group_by": "colour"}, {"since": "yesterday"}])
def test_wrong_words_are_one_line(ledger, call):
    ledger.record(ENTRY)
    with pytest.raises(LedgerError):
        ledger.totals(**call)


def test_a_key_never_reaches_the_ledger(ledger):
    key = "sk-proj-Zx9Qw8Er7Ty6Ui5Op4As3Df2"
    ledger.record(replace(ENTRY, error=f"refused {key}"))
    ledger.close()
    assert key.encode() not in ledger.path.read_bytes()


WRITER = """
import sys
from pathlib import Path
from aiki_kernel.mind.ledger import Entry, Ledger
ledger = Ledger(Path(sys.argv[1]))
sys.stdin.readline()
for n in range(500):
    ledger.record(Entry(when="2026-11-18T12:00:00+00:00", session_id=sys.argv[2],
                        turn_id=str(n), model="m", provider="p"))
"""


def test_two_processes_writing_500_rows_each_lose_nothing(ledger):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(ledger.path), name], stdin=subprocess.PIPE
        )
        for name in ("a", "b")
    ]
    for writer in writers:
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for name in ("a", "b"):
        turns = [int(entry.turn_id) for entry in ledger.rows(session_id=name)]
        assert sorted(turns) == list(range(500))


def test_eight_threads_share_one_ledger(ledger):
    def write(name: str) -> None:
        for n in range(20):
            ledger.record(replace(ENTRY, session_id=name, turn_id=str(n)))

    threads = [threading.Thread(target=write, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.totals()["calls"] == 160


def test_a_killed_writer_loses_nothing_that_was_recorded(ledger):
    program = WRITER.replace("sys.stdin.readline()", "") + "    print(n, flush=True)\n"
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(ledger.path), "k"], stdout=subprocess.PIPE
    )
    said = [int(writer.stdout.readline()) for _ in range(30)]
    writer.kill()
    said += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()
    kept = {int(entry.turn_id) for entry in ledger.rows()}
    assert set(said) <= kept


def test_a_file_that_is_no_database_is_moved_aside(ledger):
    ledger.path.parent.mkdir()
    ledger.path.write_bytes(b"this was never a database, whatever it says" * 100)
    ledger.record(ENTRY)
    assert ledger.rows() == [ENTRY]
    [note] = ledger.notes
    assert "damaged" in note
    [aside] = ledger.path.parent.glob("ledger.sqlite.damaged-*")
    assert aside.read_bytes().startswith(b"this was never")


def test_a_file_damaged_while_open_is_moved_aside(ledger):
    for n in range(400):
        ledger.record(replace(ENTRY, turn_id=str(n)))
    ledger.close()
    with ledger.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40960)
    ledger.record(ENTRY)
    assert ledger.notes
    assert ledger.rows() == [ENTRY]


def test_a_ledger_that_was_removed_under_us_is_begun_again(ledger):
    ledger.record(ENTRY)
    for file in ledger.path.parent.glob("ledger.sqlite*"):
        file.unlink()
    ledger.record(ENTRY)
    assert Ledger(ledger.path).rows() == [ENTRY]


def test_a_newer_format_is_refused_not_overwritten(ledger):
    ledger.record(ENTRY)
    ledger.close()
    db = sqlite3.connect(ledger.path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(LedgerError, match="newer AIKI"):
        ledger.record(ENTRY)


def test_a_full_disk_is_a_ledger_error(ledger):
    """A real limit on the file's size, in a process of its own."""
    program = f"""
import resource, signal
from pathlib import Path
from aiki_kernel.mind.ledger import Entry, Ledger, LedgerError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = Ledger(Path({str(ledger.path)!r}))
entry = Entry(when={WHEN!r}, session_id="s", turn_id="t", model="m", provider="p")
ledger.record(entry)
resource.setrlimit(resource.RLIMIT_FSIZE, (120000, 120000))
try:
    for _ in range(1000):
        ledger.record(entry)
except LedgerError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "could not be written" in done.stdout, done.stderr
    assert ledger.totals()["calls"] > 1, "what was there can be read"


def test_a_folder_that_cannot_be_made_is_a_ledger_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="permissions"):
        Ledger(tmp_path / "file" / "ledger.sqlite").record(ENTRY)


def test_a_locked_ledger_waits(ledger):
    ledger.record(ENTRY)
    other = sqlite3.connect(ledger.path, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    def release() -> None:
        time.sleep(0.3)
        other.commit()
        other.close()

    thread = threading.Thread(target=release)
    thread.start()
    ledger.record(ENTRY)
    thread.join()
    assert ledger.totals()["calls"] == 2


def test_models_of_one_name_at_two_endpoints_stay_two(ledger):
    for name in ("a/ok", "b/ok", "local", ""):
        ledger.record(replace(ENTRY, model="ok", name=name))
    assert list(ledger.totals(group_by="model")) == ["a/ok", "b/ok", "local/ok", "ok"]
