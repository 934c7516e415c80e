"""What a ledger survives: an older format, two that upgrade at once, a torn write."""

from __future__ import annotations

import random
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from ledger_files import format_1, row_of_format_1, torn

from aiki_kernel.mind.labels import Label, Labels
from aiki_kernel.mind.ledger import Entry, Ledger
from aiki_kernel.mind.ledger_file import VERSION

ENTRY = Entry(
    when="2026-11-18T12:00:00+00:00",
    session_id="s1",
    turn_id="t1",
    model="m",
    provider="p",
    cost_usd=0.25,
    name="openai/m",
    kind="rerun",
    tier="cheap",
    hops=1,
    cache_write_tokens=7,
    local_s=0.5,
    price_source="aiki.toml",
    smart_only_usd=1.0,
    cheap_only_usd=0.1,
)


def test_a_file_of_version_1_is_upgraded_without_loss(tmp_path):
    path = tmp_path / "ledger.sqlite"
    format_1(path, 30)
    ledger = Ledger(path)
    rows = ledger.rows()
    assert len(rows) == 30
    for number, row in enumerate(reversed(rows)):
        old = row_of_format_1(number)
        assert (row.turn_id, row.input_tokens, row.cost_usd) == (old[3], old[9], old[12])
        assert (row.first_token_s, row.error, row.interrupted) == (old[15], old[17], bool(old[18]))
        assert (row.kind, row.name, row.hops) == ("message", "", 0)
        assert row.smart_only_usd is None, "what was not reckoned then is not known now"
    ledger.record(ENTRY)
    assert ledger.rows(session_id="s1", turn_id="t1", model="m") == [ENTRY]
    total = ledger.totals()
    assert (total["calls"], total["not_compared"]) == (31, 30)
    assert (total["smart_only_usd"], total["compared_usd"]) == (1.0, 0.25)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_kernel_of_the_old_version_goes_on_writing_while_a_new_one_upgrades(tmp_path):
    path = tmp_path / "ledger.sqlite"
    format_1(path, 3)
    old = sqlite3.connect(path)  # as that version keeps it open
    columns = [row[1] for row in old.execute("PRAGMA table_info(entry)")][1:]
    assert len(Ledger(path).rows()) == 3
    names = ", ".join(f'"{name}"' for name in columns)
    with old:
        old.execute(
            f"INSERT INTO entry ({names}) VALUES ({', '.join('?' * len(columns))})",
            row_of_format_1(7),
        )
    assert {row.turn_id for row in Ledger(path).rows()} == {"t0", "t1", "t2", "t7"}


def test_an_upgraded_file_is_like_a_new_one(tmp_path):
    format_1(tmp_path / "old.sqlite", 1)
    for name in ("old", "new"):
        Ledger(tmp_path / f"{name}.sqlite").record(ENTRY)
    old, new = (
        [
            sqlite3.connect(tmp_path / f"{name}.sqlite").execute(f"PRAGMA {what}").fetchall()
            for what in ("table_info(entry)", "table_info(reservation)", "index_list(entry)")
        ]
        for name in ("old", "new")
    )
    assert old == new


WRITER = """
import sys
from pathlib import Path
from aiki_kernel.mind.labels import Label, Labels
from aiki_kernel.mind.ledger import Entry, Ledger
sys.stdin.readline()
ledger = Ledger(Path(sys.argv[1]))
for n in range(50):
    ledger.record(Entry(when="2026-11-18T12:00:00+00:00", session_id=sys.argv[2],
                        turn_id=str(n), model="m", provider="p"))
"""


def test_four_processes_upgrade_one_file_at_once(tmp_path):
    path = tmp_path / "ledger.sqlite"
    format_1(path, 200)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stdin=subprocess.PIPE)
        for name in "abcd"
    ]
    for writer in writers:
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    assert [writer.wait(60) for writer in writers] == [0] * 4
    totals = Ledger(path).totals(group_by="session")
    assert {name: sums["calls"] for name, sums in totals.items()} == {
        "s0": 100,
        "s1": 100,
        **dict.fromkeys("abcd", 50),
    }


