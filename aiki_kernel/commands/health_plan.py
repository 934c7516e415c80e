"""The settings, resolved for the probes. ``python -m aiki_kernel.commands.health_plan`` prints
them as JSON: that is how the health daemon, which is too small to read them itself, gets them.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aiki_kernel.health.plan import Endpoint, Plan
from aiki_kernel.health.probe import GROUP
from aiki_kernel.version import __version__

if TYPE_CHECKING:
    from aiki_kernel.config import Paths, Settings


def resolve(settings: Settings, paths: Paths) -> Plan:
    """What the probes have to know. Reads no key and asks nobody."""
    from aiki_kernel.models import weights

    health, memory = settings.health, settings.memory
    name, file = _local(settings, paths, weights.DEFAULT)
    return Plan(
        home=str(paths.home),
        socket=str(paths.socket),
        lock=str(paths.lock),
        version=__version__,
        user_id=memory.user_id,
        interval_s=health.interval_s,
        timeout_s=health.timeout_s,
        daemon=settings.daemon,
        model=settings.model,
        local_model=name,
        local_file=file,
        qdrant_url=memory.url,
        qdrant_key_variable=memory.api_key_env if memory.url else "",
        collection=memory.collection,
        embedder=memory.embedder,
        queue_limit=settings.server.queue,
        endpoints=_endpoints(settings, paths),
        day_usd=settings.budget.day_usd,
        disk_free=(health.disk_free_gb[0] * 1e9, health.disk_free_gb[1] * 1e9),
        ram_free=health.ram_free,
        load_per_cpu=health.load_per_cpu,
        budget_part=health.budget_part,
        error_part=health.error_part,
        first_token_s=health.first_token_s,
        spool_age_s=health.spool_age_s,
        units=health.units,
        probes=tuple(point.value for point in importlib.metadata.entry_points(group=GROUP)),
        skip=health.skip,
        issues=health.issues,
        textfile=health.textfile,
        http_host=health.http_host,
        http_port=health.http_port,
        ca_file=_certificates(),
        sources=(str(paths.toml), str(paths.keys), str(paths.models)),
    )


def _local(settings: Settings, paths: Paths, default: str) -> tuple[str, str]:
    """The local model that would answer, and its file ("" when it is not here)."""
    from aiki_kernel.models import weights

    installed = weights.installed(paths.models)
    endpoint, _, wanted = settings.model.partition("/")
    if endpoint != "local" or wanted in ("", "local"):
        wanted = default if default in installed or not installed else sorted(installed)[0]
    file = installed.get(wanted)
    if file is None:
        link = paths.models / f"{wanted}.gguf"  # a link whose file has gone says where that was
        return wanted, str(link) if link.is_symlink() else ""
    return wanted, str(file)


def _endpoints(settings: Settings, paths: Paths) -> tuple[Endpoint, ...]:
    """Each provider that the user configured, has a key for, or wants answers from.

    Servers that ``aiki model serve`` watches are left to their own probe.
    """
    routing = settings.routing
    chains = (routing.smart, routing.standard, routing.cheap, routing.local)
    named = [settings.model, *(name for chain in chains for name in chain or ())]
    wanted = {name.partition("/")[0] for name in named}
    served = _served(paths)
    found = []
    for name in settings.endpoint_names():
        endpoint = settings.endpoint(name)
        if endpoint.base_url.rstrip("/") in served:
            continue
        found.append(
            Endpoint(
                name,
                endpoint.base_url,
                endpoint.api_key_env,
                endpoint.headers,
                name in wanted,
                endpoint.provider == "openrouter",
            )
        )
    return tuple(found)


def _served(paths: Paths) -> set[str]:
    """Addresses of the servers of this home."""
    found = set()
    for path in (paths.home / "serve").glob("*.json"):
        try:
            found.add(str(json.loads(path.read_text("utf-8"))["base_url"]).rstrip("/"))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def _certificates() -> str:
    """A file of trusted certificates, where Python's OpenSSL does not find the system's own."""
    import ssl

    system = ssl.get_default_verify_paths()
    if system.cafile or (system.capath and any(Path(system.capath).iterdir())):
        return ""
    try:
        import certifi
    except ImportError:
        return ""
    return certifi.where()


def main() -> int:
    """Print the plan; one line on stderr and status 1 when the settings are wrong."""
    from aiki_kernel.config import Paths, load
    from aiki_kernel.errors import AikiError

    try:
        plan = resolve(load(), Paths.default())
    except AikiError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    sys.stdout.write(json.dumps(plan.to_json()))
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
