"""Notebooks on a timetable: what a run leaves behind, and what systemd and cron are told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import nbformat
import pytest

from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context
from aiki_kernel.errors import UsageError


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
    assert [path.name for path in output.parent.iterdir()] == [Path(last.data["output"]).name]


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
    _run("install", "welcome", "name=50%", "--cron", "--at", "*/5 6-8 * * 1,2")
    _run("install", "welcome", "name=60%", "--cron", "--at", "weekly")
    mine, other, ours = table.read_text().splitlines()
    assert (mine, other) == ("# mine", "@daily echo hello")
    assert ours.startswith("@weekly AIKI_HOME=")
    assert "name=60\\%" in ours
    (row,) = _run().data["notebooks"]
    assert (row["by"], row["at"]) == ("cron", "weekly")
    _run("remove", "welcome")
    assert table.read_text().splitlines() == ["# mine", "@daily echo hello"]
