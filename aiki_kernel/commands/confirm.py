"""Asking before something is lost."""

from __future__ import annotations

import sys

from aiki_kernel.commands.command import Context
from aiki_kernel.errors import UsageError


def confirmed(context: Context, question: str, yes: bool) -> bool:
    """Whether to go on. In a notebook only ``--yes`` counts; a script must say it as well.

    Raises :class:`UsageError` when nobody can be asked or the answer is no.
    """
    if yes:
        return True
    if context.face == "magic":
        return False
    if not sys.stdin.isatty():
        raise UsageError("Nobody is there to ask: say --yes.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201
    if sys.stdin.readline().strip().lower() in ("y", "yes", "j", "ja"):
        return True
    raise UsageError("Nothing was done.")
