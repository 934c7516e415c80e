"""The registry of probes: ours, and those that others add.

A package adds its own under the entry point ``aiki_kernel.probes``: a class that is made without
arguments and has what :class:`Probe` asks for. It runs inside the health daemon, so it should
import as little as that does.
"""

from __future__ import annotations

import importlib
from typing import Protocol

from aiki_kernel.health.moment import Moment
from aiki_kernel.health.plan import Plan
from aiki_kernel.health.reading import UNKNOWN, Reading

GROUP = "aiki_kernel.probes"


class Probe(Protocol):
    """Looks at one thing. ``name`` is its word in files and metrics, ``title`` in tables;
    ``timeout_s`` is how long it may take, 0 for what the settings allow."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def timeout_s(self) -> float: ...

    def measure(self, moment: Moment) -> Reading | None:
        """Look now; blocks. None when there is no such thing on this machine. What is raised
        becomes a reading whose state is unknown."""


class Broken:
    """A probe that could not be made: it says so in each sample."""

    timeout_s = 0.0

    def __init__(self, source: str, cause: str) -> None:
        self.name = source.replace(":", ".").rpartition(".")[2]
        self.title = self.name
        self._reason = (
            f"The probe {source} cannot be loaded ({cause}): update or remove its package."
        )

    def measure(self, moment: Moment) -> Reading:
        return Reading(UNKNOWN, self._reason)


def probes(plan: Plan) -> list[Probe]:
    """All probes that ``plan`` asks for; names are unique, the first of a name counts."""
    from aiki_kernel.health.probes import built_in

    found: dict[str, Probe] = {}
    for probe in [*built_in(plan), *(_made(source) for source in plan.probes)]:
        if probe.name not in plan.skip:
            found.setdefault(probe.name, probe)
    return list(found.values())


def _made(source: str) -> Probe:
    module, _, name = source.partition(":")
    try:
        probe: Probe = getattr(importlib.import_module(module), name)()
        _ = probe.name, probe.title, probe.timeout_s, probe.measure
    except Exception as error:  # whatever somebody else's package does
        return Broken(source, f"{type(error).__name__}: {error}")
    return probe
