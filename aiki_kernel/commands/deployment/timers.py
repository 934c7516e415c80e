"""Notebooks on a timetable: systemd timers, and lines of a crontab."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from aiki_kernel.commands.deployment.place import Made, Place
from aiki_kernel.commands.deployment.systemd import SHUT_IN, assignment, command, path
from aiki_kernel.errors import UsageError

WORDS = ("hourly", "daily", "weekly", "monthly")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[int, int, list[str]], ...] = (
    (0, 59, []),
    (0, 23, []),
    (1, 31, []),
    (1, 12, _MONTHS),
    (0, 7, _DAYS),
)
"""Minute, hour, day, month, weekday of crontab(5): the least, the most, and names from there."""


@dataclass(frozen=True)
class Run:
    """A notebook that is to run: its ``name``, the words after ``aiki``, when (``at``), and the
    ``folder`` that it runs in and may write, when that is not ours."""

    name: str
    words: tuple[str, ...]
    at: str
    folder: Path | None = None

    @property
    def stem(self) -> str:
        """The name of its units."""
        return f"aiki-notebook-{self.name}"

    @property
    def mark(self) -> str:
        """What ends its line in a crontab."""
        return f"# {self.stem}"


def units(place: Place, run: Run) -> list[Made]:
    """A service that runs the notebook once, and the timer that calls it.

    A Jupyter kernel writes its connection file and a profile, and ZeroMQ asks the system for
    its network interfaces (netlink): without these it dies before it answers.
    """
    writes = " ".join(path(one) for one in (place.home, run.folder) if one is not None)
    service = f"""\
[Unit]
Description=AIKI notebook {run.name.replace("%", "%%")}

[Service]
Type=oneshot
ExecStart={command([*place.aiki, *run.words])}
Environment={assignment("AIKI_HOME", str(place.home))}
Environment=JUPYTER_RUNTIME_DIR=%t/aiki-jupyter
Environment=IPYTHONDIR=%T/ipython
TimeoutStartSec=6h
Nice=10
ReadWritePaths={writes} %t
RestrictAddressFamilies=AF_NETLINK
{SHUT_IN}"""
    timer = f"""\
[Unit]
Description=When the AIKI notebook {run.name.replace("%", "%%")} runs

[Timer]
OnCalendar={run.at}
Persistent=true
RandomizedDelaySec=60

[Install]
WantedBy=timers.target
"""
    return [Made(f"{run.stem}.service", service), Made(f"{run.stem}.timer", timer)]


def cron_line(place: Place, run: Run) -> str:
    """A line of a crontab, where a per cent sign would end the command."""
    when = f"@{run.at}" if run.at in WORDS else run.at
    call = shlex.join([*place.aiki, *run.words])
    home = shlex.quote(str(place.home))
    return f"{when} AIKI_HOME={home} {call} {run.mark}".replace("%", "\\%")


def checked(at: str, *, cron: bool) -> str:
    """``at`` as systemd or cron takes it. Raises :class:`UsageError`."""
    if at in WORDS:
        return at
    words = ", ".join(WORDS)
    if cron:
        fields = at.split(" ")
        if len(fields) == len(_FIELDS) and all(map(_is_field, fields, _FIELDS)):
            return at
        raise UsageError(f"cron does not take {at!r}: use {words}, or five fields: '0 6 * * *'.")
    judge = shutil.which("systemd-analyze")
    if judge is None:
        raise UsageError(f"Without systemd-analyze only {words} can be checked, not {at!r}.")
    done = subprocess.run([judge, "calendar", "--", at], capture_output=True, check=False)
    if done.returncode or "\n" in at:
        raise UsageError(f"systemd does not take {at!r}: use {words}, or 'Mon..Fri 07:30'.")
    return at


def _is_field(text: str, kind: tuple[int, int, list[str]]) -> bool:
    """Whether cron takes ``text``: a list of *, numbers, names and ranges, with steps."""
    least, most, names = kind
    values = {name: str(least + at) for at, name in enumerate(names)}
    for part in text.lower().split(","):
        told = re.fullmatch(r"(\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", part, re.ASCII)
        if told is None:
            return False
        ends = [values.get(end, end) for end in told.group(2, 3) if end is not None]
        if not all(end.isdecimal() and least <= int(end) <= most for end in ends):
            return False
        if len(ends) == 2 and int(ends[0]) > int(ends[1]):
            return False
    return True


def installed(folder: Path) -> dict[str, str]:
    """Notebooks with a timer in ``folder``, and when they run."""
    found = {}
    for timer in sorted(folder.glob("aiki-notebook-*.timer")):
        name = timer.stem.removeprefix("aiki-notebook-")
        when = re.search(r"^OnCalendar=(.*)$", timer.read_text("utf-8"), re.MULTILINE)
        found[name] = when[1] if when else ""
    return found
