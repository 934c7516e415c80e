"""The user's own service manager, and files that are written for it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aiki_kernel.errors import AikiError, UsageError

if TYPE_CHECKING:
    from aiki_kernel.commands.deployment.place import Made

_PATIENCE_S = 60.0


def write_all(made: Sequence[Made], folder: Path, force: bool) -> list[Path]:
    """Write what is new or, with ``force``, differs; nothing at all when one may not be."""
    targets = [(folder / one.name, one.text) for one in made]
    try:
        old = {path: path.read_text("utf-8") for path, _ in targets if path.exists()}
        changed = [(path, text) for path, text in targets if old.get(path) != text]
        kept = [path for path, _ in changed if path in old]
        if kept and not force:
            raise UsageError(f"{kept[0]} is there and differs: give --force to replace it.")
        for path, text in changed:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    except OSError as error:
        raise AikiError(
            f"{error.filename} cannot be written ({error.strerror}): choose another folder."
        ) from None
    return [path for path, _ in changed]


def program(instead: str) -> str:
    """``systemctl``; where there is none, one line that ends in what to do ``instead``."""
    found = shutil.which("systemctl")
    if found is None:
        raise AikiError(f"There is no systemctl here: {instead}")
    return found


def enable(systemctl: str, names: Sequence[str]) -> None:
    """Read the units anew, and start ``names`` now and at each login; no names, no start."""
    call([systemctl, "--user", "daemon-reload"])
    if names:
        call([systemctl, "--user", "enable", "--now", *names])


def take_away(systemctl: str, units: Sequence[Path], started: Sequence[str]) -> None:
    """Stop what was ``started`` and remove the files."""
    call([systemctl, "--user", "disable", "--now", *started])
    for path in units:
        path.unlink()
    call([systemctl, "--user", "daemon-reload"])


def call(words: Sequence[str], given: str | None = None) -> str:
    """What a system program says; its refusal is one line."""
    said = " ".join(words[1:])
    name = Path(words[0]).name
    try:
        done = subprocess.run(
            words, input=given, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        raise AikiError(
            f"`{name} {said}` did not end within {_PATIENCE_S:.0f} s: try it by hand."
        ) from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise AikiError(f"`{name} {said}` was refused ({lines[0][:200]}): try it by hand.")
    return done.stdout
