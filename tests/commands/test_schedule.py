"""Notebooks on a timetable: what a run leaves behind, and what systemd and cron are told."""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import nbformat
import pytest

from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context
from aiki_kernel.commands.notebook_runs import Runs
from aiki_kernel.errors import AikiError, UsageError


def _run(*words: str) -> registry.Result:
    context = Context("cli")
    try:
        return registry.run(["schedule", *words], context)
    finally:
        context.close()


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """One that divides 12 by its parameter, on the plain Python kernel."""
    made = nbformat.v4.new_notebook()
    made.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python"}
    first = nbformat.v4.new_code_cell("by = 3")
    first.metadata.tags = ["parameters"]
    made.cells = [first, nbformat.v4.new_code_cell("print('result', 12 / int(by))")]
    path = tmp_path / "division.ipynb"
    nbformat.write(made, path)
    return path


def _inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.ipynb"))


@pytest.mark.slow
def test_a_run_keeps_its_output_and_passes_failure_on(aiki_home: Path, notebook: Path) -> None:
    well = _run("run", str(notebook), "by=4")
    assert (well.status, well.data["failed"]) == (0, False)
    output = Path(well.data["output"])
    assert output.parent == aiki_home / "runs" / "division"
    assert "result 3.0" in output.read_text("utf-8")

    failed = _run("run", str(notebook), "by=0", "--keep", "2")
    assert (failed.status, failed.data["failed"]) == (1, True)
    assert failed.data["output"].endswith(".failed.ipynb")
    assert "ZeroDivisionError" in Path(failed.data["output"]).read_text("utf-8")
    (row,) = _run().data["notebooks"]
    assert (row["notebook"], row["runs"], row["outcome"]) == ("division", 2, "failed")

    last = _run("run", str(notebook), "--keep", "1")
    assert sorted(Path(path).name for path in last.data["removed"]) == sorted(
        Path(one.data["output"]).name for one in (well, failed)
    )
    assert _inside(output.parent) == [Path(last.data["output"]).name]


