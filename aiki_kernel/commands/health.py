"""``aiki health``: is everything well, and if not, what is it and what helps.

It looks by itself, now; the health daemon need not run. Nothing is started to ask. Exit status:
0 all is well, 1 something is degraded or cannot be told, 2 something is down.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import one_line, rendered
from aiki_kernel.errors import UsageError
from aiki_kernel.health.plan import Plan
from aiki_kernel.health.reading import DEGRADED, OK, STATUS, Reading, figure, span
from aiki_kernel.health.sampler import Sample, Sampler

_BOARD_S = 10.0  # a board that is seen looks at least this often
_COLOR = {"ok": "green", "degraded": "yellow", "down": "bold red", "unknown": "magenta"}


@command("health")
def health(
    context: Context,
    follow: Annotated[bool, Arg("one JSON line after each interval, until Ctrl-C")] = False,
    watch: Annotated[bool, Arg("draw the table anew after each interval, until Ctrl-C")] = False,
    interval: Annotated[float, Arg("seconds between looks; 0 is that of the settings")] = 0.0,
) -> Result:
    """Look at everything now: daemons, models, providers, disk, cost. Starts nothing.

    Exit status 0 when all is well, 1 when something is degraded or unknown, 2 when something
    is down. With --json (and --follow) each sample is one line of JSON, for Vector's exec source.
    """
    looker = _Looker(context)
    every = interval or looker.plan.interval_s
    if interval < 0 or (follow and watch):
        raise UsageError("--interval must be above 0, and only one of --follow and --watch.")
    if (follow or watch) and context.face == "magic":
        raise UsageError("--follow and --watch belong in a terminal: `aiki health --watch`.")
    if follow:
        _follow(looker, every)
    if watch:
        _watch(context, looker, every)
    sample = looker.look()
    data = looker.document(sample)
    text = f"{_head(sample)}\n\n{rendered(context, _table(sample))}"
    if context.face == "cli":
        return Result(data, text, None, STATUS[sample.state], one_line=True)
    return _shown(looker, data, text, STATUS[sample.state], every)


def _shown(looker: _Looker, data: dict[str, Any], text: str, status: int, every: float) -> Result:
    """The board: live where the front end has widgets, else as it is now."""
    from aiki_kernel.display.board_facts import Board, board
    from aiki_kernel.display.static_board import render_html

    history = looker.context.paths.home / "health" / "history.sqlite"
    now = board(data, history)

    def look() -> Board:
        return board(looker.document(looker.look()), history)

    def widget() -> Any:
        from aiki_kernel.display.board import HealthBoard

        return HealthBoard(look, now, min(every, _BOARD_S))

    return Result(data, text, render_html(now), status, one_line=True, widget=widget)


class _Looker:
    """The probes of this process. The settings are read once."""

    def __init__(self, context: Context) -> None:
        from aiki_kernel.commands.health_plan import resolve
        from aiki_kernel.health.probe import Probe, probes

        self.context = context
        self.plan: Plan = resolve(context.settings, context.paths)
        ours: list[Probe] = [_Watcher(), _Routing()]
        added = [probe for probe in ours if probe.name not in self.plan.skip]
        self._sampler = Sampler(self.plan, [*probes(self.plan), *added])

    def look(self) -> Sample:
        account = None
        if self.plan.daemon == "off" and (self.context.started or self.context.face == "magic"):
            account = self.context.aiki.health()
        return self._sampler.sample(account)

    def document(self, sample: Sample) -> dict[str, Any]:
        from aiki_kernel.health.status_file import document

        return document(sample, self.plan)


class _Watcher:
    """The health daemon, seen from outside: its file is there and young."""

    name, title, timeout_s = "health_daemon", "Health daemon", 0.0

    def measure(self, moment: Any) -> Reading | None:
        from aiki_kernel.health.status_file import read

        seen = read(moment.plan.status_file)
        if seen is None:
            return None  # nobody watches here, and nobody asked for it
        if seen.note:
            return Reading(DEGRADED, f"{seen.note}: start it with `aiki health daemon`.")
        if seen.stale:
            reason = (
                f"It has not looked for {span(seen.age_s)}: start it with `aiki health daemon`, "
                "or remove system_health.json."
            )
            return Reading(DEGRADED, reason, round(seen.age_s, 1), "s")
        said = f"It looked {span(seen.age_s)} ago, every {seen.data.get('interval_s'):g} s."
        return Reading(OK, said, round(seen.age_s, 1), "s")


class _Routing:
    """Endpoints that this process leaves alone after failures; nothing while there are none."""

    name, title, timeout_s = "routing", "Routing", 0.0

    def measure(self, moment: Any) -> Reading | None:
        from aiki_kernel.models.breaker import BREAKER

        found = [one for one in BREAKER.health().get("breakers") or [] if one["failures"]]
        if not found:
            return None
        told = "; ".join(
            f"{one['model']} {one['state']}: {one['last_failure']} ({one['failures']} failures)"
            for one in found
        )
        state = DEGRADED if any(one["state"] != "closed" for one in found) else OK
        reason = f"{one_line(told, 300)}. Others answer meanwhile; see `%aiki_route`."
        return Reading(state, reason, float(len(found)), "endpoints", {"breakers": found})


def _follow(looker: _Looker, every: float) -> NoReturn:
    """A line an interval on stdout; nothing else ever goes there."""

    def show(sample: Sample) -> None:
        sys.stdout.write(json.dumps(looker.document(sample), ensure_ascii=False) + "\n")
        sys.stdout.flush()

    _again(looker, every, show)


def _watch(context: Context, looker: _Looker, every: float) -> NoReturn:
    from rich.console import Console
    from rich.live import Live

    if not sys.stdout.isatty():
        raise UsageError("--watch draws on a terminal: use --follow for a file or a pipe.")
    console = Console(highlight=False, no_color=not context.color)
    with Live(console=console, screen=False, auto_refresh=False) as live:
        _again(looker, every, lambda sample: live.update(_table(sample, True), refresh=True))


def _again(looker: _Looker, every: float, show: Callable[[Sample], None]) -> NoReturn:
    """Look at fixed points of the monotonic clock; one that was missed is left out."""
    next_at = time.monotonic()
    while True:
        show(looker.look())
        now = time.monotonic()
        next_at += every * max(1, -(-(now - next_at) // every))
        time.sleep(max(0.0, next_at - time.monotonic()))


def _head(sample: Sample) -> str:
    bad = [one for one in sample.readings if one.state != OK]
    if not bad:
        return f"Health: ok. {len(sample.readings)} probes in {sample.seconds:.1f} s."
    named = ", ".join(f"{one.title} {one.state}" for one in bad)
    return f"Health: {sample.state}. {named}."


def _table(sample: Sample, headed: bool = False) -> Any:
    """For a terminal: what is wrong in colour, reasons folded."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    title = f"{_head(sample)}  {time.strftime('%H:%M:%S')}" if headed else None
    made = RichTable(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title=title, title_justify="left"
    )
    made.add_column("what", no_wrap=True)
    made.add_column("state", no_wrap=True)
    made.add_column("figure", justify="right", no_wrap=True)
    made.add_column("", overflow="fold")
    for one in _ordered(sample):
        state = Text(one.state, style=_COLOR[one.state])
        made.add_row(
            Text(one.title),
            state,
            Text(figure(one.value, one.unit)),
            Text(one_line(one.reason, 400)),
        )
    return made


def _ordered(sample: Sample) -> list[Reading]:
    """What is wrong first; otherwise as the probes stand."""
    rank = {"down": 0, "degraded": 1, "unknown": 2, "ok": 3}
    return sorted(sample.readings, key=lambda one: rank[one.state])


@command("health daemon", faces=("cli",))
def daemon(
    context: Context,
    interval: Annotated[float, Arg("seconds between samples; 0 is that of the settings")] = 0.0,
    http_port: Annotated[int, Arg("serve /metrics and /health there; 0: as in the settings")] = 0,
    textfile: Annotated[str, Arg("folder of node_exporter's textfile collector")] = "",
) -> Result:
    """Be the health daemon, here, until Ctrl-C: sample, and write system_health.json.

    It replaces this process by a small one (also the script aiki-health-daemon).
    """
    from aiki_kernel.health.__main__ import become

    given = {"INTERVAL_S": interval, "HTTP_PORT": http_port, "TEXTFILE": textfile}
    environment = dict(os.environ)
    environment |= {f"AIKI_HEALTH__{name}": str(value) for name, value in given.items() if value}
    become(environment)
