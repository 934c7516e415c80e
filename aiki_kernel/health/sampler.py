"""One sample: all probes side by side, each within its time.

A probe that raises, or does not come back, makes a reading whose state is unknown, and harms
nobody else. One that hangs is not called again before it has come back: a daemon that looks every
minute must not gather threads.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiki_kernel.health.moment import Moment
from aiki_kernel.health.plan import Plan
from aiki_kernel.health.probe import Probe
from aiki_kernel.health.reading import STATES, UNKNOWN, Reading, one_line, span, worst

_STACK = 256 * 1024


class Sample(NamedTuple):
    """All readings of one moment. ``seconds`` is how long it took to take them."""

    wall: float
    monotonic: float
    readings: tuple[Reading, ...]
    seconds: float

    @property
    def state(self) -> str:
        return worst(self.readings)

    @property
    def bad(self) -> list[Reading]:
        """What is known to be wrong, the worst first."""
        wrong = [reading for reading in self.readings if reading.bad]
        return sorted(wrong, key=lambda reading: reading.state != "down")

    def reading(self, probe: str) -> Reading | None:
        return next((one for one in self.readings if one.probe == probe), None)


class _Call:
    """One probe at work. ``reading`` is None until it is done, and when there was nothing."""

    def __init__(self, probe: Probe, moment: Moment) -> None:
        self.probe = probe
        self.moment = moment
        self.began = time.monotonic()
        self.reading: Reading | None = None
        self.thread = threading.Thread(
            target=self._work, name=f"aiki-probe-{probe.name}", daemon=True
        )

    def start(self) -> None:
        try:
            self.thread.start()
        except RuntimeError as error:  # the system gives us no more threads
            self._keep(Reading(UNKNOWN, f"There was no room to look ({error}): end some programs."))

    def _work(self) -> None:
        try:
            found = self.probe.measure(self.moment)
            if found is not None:
                found = _checked(found)
        except Exception as error:  # whatever somebody's probe does
            text = (
                f"The probe failed ({type(error).__name__}: {error}): report it, or skip it "
                f"with `aiki config set health.skip '[\"{self.probe.name}\"]'`."
            )
            found = Reading(UNKNOWN, one_line(text))
        if found is not None:
            self._keep(found)

    def _keep(self, found: Reading) -> None:
        self.reading = found._replace(
            probe=self.probe.name,
            title=self.probe.title,
            seconds=time.monotonic() - self.began,
        )


class Sampler:
    """The probes of a plan, asked again and again. For one thread."""

    def __init__(self, plan: Plan, probes: Sequence[Probe]) -> None:
        self.plan = plan
        self.probes = list(probes)
        self._hanging: dict[str, _Call] = {}

    def sample(self, account: Mapping[str, Any] | None = None) -> Sample:
        """Ask them all; returns within the longest time limit. ``account`` is the memory's own,
        where it runs in this process."""
        moment = Moment(self.plan, account)
        calls: dict[str, _Call] = {}
        before = threading.stack_size(_STACK)
        try:
            for probe in self.probes:
                hanging = self._hanging.get(probe.name)
                if hanging is not None and hanging.thread.is_alive():
                    continue
                calls[probe.name] = call = _Call(probe, moment)
                call.start()
        finally:
            threading.stack_size(before)
        readings = []
        for probe in self.probes:
            call = calls.get(probe.name) or self._hanging[probe.name]
            limit = probe.timeout_s or self.plan.timeout_s
            if probe.name in calls and call.thread.ident is not None:
                call.thread.join(max(0.0, call.began + limit - time.monotonic()))
            if call.thread.is_alive():
                self._hanging[probe.name] = call
                readings.append(_late(call))
                continue
            self._hanging.pop(probe.name, None)
            if call.reading is not None:
                readings.append(call.reading)
        taken = time.monotonic() - moment.monotonic
        return Sample(moment.wall, moment.monotonic, tuple(readings), taken)


def _checked(found: Reading) -> Reading:
    """A reading that can be written down. Raises :class:`ValueError` or :class:`TypeError`."""
    if found.state not in STATES:
        raise ValueError(f"it reported the state {found.state!r}")
    value = None if found.value is None else float(found.value)
    if value is not None and not math.isfinite(value):
        raise ValueError(f"it reported the figure {found.value!r}")
    facts = json.loads(json.dumps(dict(found.facts)))  # plain data, and a copy of its own
    return found._replace(value=value, reason=str(found.reason), unit=str(found.unit), facts=facts)


def _late(call: _Call) -> Reading:
    seconds = time.monotonic() - call.began
    reason = f"The probe has not come back for {span(seconds)}: what it looks at hangs."
    return Reading(UNKNOWN, reason, None, "", {}, call.probe.name, call.probe.title, seconds)
