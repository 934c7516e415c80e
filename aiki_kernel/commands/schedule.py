"""``aiki schedule``: notebooks that run by themselves, by systemd or cron.

A run is papermill's: the notebook as it is, with its parameters, into a file of the run's
own. The file says how it went: ``.running.ipynb`` while it grows, ``.failed.ipynb`` when a
cell failed, and then the exit status is papermill's too, which is what a scheduler sees.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.deployment import timers
from aiki_kernel.commands.deployment.place import Place
from aiki_kernel.commands.deployment.systemd import folder
from aiki_kernel.commands.notebooks import packaged
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.systemctl import call, enable, program, take_away, write_all
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import UsageError

_BY_HAND = "--cron makes a line of your crontab instead."
_RUNNING, _FAILED = ".running.ipynb", ".failed.ipynb"


def _names(context: Context, prefix: str) -> Iterable[str]:
    return packaged()


NotebookName = Annotated[
    str,
    Arg("a notebook of ours by name, or a file", metavar="NOTEBOOK", complete=_names),
]
At = Annotated[
    str,
    Arg("hourly, daily, weekly, monthly, or a time as systemd (with --cron: cron) writes it"),
]
Keep = Annotated[int, Arg("how many outputs are kept; older ones go")]
Values = Annotated[
    tuple[str, ...], Arg("parameters of the notebook", metavar="NAME=VALUE", rest=True)
]
Cron = Annotated[bool, Arg("by cron instead of systemd")]


@command("schedule", faces=("cli",))
def schedule(context: Context) -> Result:
    """Show which notebooks run by themselves, and how their last runs went."""
    planned = {name: ("systemd", at) for name, at in timers.installed(folder()).items()}
    planned |= {name: ("cron", at) for name, at in _in_crontab().items()}
    rows: list[dict[str, Any]] = []
    for name in sorted({*planned, *_with_runs(context)}):
        by, at = planned.get(name, ("", ""))
        runs = _runs(context, name)
        last = runs[-1] if runs else None
        rows.append(
            {
                "notebook": name,
                "by": by,
                "at": at,
                "runs": len(runs),
                "last": last and str(last),
                "outcome": _outcome(last) if last else "",
            }
        )
    if not rows:
        return Result(
            {"notebooks": []},
            "No notebook runs by itself: `aiki schedule install health` begins with one.",
        )
    table = Table(
        ["notebook", "by", "when", Column("runs", right=True), "last", Column("output")],
        [[r["notebook"], r["by"], r["at"], r["runs"], r["outcome"], r["last"]] for r in rows],
    )
    return Result({"notebooks": rows}, table.text(context))


@command("schedule run", faces=("cli",))
def run(
    context: Context,
    notebook: NotebookName,
    values: Values = (),
    keep: Keep = 30,
    timeout: Annotated[float, Arg("seconds that all of it may take; 0 has no limit")] = 0.0,
) -> Result:
    """Run a notebook once, now. Exit status 1 when a cell failed."""
    source, parameters = _found(notebook), _parameters(values)
    home = _home(context, source.stem)
    home.mkdir(parents=True, exist_ok=True)
    began = datetime.now().astimezone()
    growing = home / f"{source.stem}-{began:%Y-%m-%dT%H-%M-%S}{_RUNNING}"
    shutil.copyfile(source, growing)  # whoever is stopped before the first cell leaves this
    words = [sys.executable, "-m", "papermill", "--no-progress-bar", str(source), str(growing)]
    for name, value in parameters.items():
        words += ["-p", name, value]
    try:
        # Its log goes to stderr: stdout is for our one line, or JSON.
        status = subprocess.run(
            words, stdout=sys.stderr, cwd=home, check=False, timeout=timeout or None
        ).returncode
    except subprocess.TimeoutExpired:
        print(f"Stopped after {timeout:.0f} s.", file=sys.stderr)  # noqa: T201
        status = 1
    ending = _FAILED if status else ".ipynb"
    output = growing.with_name(growing.name.replace(_RUNNING, ending))
    if growing.exists():
        growing.replace(output)
    removed = _keep(context, source.stem, keep)
    seconds = (datetime.now().astimezone() - began).total_seconds()
    data = {
        "notebook": str(source),
        "output": str(output) if output.exists() else None,
        "failed": bool(status),
        "seconds": round(seconds, 1),
        "removed": [str(path) for path in removed],
    }
    how = "failed" if status else "ran"
    return Result(data, f"{source.stem} {how} in {seconds:.1f} s: {output}", status=bool(status))


@command("schedule show", faces=("cli",))
def show(
    context: Context,
    notebook: NotebookName,
    values: Values = (),
    at: At = "daily",
    keep: Keep = 30,
    cron: Cron = False,
) -> Result:
    """Print what `install` would install: a service and its timer, or a line for cron."""
    planned = _planned(notebook, values, at, keep, cron)
    place = Place.here(context.paths)
    if cron:
        line = timers.cron_line(place, planned)
        return Result({"crontab": line}, line)
    made = timers.units(place, planned)
    text = "\n".join(f"# --- {one.name}\n{one.text}" for one in made).rstrip("\n")
    return Result({"files": {one.name: one.text for one in made}}, text)


@command("schedule install", faces=("cli",))
def install(
    context: Context,
    notebook: NotebookName,
    values: Values = (),
    at: At = "daily",
    keep: Keep = 30,
    cron: Cron = False,
) -> Result:
    """Run a notebook at its times from now on; a timetable that it has is replaced."""
    planned = _planned(notebook, values, at, keep, cron)
    place = Place.here(context.paths)
    if cron:
        lines = [line for line in _crontab() if not line.endswith(planned.mark)]
        _write_crontab([*lines, timers.cron_line(place, planned)])
        data: dict[str, Any] = {"notebook": planned.name, "by": "cron", "at": at, "written": []}
    else:
        systemctl = program(_BY_HAND)
        written = write_all(timers.units(place, planned), folder(), force=True)
        enable(systemctl, [f"{planned.stem}.timer"])
        paths = [str(path) for path in written]
        data = {"notebook": planned.name, "by": "systemd", "at": at, "written": paths}
    where = _home(context, planned.name)
    return Result(data, f"{planned.name} runs {at}, by {data['by']}; its outputs go to {where}.")


@command("schedule remove", faces=("cli",))
def remove(
    context: Context,
    notebook: Annotated[str, Arg("its name", metavar="NOTEBOOK", complete=_names)],
) -> Result:
    """Take a notebook from the timetable; the outputs of its runs stay."""
    name = Path(notebook).stem
    gone = []
    units = sorted(folder().glob(f"aiki-notebook-{name}.*"))
    if units:
        take_away(program(_BY_HAND), units, [f"aiki-notebook-{name}.timer"])
        gone.append("systemd")
    if name in _in_crontab():
        mark = f"# aiki-notebook-{name}"
        _write_crontab([line for line in _crontab() if not line.endswith(mark)])
        gone.append("cron")
    if not gone:
        raise UsageError(f"No timetable has {name!r}: `aiki schedule` shows those that are there.")
    return Result({"notebook": name, "removed": gone}, f"{name} no longer runs by itself.")


def _planned(notebook: str, values: tuple[str, ...], at: str, keep: int, cron: bool) -> timers.Run:
    source = _found(notebook)
    _parameters(values)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", source.stem):
        raise UsageError(
            f"{source.name!r} cannot be the name of a unit: use letters, digits, '-', '_' and '.'."
        )
    ours = packaged().get(source.stem) == source
    name = source.stem if ours else str(source)
    words = ("schedule", "run", f"--keep={keep}", name, *values)
    return timers.Run(source.stem, words, timers.checked(at, cron=cron))


def _found(notebook: str) -> Path:
    known = packaged()
    if notebook in known:
        return known[notebook]
    path = Path(notebook).expanduser().absolute()
    if path.suffix == ".ipynb" and path.is_file():
        return path
    names = ", ".join(known)
    raise UsageError(f"There is no notebook {notebook!r}: ours are {names}; or name a file.")


def _parameters(values: tuple[str, ...] | str) -> dict[str, str]:
    found = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not name.isidentifier():
            raise UsageError(f"{value!r} is no parameter: write NAME=VALUE.")
        found[name] = text
    return found


def _home(context: Context, name: str) -> Path:
    return context.paths.home / "runs" / name


def _with_runs(context: Context) -> list[str]:
    home = context.paths.home / "runs"
    return sorted(path.name for path in home.iterdir()) if home.is_dir() else []


def _runs(context: Context, name: str) -> list[Path]:
    """Outputs of a notebook, oldest first."""
    return sorted(_home(context, name).glob("*.ipynb"))


def _outcome(output: Path) -> str:
    if output.name.endswith(_RUNNING):
        return "runs, or was cut"
    return "failed" if output.name.endswith(_FAILED) else "went well"


def _keep(context: Context, name: str, keep: int) -> list[Path]:
    """Remove the oldest outputs beyond ``keep``; one at least stays."""
    removed = _runs(context, name)[: -max(1, keep)]
    for path in removed:
        path.unlink(missing_ok=True)
    return removed


def _crontab() -> list[str]:
    """The lines of this user's crontab; none where there is no cron."""
    if shutil.which("crontab") is None:
        return []
    done = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []  # 1: there is none yet


def _write_crontab(lines: list[str]) -> None:
    if shutil.which("crontab") is None:
        raise UsageError("There is no crontab here: leave out --cron for systemd.")
    call(["crontab", "-"], "".join(f"{line}\n" for line in lines))


def _in_crontab() -> dict[str, str]:
    found = {}
    for line in _crontab():
        parts = re.fullmatch(r"(@\w+|\S+(?: \S+){4}) AIKI_HOME=.* # aiki-notebook-(\S+)", line)
        if parts:
            found[parts[2]] = parts[1].removeprefix("@")
    return found
