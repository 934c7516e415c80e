"""What is looked at. One file a kind of thing."""

from __future__ import annotations

from aiki_kernel.health.plan import Plan
from aiki_kernel.health.probe import Probe


def built_in(plan: Plan) -> list[Probe]:
    """Our own probes, in the order of the table."""
    from aiki_kernel.health.probes import books, machine, memory, models, servers
    from aiki_kernel.health.probes.clock import Clock
    from aiki_kernel.health.probes.gpu import Gpu
    from aiki_kernel.health.probes.responses import ResponseCache
    from aiki_kernel.health.probes.spool import Spool
    from aiki_kernel.health.probes.units import Units

    found: list[Probe] = [
        memory.MemoryDaemon(),
        memory.Index(),
        memory.Embedder(),
        memory.Queue(),
        Spool(),
    ]
    if plan.qdrant_url:
        found.append(memory.Qdrant())
    found += [models.LocalModel(), servers.Served()]
    found += [servers.Provider(endpoint) for endpoint in plan.endpoints]
    found += [books.Cost(), books.Answers(), books.Latency(), ResponseCache()]
    found += [machine.Disk(), machine.Ram(), machine.Cpu(), machine.Load(), machine.Battery()]
    return [*found, Gpu(), Clock(), Units()]
