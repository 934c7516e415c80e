"""The audit log: an unbroken chain while many write, and every break found and named."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki_kernel.safety.audit import AuditLog
from aiki_kernel.safety.audit_chain import files


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    made = AuditLog(tmp_path / "audit.jsonl")
    for number in range(10):
        made.record("memory.write", ids=[f"m{number}"], count=1)
    return made


def kept(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_lines_follow_from_each_other_and_say_what_happened(log):
    verdict = log.verify()
    assert not verdict.faults
    assert verdict.lines == 10
    newest = log.recent(2)
    assert [line["facts"]["ids"] for line in newest] == [["m9"], ["m8"]]
    assert newest[0]["prev"] == newest[1]["sha256"]
    assert log.path.stat().st_mode & 0o777 == 0o600


def remove(lines: list[bytes]) -> int:
    del lines[4]
    return 5


def reorder(lines: list[bytes]) -> int:
    lines[4], lines[5] = lines[5], lines[4]
    return 5


def change(lines: list[bytes]) -> int:
    lines[4] = lines[4].replace(b'"m4"', b'"m7"')
    return 5


def respace(lines: list[bytes]) -> int:
    lines[4] = lines[4].replace(b'":', b'": ', 1)
    return 5


def cut_the_tail(lines: list[bytes]) -> int:
    del lines[7:]
    return 7


def cut_it_all(lines: list[bytes]) -> int:
    lines.clear()
    return 0


def repeat(lines: list[bytes]) -> int:
    lines.insert(4, lines[3])
    return 5


def half_of_the_last(lines: list[bytes]) -> int:
    lines[-1] = lines[-1][:40]
    return 10


def first_gone(lines: list[bytes]) -> int:
    del lines[0]
    return 1


TAMPERINGS = [
    remove,
    reorder,
    change,
    respace,
    cut_the_tail,
    cut_it_all,
    repeat,
    half_of_the_last,
    first_gone,
]


@pytest.mark.parametrize("tamper", TAMPERINGS)
@pytest.mark.parametrize("then_written", [False, True], ids=["at once", "after more lines"])
def test_a_line_removed_reordered_or_changed_is_found_and_named(log, tamper, then_written):
    lines = kept(log.path)
    number = tamper(lines)
    log.path.write_bytes(b"".join(lines))
    if then_written:
        log.record("memory.write", ids=["later"])
        AuditLog(log.path).record("memory.write", ids=["later still"])
    verdict = log.verify()
    assert verdict.faults, tamper.__name__
    if not then_written or number not in (0, 7, 10):
        assert verdict.faults[0].line == number
    else:
        assert verdict.faults[0].line in (number, number + 1)


def test_changed_and_resealed_by_somebody_who_knows_the_format(log):
    from aiki_kernel.safety.audit_chain import seal

    lines = kept(log.path)
    body = json.loads(lines[4])
    del body["sha256"]
    body["facts"]["ids"] = ["forged"]
    lines[4], _ = seal(body)
    log.path.write_bytes(b"".join(lines))
    [fault] = log.verify().faults
    assert fault.line == 6


def test_a_head_noted_elsewhere_finds_a_log_that_was_written_anew(log, tmp_path):
    head = log.verify().head
    log.record("config.change", set=["model"])
    assert not log.verify(expect=head).faults
    for file in (log.path, log.path.with_suffix(".head")):
        file.unlink()
    log.record("memory.write", ids=["m"])
    assert not log.verify().faults
    assert log.verify(expect=head).faults


def test_a_missing_head_is_a_fault_and_stays_one(log):
    log.path.with_suffix(".head").unlink()
    assert "audit.head" in log.verify().faults[0].problem
    log.record("memory.write", ids=["later"])
    [fault] = log.verify().faults
    assert (fault.line, "audit.head" in fault.problem) == (11, True)


def test_half_a_line_after_a_kill_is_taken_out_and_told(log):
    whole = kept(log.path)
    with log.path.open("ab") as file:
        file.write(whole[-1][:50])
    assert not log.verify().faults
    assert log.verify().notes
    log.record("memory.write", ids=["later"])
    verdict = log.verify()
    assert not verdict.faults
    assert "half a line" in verdict.notes[0]
    recovered = log.recent(event="audit.recovered")[0]["facts"]
    assert recovered["half"] == whole[-1][:50].decode()
    assert kept(log.path)[:10] == whole


def test_a_line_whose_writer_was_killed_before_the_head_counts(log):
    head = log.path.with_suffix(".head")
    before = head.read_bytes()
    log.record("memory.write", ids=["m10"])
    head.write_bytes(before)
    AuditLog(log.path).record("memory.write", ids=["m11"])
    verdict = log.verify()
    assert (verdict.lines, verdict.faults) == (12, ())


def _append(path: Path, name: int, count: int, largest: int) -> None:
    log = AuditLog(path, largest=largest)
    for number in range(count):
        log.record("memory.write", ids=[f"{name}-{number}"])


def test_many_processes_append_one_chain(tmp_path):
    path = tmp_path / "audit.jsonl"
    parent = AuditLog(path)
    parent.record("daemon.start")  # its files are open when the others fork
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_append, args=(path, name, 200, 1 << 30)) for name in range(4)
    ]
    for worker in workers:
        worker.start()
    for number in range(100):
        parent.record("memory.write", ids=[f"parent-{number}"])
    for worker in workers:
        worker.join()
    verdict = parent.verify()
    assert (verdict.lines, verdict.faults) == (901, ())
    ids = [i for line in parent.recent(10_000, event="memory") for i in line["facts"]["ids"]]
    assert len(set(ids)) == 900


def test_rotation_keeps_the_chain_and_what_was_dropped_is_known(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", largest=2000, kept=3)
    for number in range(100):
        log.record("memory.write", ids=[f"m{number}"])
    assert len(files(log.path)) == 4
    assert not log.verify().faults
    oldest = files(log.path)[0]
    text = oldest.read_bytes()
    oldest.unlink()
    assert "removed" in log.verify().faults[0].problem
    oldest.write_bytes(text)
    assert not log.verify().faults
    middle = files(log.path)[1]
    middle.write_bytes(middle.read_bytes().replace(b"memory.write", b"memory.erase", 1))
    assert log.verify().faults[0].file == middle.name


KILLED = """
import sys
from pathlib import Path
from aiki_kernel.safety.audit import AuditLog
log = AuditLog(Path(sys.argv[1]), largest=20_000, kept=1000)
number = 0
while True:
    log.record("memory.write", ids=[f"{sys.argv[2]}-{number}"])
    number += 1
    print(number, flush=True)
