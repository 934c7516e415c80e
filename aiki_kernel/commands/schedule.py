"""``aiki schedule``: notebooks that run by themselves, by systemd or cron.

Exit status 1 of a run is a cell that failed: that is what a scheduler sees.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from aiki_kernel.commands import crontab
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.deployment import timers
from aiki_kernel.commands.deployment.place import Place
from aiki_kernel.commands.deployment.systemd import folder
from aiki_kernel.commands.notebook_runs import Runs, unit_name
from aiki_kernel.commands.notebooks import packaged
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.systemctl import enable, program, take_away, write_all
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import AikiError, UsageError

_BY_HAND = "--cron makes a line of your crontab instead."


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
Name = Annotated[str, Arg("another name for its timetable and the folder of its outputs")]


@command("schedule", faces=("cli",))
def schedule(context: Context) -> Result:
    """Show which notebooks run by themselves, and how their last runs went."""
    planned = {name: ("systemd", at) for name, at in timers.installed(folder()).items()}
    planned |= {name: ("cron", at) for name, at in crontab.planned().items()}
    rows: list[dict[str, Any]] = []
    for name in sorted({*planned, *_with_runs(context)}):
        by, at = planned.get(name, ("", ""))
        runs = Runs(_home(context, name))
        outputs = runs.outputs()
        last = outputs[-1] if outputs else None
        rows.append(
            {
                "notebook": name,
                "by": by,
                "at": at,
                "runs": len(outputs),
                "last": last and str(last),
                "outcome": runs.outcome(last) if last else "",
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
    name: Name = "",
    quiet: Annotated[bool, Arg("say nothing of a run that went well (cron would mail it)")] = False,
) -> Result:
    """Run a notebook once, now, in its own folder. Exit status 1 when a cell failed."""
    source, parameters = _found(notebook), _parameters(values)
    runs = Runs(_home(context, unit_name(name or source.stem)))
    runs.claim(source)
    began = time.monotonic()
    inside = runs.folder if _ours(source) else source.parent
    output, status = runs.run(source, parameters, inside=inside, timeout_s=timeout, quiet=quiet)
    removed = runs.keep(keep)
    seconds = time.monotonic() - began
    data = {
        "notebook": str(source),
        "output": str(output) if output.exists() else None,
        "failed": bool(status),
        "seconds": round(seconds, 1),
        "removed": [str(path) for path in removed],
    }
    text = f"{runs.name} {'failed' if status else 'ran'} in {seconds:.1f} s: {output}"
    return Result(data, "" if quiet and not status else text, status=bool(status))


@command("schedule show", faces=("cli",))
def show(
    context: Context,
    notebook: NotebookName,
    values: Values = (),
    at: At = "daily",
    keep: Keep = 30,
    cron: Cron = False,
    name: Name = "",
) -> Result:
    """Print what `install` would install: a service and its timer, or a line for cron."""
    planned = _planned(notebook, values, at, keep, cron, name)
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
    name: Name = "",
) -> Result:
    """Run a notebook at its times from now on; a timetable that it has is replaced."""
    planned = _planned(notebook, values, at, keep, cron, name)
    place = Place.here(context.paths)
    runs = Runs(_home(context, planned.name))
    runs.claim(_found(notebook))
    written: list[str] = []
    if cron:
        crontab.replace(planned.mark, timers.cron_line(place, planned))
    else:
        systemctl = program(_BY_HAND)
        units = write_all(timers.units(place, planned), folder(), force=True)
        enable(systemctl, [f"{planned.stem}.timer"])
        written = [str(path) for path in units]
    by = "cron" if cron else "systemd"
    data = {"notebook": planned.name, "by": by, "at": at, "written": written}
    text = f"{planned.name} runs {at}, by {by}; its outputs go to {runs.folder}."
    if not cron and not _lingers():
        text += " While you are logged out it waits, unless you run `loginctl enable-linger`."
    return Result(data, text)


@command("schedule remove", faces=("cli",))
def remove(
    context: Context,
    notebook: Annotated[str, Arg("its name", metavar="NOTEBOOK", complete=_names)],
) -> Result:
    """Take a notebook from the timetable; the outputs of its runs stay."""
    name = unit_name(Path(notebook).name.removesuffix(".ipynb"))
    gone = []
    units = [folder() / f"aiki-notebook-{name}.{kind}" for kind in ("service", "timer")]
    units = [path for path in units if path.exists()]
    if units:
        take_away(program(_BY_HAND), units, [f"aiki-notebook-{name}.timer"])
        gone.append("systemd")
    if name in crontab.planned():
        crontab.replace(f"# aiki-notebook-{name}")
        gone.append("cron")
    if not gone:
        raise UsageError(f"No timetable has {name!r}: `aiki schedule` shows those that are there.")
    return Result({"notebook": name, "removed": gone}, f"{name} no longer runs by itself.")


def _planned(
    notebook: str, values: tuple[str, ...], at: str, keep: int, cron: bool, name: str
) -> timers.Run:
    source = _found(notebook)
    _parameters(values)
    if any(ord(character) < 32 for text in (str(source), *values) for character in text):
        raise UsageError("A timetable cannot hold line breaks: take them out of names and values.")
    ours = _ours(source)
    words = ["schedule", "run", f"--keep={keep}"]
    words += ["--quiet"] if cron else []
    words += [f"--name={unit_name(name)}"] if name else []
    return timers.Run(
        unit_name(name or source.stem),
        (*words, source.stem if ours else str(source), *values),
        timers.checked(at, cron=cron),
        None if ours else source.parent,
    )


def _found(notebook: str) -> Path:
    """The file of a notebook, where there is something to run it with."""
    if importlib.util.find_spec("papermill") is None:
        raise AikiError("papermill is missing, which runs notebooks: `pip install papermill`.")
    known = packaged()
    if notebook in known:
        return known[notebook]
    path = Path(notebook).expanduser().absolute()
    if path.suffix == ".ipynb" and path.is_file():
        return path
    names = ", ".join(known)
    raise UsageError(f"There is no notebook {notebook!r}: ours are {names}; or name a file.")


def _ours(source: Path) -> bool:
    return packaged().get(source.stem) == source


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
    found = home.iterdir() if home.is_dir() else ()
    return sorted(path.name for path in found if Runs(path).outputs())


def _lingers() -> bool:
    """Whether this user's timers run without a session; True where nobody knows."""
    import pwd

    kept = Path("/var/lib/systemd/linger")
    try:
        return not kept.parent.is_dir() or (kept / pwd.getpwuid(os.getuid()).pw_name).exists()
    except (KeyError, OSError):
        return True
