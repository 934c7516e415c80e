"""How far long work has come, on stderr, so that stdout holds the answer and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiki_kernel.commands.command import Context

Step = Callable[[int, int], None]
"""Told ``done`` and ``total``; a total of 0 means that it is not known."""


@contextmanager
def progress(context: Context, what: str, *, bytes_: bool = False) -> Iterator[Step]:
    """A bar where there is a terminal, the face's own reporter if it has one, else plain lines."""
    if context.report is not None:
        report = context.report
        yield lambda done, total: report(what, done, total)
    elif context.face == "cli" and sys.stderr.isatty():
        with _bar(what, bytes_) as step:
            yield step
    else:
        yield _Lines(what).step


@contextmanager
def _bar(what: str, bytes_: bool) -> Iterator[Step]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    amount = DownloadColumn() if bytes_ else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


class _Lines:
    """One line at the start and at each fifth of the way."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.shown = -1

    def step(self, done: int, total: int) -> None:
        fifth = done * 5 // total if total else 0
        if fifth > self.shown:
            self.shown = fifth
            print(f"{self.what}: {fifth * 20} %", file=sys.stderr, flush=True)  # noqa: T201
