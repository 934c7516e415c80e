"""The lines of this user's crontab that run notebooks; all others stay as they are."""

from __future__ import annotations

import re
import shutil
import subprocess

from aiki_kernel.errors import AikiError, UsageError

_LINE = re.compile(r"(@\w+|\S+(?: \S+){4}) AIKI_HOME=.* # aiki-notebook-(\S+)")
_NONE_YET = ("no crontab", "no such file")
_PATIENCE_S = 60.0


def planned() -> dict[str, str]:
    """Name of a notebook -> when it runs."""
    found = {}
    for line in _lines():
        parts = _LINE.fullmatch(line)
        if parts:
            found[parts[2]] = parts[1].removeprefix("@")
    return found


def replace(mark: str, line: str = "") -> None:
    """Put ``line`` in the place of the one that ends in ``mark``; "" only takes that away."""
    if shutil.which("crontab") is None:
        raise UsageError("There is no crontab here: leave out --cron for systemd.")
    lines = [one for one in _lines() if not one.endswith(f" {mark}")]
    wanted = [*lines, line] if line else lines
    _crontab("-", "".join(f"{one}\n" for one in wanted))


def _lines() -> list[str]:
    """All lines; none where there is no cron. Raises :class:`AikiError` when they cannot be read,
    because what is written then would be all there is."""
    if shutil.which("crontab") is None:
        return []
    done = _call("-l")
    if done.returncode == 0:
        return done.stdout.removesuffix("\n").split("\n") if done.stdout else []
    if any(said in done.stderr.lower() for said in _NONE_YET):
        return []
    raise _refused("-l", done)


def _crontab(word: str, given: str) -> None:
    done = _call(word, given)
    if done.returncode:
        raise _refused(word, done)


def _call(word: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["/usr/bin/env", "LC_ALL=C", "crontab", word],
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # whatever somebody wrote goes back byte for byte
            check=False,
            timeout=_PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        raise AikiError(
            f"`crontab {word}` did not end within {_PATIENCE_S:.0f} s: try it by hand."
        ) from None


def _refused(word: str, done: subprocess.CompletedProcess[str]) -> AikiError:
    said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
    return AikiError(f"`crontab {word}` was refused ({said[0][:200]}): try it by hand.")
