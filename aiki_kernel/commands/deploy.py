"""``aiki deploy``: files that run AIKI without you: systemd, Docker Compose, Vector, Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.systemctl import enable, program, take_away, write_all
from aiki_kernel.commands.tables import Column, Table

if TYPE_CHECKING:
    from aiki_kernel.commands.deployment.place import Made


_BY_HAND = "`aiki deploy write systemd FOLDER` writes the units for a machine that has one."


@dataclass(frozen=True)
class _Target:
    about: str
    checked: str
    make: Callable[[Context], list[Made]]


def _systemd(context: Context) -> list[Made]:
    from aiki_kernel.commands.deployment.place import Place
    from aiki_kernel.commands.deployment.systemd import units

    return units(Place.here(context.paths))


def _notebooks(context: Context) -> list[Made]:
    from aiki_kernel.commands.deployment import timers
    from aiki_kernel.commands.deployment.place import Place

    place, made = Place.here(context.paths), []
    for name, at in (("health", "daily"), ("benchmark", "weekly")):
        words = ("schedule", "run", "--keep=30", name)
        made += timers.units(place, timers.Run(name, words, at))
    return made


def _compose(context: Context) -> list[Made]:
    from aiki_kernel.commands.deployment.compose import files

    return files()


def _vector(context: Context) -> list[Made]:
    from aiki_kernel.commands.deployment.place import Place
    from aiki_kernel.commands.deployment.vector import files

    return files(Place.here(context.paths))


def _prometheus(context: Context) -> list[Made]:
    from aiki_kernel.commands.deployment.prometheus import files

    return files(context.settings.health.http_port)


TARGETS = {
    "systemd": _Target(
        "user units that keep both daemons running",
        "systemd-analyze verify and security",
        _systemd,
    ),
    "notebooks": _Target(
        "timers: the health notebook each day, the benchmark each week (`aiki schedule install`)",
        "systemd-analyze verify and security",
        _notebooks,
    ),
    "compose": _Target(
        "Qdrant, a llama.cpp server, both daemons and JupyterLab in containers",
        "docker-compose config",
        _compose,
    ),
    "vector": _Target(
        "vector.toml: journal and health into files, to Prometheus and to an address",
        "a TOML parser, and VRL's own compiler for its programs",
        _vector,
    ),
    "prometheus": _Target(
        "prometheus.yml and alert rules for the health daemon's port",
        "promtool check config, test rules",
        _prometheus,
    ),
}

TargetName = Annotated[str, Arg("what to deploy with", choices=tuple(TARGETS), positional=True)]


@command("deploy", faces=("cli",))
def deploy(context: Context) -> Result:
    """Show what there is to deploy with, and what has judged its files."""
    table = Table(
        [Column("target"), Column("what it is"), Column("checked by")],
        [[name, target.about, target.checked] for name, target in TARGETS.items()],
    )
    data = [
        {"target": name, "about": target.about, "checked_by": target.checked}
        for name, target in TARGETS.items()
    ]
    text = f"{table.text(context)}\n\naiki deploy show TARGET prints the files."
    return Result({"targets": data}, text)


@command("deploy show", faces=("cli",))
def show(context: Context, target: TargetName) -> Result:
    """Print the files of a target, each after a line with its name."""
    made = TARGETS[target].make(context)
    text = "\n".join(f"# --- {one.name}\n{one.text}" for one in made).rstrip("\n")
    return Result({"files": {one.name: one.text for one in made}}, text)


@command("deploy write", faces=("cli",))
def write(
    context: Context,
    target: TargetName,
    folder: Annotated[Path, Arg("where they go; it is made when it is missing")],
    force: Annotated[bool, Arg("replace files that are there and differ")] = False,
) -> Result:
    """Write the files of a target into a folder."""
    written = write_all(TARGETS[target].make(context), folder.expanduser().absolute(), force)
    text = "\n".join(str(path) for path in written) or "All of it is there already."
    return Result({"written": [str(path) for path in written]}, text)


@command("deploy install", faces=("cli",))
def install(
    context: Context,
    start: Annotated[bool, Arg("only write the units and make systemd read them")] = True,
    force: Annotated[bool, Arg("replace units that are there and differ")] = False,
) -> Result:
    """Install the systemd units for this user and start them, now and at each login."""
    from aiki_kernel.commands.deployment.systemd import folder

    made = _systemd(context)
    systemctl = program(_BY_HAND)
    context.paths.home.mkdir(parents=True, exist_ok=True)
    written = write_all(made, folder(), force)
    names = [one.name for one in made]
    enable(systemctl, names if start else [])
    done = "run" if start else "are ready: systemctl --user enable --now " + " ".join(names)
    data = {"written": [str(path) for path in written], "units": names, "started": start}
    return Result(data, f"{' and '.join(names)} {done}.")


@command("deploy uninstall", faces=("cli",))
def uninstall(context: Context) -> Result:
    """Stop the systemd units of this user and remove their files; memories stay."""
    from aiki_kernel.commands.deployment.systemd import folder

    found = [folder() / one.name for one in _systemd(context)]
    found = [path for path in found if path.exists()]
    if not found:
        return Result({"removed": []}, "No unit of ours is installed for this user.")
    names = [path.name for path in found]
    take_away(program(_BY_HAND), found, names)
    return Result({"removed": [str(path) for path in found]}, f"Removed {' and '.join(names)}.")