"""


def test_nothing_that_was_acknowledged_is_missing_after_kills(tmp_path):
    path = tmp_path / "audit.jsonl"
    acknowledged = 0
    chance = random.Random(6)
    for life in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(life)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        acknowledged += 1 + len(process.stdout.read().split())
        process.wait()
        process.stdout.close()
    log = AuditLog(path)
    log.record("daemon.start")
    verdict = log.verify()
    assert not verdict.faults
    assert acknowledged < verdict.lines <= acknowledged + 8 * 2 + 1


@pytest.mark.parametrize("torn", [False, True])
def test_a_writer_killed_just_after_it_began_a_file_breaks_no_chain(tmp_path, torn):
    log = AuditLog(tmp_path / "audit.jsonl", largest=600)
    while not log.path.exists() or log.path.stat().st_size < 600:
        log.record("memory.write", ids=["a"])
    before = log._head_path.read_bytes()
    log.record("memory.write", ids=["b"])  # in a new file
    log.close()
    log._head_path.write_bytes(before)  # but the head was not written any more
    if torn:
        log.path.write_bytes(log.path.read_bytes()[:40])
    again = AuditLog(log.path, largest=600)
    again.record("memory.write", ids=["c"])
    verdict = again.verify()
    assert not verdict.faults
    seen = [line["facts"].get("ids") for line in again.recent(2)]
    assert seen[0] == ["c"]
    assert seen[1] == (None if torn else ["b"])


def test_texts_and_keys_never_stand_in_it(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    key = "sk-proj-" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9"
    log.record("permission.refused", persona="trisha", query="hvor bor Kari Nordmann?", key=key)
    text = log.path.read_text()
    assert "trisha" in text
    for secret in ("Kari", key, "hvor"):
        assert secret not in text
    assert not log.verify().faults


@settings(max_examples=60, deadline=None)
@given(
    facts=st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_whatever_the_facts_the_line_reads_back(tmp_path_factory, facts):
    log = AuditLog(tmp_path_factory.mktemp("log") / "audit.jsonl")
    log.record("memory.write", **{f"f{n}": value for n, value in enumerate(facts.values())})
    assert not log.verify().faults
    assert log.verify().lines == 1


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_that_cannot_be_written_stops_nothing_and_is_told(tmp_path, caplog):
    home = tmp_path / "home"
    log = AuditLog(home / "audit.jsonl")
    log.record("daemon.start")
    log.close()
    home.rename(tmp_path / "away")
    home.write_text("a file where the folder was")
    log.record("memory.write", ids=["m1"])
    log.record("memory.write", ids=["m2"])
    assert log.missed == 2
    assert "cannot be written" in log.error
    home.unlink()
    (tmp_path / "away").rename(home)
    log.record("memory.write", ids=["m3"])
    assert log.error == ""
    assert [line["event"] for line in reversed(log.recent())] == [
        "daemon.start",
        "audit.missed",
        "memory.write",
    ]
    assert not log.verify().faults


def test_what_was_synced_and_is_gone_was_not_lost_in_a_power_cut(log):
    log.sync()
    log.record("memory.write", ids=["after"])
    lines = kept(log.path)
    log.path.write_bytes(b"".join(lines[:10]))
    assert "power cut" in log.verify().faults[0].problem
    log.path.write_bytes(b"".join(lines[:9]))
    assert "power cut" not in log.verify().faults[0].problem
