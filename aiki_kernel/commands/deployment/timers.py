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
_FIELD = r"(?:\*|[\d,\-]+)(?:/\d+)?"
_CRON = re.compile(rf"{_FIELD}( {_FIELD}){{4}}")


@dataclass(frozen=True)
class Run:
    """A notebook that is to run: its ``name``, the words after ``aiki``, and when (``at``)."""

    name: str
    words: tuple[str, ...]
    at: str

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
ReadWritePaths={path(place.home)} %t
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
        if _CRON.fullmatch(at):
            return at
        raise UsageError(f"cron does not take {at!r}: use {words}, or five fields: '0 6 * * *'.")
    judge = shutil.which("systemd-analyze")
    if judge is None:
        raise UsageError(f"Without systemd-analyze only {words} can be checked, not {at!r}.")
    done = subprocess.run([judge, "calendar", "--", at], capture_output=True, check=False)
    if done.returncode or "\n" in at:
        raise UsageError(f"systemd does not take {at!r}: use {words}, or 'Mon..Fri 07:30'.")
    return at


def installed(folder: Path) -> dict[str, str]:
    """Notebooks with a timer in ``folder``, and when they run."""
    found = {}
    for timer in sorted(folder.glob("aiki-notebook-*.timer")):
        name = timer.stem.removeprefix("aiki-notebook-")
        when = re.search(r"^OnCalendar=(.*)$", timer.read_text("utf-8"), re.MULTILINE)
        found[name] = when[1] if when else ""
    return found
