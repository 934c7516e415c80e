"""The history: what is kept for how long, and what a crash or a wrong clock does to it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from health_files import rows

from aiki_kernel.health.history import COARSE_S, MOST, RAW_S, History, prune, series
from aiki_kernel.health.reading import Reading
from aiki_kernel.health.sampler import Sample

T0 = 1_800_000_000.0  # a whole number of five minutes


def sample(at: float, value: float | None = 1.0, state: str = "ok") -> Sample:
    return Sample(at, at, (Reading(state, "", value, probe="disk", title="Disk"),), 0.1)


def test_five_minutes_are_summed_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    history = History(path)
    for number, (value, state) in enumerate(
        [(4.0, "ok"), (2.0, "degraded"), (None, "unknown"), (9.0, "down"), (5.0, "ok")]
    ):
        history.add(sample(T0 + 60 * number, value, state))
    history.add(sample(T0 + 300, 7.0))
    history.close()
    assert rows(
        path, ("SELECT at - 1800000000, count, bad, worst, figures, total, low, high FROM coarse")
    ) == [
        (0.0, 5, 2, 2, 4, 20.0, 2.0, 9.0),
        (300.0, 1, 0, 0, 1, 7.0, 7.0, 7.0),
    ]
    points = series(path, "disk", T0)
    assert [p.value for p in points] == [4.0, 2.0, None, 9.0, 5.0, 7.0]
    assert [p.state for p in points][1:4] == ["degraded", "unknown", "down"]
    assert series(path, "nothing", 0.0) == series(tmp_path / "none", "disk", 0.0) == []


def test_old_samples_go_and_what_is_older_than_them_is_read_from_the_sums(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    history = History(path)
    now = T0 + 40 * 86_400
    for age in (40 * 86_400, 20 * 86_400, 3 * 86_400, 3600, 0):
        history.add(sample(now - age))
    with sqlite3.connect(path) as db:
        prune(db, now, 4000.0)
    assert [p.at for p in series(path, "disk", 0.0)] == [
        now - 20 * 86_400, now - 3 * 86_400, now - 3600, now,
    ]  # fmt: skip
    (raw,) = rows(path, f"SELECT count(*) FROM raw WHERE at < {now - RAW_S}")[0]
    (coarse,) = rows(path, f"SELECT count(*) FROM coarse WHERE at < {now - COARSE_S}")[0]
    assert (raw, coarse) == (0, 0)
    history.close()


def test_a_clock_ten_years_ahead_throws_nothing_away(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    history = History(path)
    history.add(sample(T0))
    ahead = T0 + 10 * 365 * 86_400
    history.add(sample(ahead))
    with sqlite3.connect(path) as db:
        prune(db, ahead, 60.0)  # it has jumped a minute ago
    assert len(series(path, "disk", 0.0)) == 2
    with sqlite3.connect(path) as db:
        prune(db, T0 + 7200, 7200.0)  # it is right again, for two hours
    assert [p.at for p in series(path, "disk", 0.0)] == [T0]
    history.close()


def test_the_size_is_bounded_whatever_the_interval(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    history = History(path)
    history.add(sample(T0))
    with sqlite3.connect(path) as db:
        db.executemany(
            "INSERT INTO raw VALUES (1, ?, 0, 1.0)",
            ((T0 + number / 1000,) for number in range(1, MOST + 10)),
        )
        prune(db, T0, 0.0)
        (count,) = db.execute("SELECT count(*) FROM raw").fetchone()
        (newest,) = db.execute("SELECT max(at) FROM raw").fetchone()
    assert count <= MOST
    assert newest == T0 + (MOST + 9) / 1000
    history.close()
    assert path.stat().st_size < 30e6


def test_a_damaged_file_is_put_aside_and_told(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    history = History(path)
    history.add(sample(T0))
    (note,) = history.notes
    assert "damaged" in note
    assert len(list(tmp_path.glob("h.sqlite.damaged-*"))) == 1
    assert len(series(path, "disk", 0.0)) == 1
    history.close()


def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(sqlite3.Error, match="newer"):
        History(path).add(sample(T0))


@pytest.mark.slow
def test_killed_while_it_writes_it_is_whole_and_loses_no_sample_that_was_done(
    tmp_path: Path,
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from aiki_kernel.health.history import History\n"
        "from aiki_kernel.health.reading import Reading\n"
        "from aiki_kernel.health.sampler import Sample\n"
        "h = History(Path(sys.argv[1])); n = int(sys.argv[2])\n"
        "while True:\n"
        "    n += 1\n"
        "    r = tuple(Reading('ok', '', 1.0, probe=f'p{i}') for i in range(20))\n"
        "    h.add(Sample(1.8e9 + n, n, r, 0.1)); print(n, flush=True)\n"
    )
    path, last = tmp_path / "h.sqlite", 0
    for lines in (1, 7, 30, 90):
        words = [sys.executable, "-c", code, str(path), str(last)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(lines):
            last = int(child.stdout.readline())
        child.kill()
        rest = child.communicate()[0].split()
        last = max([last, *(int(word) for word in rest)])
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        counts = {n for (n,) in db.execute("SELECT count(*) FROM raw GROUP BY at")}
        assert counts == {20}  # every sample whole
        assert db.execute("SELECT max(at) FROM raw").fetchone()[0] >= 1.8e9 + last