@pytest.mark.slow
def test_a_notebook_anywhere_runs_where_it_lies(
    aiki_home: Path, notebook: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "Mine notater på 50%" / "Blåbær på fjellet.ipynb"
    there.parent.mkdir()
    made = nbformat.read(notebook, as_version=4)
    made.cells[1].source = "print(open('tall.txt').read(), by)"
    nbformat.write(made, there)
    (there.parent / "tall.txt").write_text("fjorten", "utf-8")
    well = _run("run", str(there), "by=æ ø å", "--quiet")
    assert (well.status, well.text) == (0, "")
    assert capfd.readouterr() == ("", "")
    output = Path(well.data["output"])
    assert output.name.startswith("Blaabaer-paa-fjellet-20")
    assert "fjorten æ ø å" in output.read_text("utf-8")

    (there.parent / "tall.txt").unlink()
    failed = _run("run", str(there), "--quiet")
    assert failed.status == 1
    assert "FileNotFoundError" in capfd.readouterr().err

    other = there.with_name("elsewhere") / there.name
    other.parent.mkdir()
    other.write_bytes(there.read_bytes())
    with pytest.raises(UsageError, match=r"another notebook .*--name"):
        _run("run", str(other))
    with pytest.raises(UsageError, match=r"the name of another notebook .health."):
        _run("run", str(notebook), "--name", "health")
    assert len(_inside(output.parent)) == 2


def test_outputs_are_in_the_order_of_their_runs_in_the_hour_that_comes_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Oslo")
    time.tzset()
    try:
        runs = Runs(tmp_path / "health")
        runs.folder.mkdir()
        before, first, second, same, after = ordered = [
            f"health-2026-10-25T{rest}"
            for rest in (
                "00-10-00.ipynb",  # as they were once named: local time without a zone
                "02-30-00+0200.ipynb",
                "02-10-00+0100.failed.ipynb",
                "02-10-00+0100-2.ipynb",
                "03-00-00+0100.running.ipynb",
            )
        ]
        for name in (*reversed(ordered), "mine.ipynb"):
            (runs.folder / name).touch()
        assert [path.name for path in runs.outputs()] == ordered
        assert runs.outcome(runs.folder / after) == "was cut"
        assert runs.outcome(runs.folder / second) == "failed"
        assert [path.name for path in runs.keep(2)] == [before, first, second]
        assert _inside(runs.folder) == sorted([same, after, "mine.ipynb"])
        twice = datetime(2026, 10, 25, 2, 10, tzinfo=timezone(timedelta(hours=1)))
        assert runs._fresh(twice).name == "health-2026-10-25T02-10-00+0100.running.ipynb"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_run_that_cannot_begin_says_why(
    aiki_home: Path, notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = subprocess.run(
        [
            "bash",
            "-c",
            'ulimit -f 0; "$0" -m aiki_kernel.cli schedule run "$1"',
            sys.executable,
            notebook,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert full.returncode == 1
    assert "cannot be written (File too large): make room there" in full.stderr
    assert full.stderr.count("\n") == 1

    folder = aiki_home / "runs" / "division"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AikiError, match="division is running already"):
            _run("run", str(notebook))
        (folder / "division-2026-10-25T02-30-00+0200.running.ipynb").touch()
        assert _run().data["notebooks"][0]["outcome"] == "runs"

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for word in ("run", "show"):
        with pytest.raises(AikiError, match=r"papermill is missing.*pip install"):
            _run(word, str(notebook))


@pytest.mark.slow
def test_a_run_that_takes_too_long_is_stopped_and_kept(aiki_home: Path, notebook: Path) -> None:
    made = nbformat.read(notebook, as_version=4)
    made.cells.append(nbformat.v4.new_code_cell("import time; time.sleep(600)"))
    nbformat.write(made, notebook)
    stopped = _run("run", str(notebook), "--timeout", "5")
    assert stopped.status == 1
    assert stopped.data["output"].endswith(".failed.ipynb")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run", "nothing"], "no notebook 'nothing'"),
        (["run", "welcome", "name"], "NAME=VALUE"),
        (["show", "welcome", "--at", "whenever"], "systemd does not take"),
        (["show", "welcome", "--at", "whenever", "--cron"], "cron does not take"),
        (["show", "welcome", "--at", "0 0 * * *\n* * * * * rm", "--cron"], "cron does not take"),
        (["show", "welcome", "--at", "61 0 * * *", "--cron"], "cron does not take"),
        (["show", "welcome", "--at", "0 0 * * fri-mon", "--cron"], "cron does not take"),
        (["show", "welcome", "name=a\n* * * * * rm", "--cron"], "cannot hold line breaks"),
        (["show", "welcome", "--name", "///"], "cannot be the name of a unit"),
        (["remove", "welcome"], "No timetable has"),
    ],
)
@pytest.mark.usefixtures("aiki_home", "manager")
def test_what_cannot_be_done_is_one_line(words: list[str], line: str) -> None:
    with pytest.raises(UsageError, match=line) as refused:
        _run(*words)
    assert "\n" not in str(refused.value)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user manager that takes notes, and a crontab in a file: never those of this machine."""
    programs, table = tmp_path / "bin", tmp_path / "crontab"
    programs.mkdir()
    scripts = {
        "systemctl": f'echo "$@" >> {tmp_path}/calls',
        "crontab": f'if [ "$1" = -l ]; then cat {table}; else cat > {table}; fi',
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.mark.usefixtures("aiki_home")
def test_systemd_is_told_and_forgets_again(manager: Path) -> None:
    units = manager / "config" / "systemd" / "user"
    _run("install", "welcome", "name=A B", "--at", "Mon..Fri 07:30")
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--user", "aiki-notebook-welcome.timer"],
        cwd=units,
        env=os.environ | {"XDG_RUNTIME_DIR": str(manager)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    assert 'welcome "name=A B"' in (units / "aiki-notebook-welcome.service").read_text()
    (row,) = _run().data["notebooks"]
    assert (row["by"], row["at"]) == ("systemd", "Mon..Fri 07:30")
    _run("install", "welcome")  # another time replaces it
    (row,) = _run().data["notebooks"]
    assert row["at"] == "daily"
    _run("remove", "welcome")
    assert list(units.iterdir()) == []
    assert (manager / "calls").read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable --now aiki-notebook-welcome.timer",
        "--user daemon-reload",
        "--user enable --now aiki-notebook-welcome.timer",
        "--user disable --now aiki-notebook-welcome.timer",
        "--user daemon-reload",
    ]


@pytest.mark.usefixtures("aiki_home")
def test_cron_keeps_its_other_lines(manager: Path) -> None:
    table = manager / "crontab"
    table.write_text("# mine\n@daily echo hello\n")
    _run("install", "welcome", "name=50%", "--cron", "--at", "*/5 6-8 * jan mon-fri")
    _run("install", "welcome", "name=60%", "--cron", "--at", "weekly")
    mine, other, ours = table.read_text().splitlines()
    assert (mine, other) == ("# mine", "@daily echo hello")
    assert ours.startswith("@weekly AIKI_HOME=")
    assert "name=60\\%" in ours
    (row,) = _run().data["notebooks"]
    assert (row["by"], row["at"]) == ("cron", "weekly")
    _run("remove", "welcome")
    assert table.read_text().splitlines() == ["# mine", "@daily echo hello"]

    # Two timetables of one notebook; a crontab that cannot be read is left alone.
    _run("install", "welcome", "name=Kari", "--cron", "--name", "north")
    _run("install", "welcome", "name=Åse", "--cron", "--name", "south")
    assert [row["notebook"] for row in _run().data["notebooks"]] == ["north", "south"]
    before = table.read_bytes()
    program = manager / "bin" / "crontab"
    program.write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then echo no >&2; exit 1; fi\n: > {table}\n')
    with pytest.raises(AikiError, match=r"was refused .no."):
        _run("remove", "north")
    assert table.read_bytes() == before


def test_without_the_script_it_is_the_module_that_is_called(
    aiki_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("PATH", "")
    line = _run("show", "welcome", "--cron").data["crontab"]
    assert f"{sys.executable} -m aiki_kernel.cli schedule run" in line
    done = subprocess.run([*shlex.split(line)[2:5], "--help"], capture_output=True, check=False)
    assert (done.returncode, done.stdout[:5]) == (0, b"usage")