KILLED = """
import os, sys
from pathlib import Path
from aiki_kernel.mind.labels import Label, Labels
from aiki_kernel.mind.ledger import Entry, Ledger
ledger = Ledger(Path(sys.argv[1]))
for n in range(400):
    ledger.record(Entry(when="2026-11-18T12:00:00+00:00", session_id="s", turn_id=str(n),
                        model="m" * 40, provider="p"))
    if n == 199:
        ledger.file.use(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)"), verb="read")
os._exit(9)  # as a crash leaves it: half in the file, half in the journal
"""


@pytest.fixture(scope="module")
def crashed(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("crashed") / "ledger.sqlite"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)]).returncode == 9
    assert path.with_name("ledger.sqlite-wal").stat().st_size > 100_000
    return path


@pytest.mark.parametrize("seed", range(12))
def test_a_torn_journal_is_recovered_to_its_last_whole_row(crashed, tmp_path, seed):
    path = tmp_path / "copy" / "ledger.sqlite"
    torn(crashed, path, "-wal", random.Random(seed))
    ledger = Ledger(path)
    found = sorted(int(row.turn_id) for row in ledger.rows())
    assert len(found) >= 200
    assert found == list(range(len(found))), "what is lost is the end, with no gap before it"
    assert ledger.notes == []
    ledger.record(ENTRY)
    assert ledger.totals()["calls"] == len(found) + 1


@pytest.mark.parametrize("seed", range(12))
def test_a_cut_file_is_kept_and_what_can_be_read_is_carried_over(crashed, tmp_path, seed):
    path = tmp_path / "copy" / "ledger.sqlite"
    size = torn(crashed, path, "", random.Random(seed))
    path.with_name("ledger.sqlite-wal").unlink()
    ledger = Ledger(path)
    ledger.record(ENTRY)  # never an error that lasts
    found = {row.turn_id for row in ledger.rows()} - {"t1"}
    assert found <= {str(n) for n in range(200)}
    assert ENTRY in ledger.rows()
    if ledger.notes:
        (aside,) = path.parent.glob("*.damaged-*[0-9]")
        assert aside.stat().st_size >= size, "nothing is deleted"
        carried = int(re.search(r"(\d+) rows? could be read", ledger.notes[0])[1])
        assert carried in (len(found), len(found) + 1)  # the new row may be among them


def lose_a_page_of_calls(path: Path, page: int = 4096) -> None:
    """Overwrite the first leaf of a table that holds more than a few rows."""
    whole = path.read_bytes()
    leaf = next(
        at
        for at in range(page, len(whole), page)
        if whole[at] == 0x0D and int.from_bytes(whole[at + 3 : at + 5], "big") > 5
    )
    with path.open("r+b") as file:
        file.seek(leaf)
        file.write(b"\xff" * page)


def test_most_of_a_file_that_lost_one_page_is_carried_over(crashed, tmp_path):
    path = tmp_path / "copy" / "ledger.sqlite"
    torn(crashed, path, "-wal", random.Random(1))
    path.with_name("ledger.sqlite-wal").unlink()
    lose_a_page_of_calls(path)
    ledger = Ledger(path)
    ledger.rows()
    ledger.record(replace(ENTRY, turn_id="after"))
    kept = len(ledger.rows()) - 1
    assert ledger.notes
    assert 100 < kept < 200


def test_labels_of_a_damaged_file_are_carried_over_too(crashed, tmp_path):
    path = tmp_path / "copy" / "ledger.sqlite"
    torn(crashed, path, "-wal", random.Random(1))
    path.with_name("ledger.sqlite-wal").unlink()
    labels = [
        Label("2026-11-18T12:00:00+00:00", f"t{n}", f"Why {n}?", "m", "good", 1.0)
        for n in range(20)
    ]
    book = Labels(path)
    book.put(*labels)
    book.file.use(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall(), verb="read")
    book.file.close()
    lose_a_page_of_calls(path)
    ledger = Ledger(path)
    ledger.rows()
    ledger.record(ENTRY)
    assert ledger.notes
    assert Labels(path).all() == labels
