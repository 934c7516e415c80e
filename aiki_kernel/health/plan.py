"""What the probes have to know of the settings, resolved to plain values.

Reading ``aiki.toml`` takes pydantic, which is heavier than this whole process may be. So a short
process resolves the settings and prints this as JSON; the health daemon reads it, and has it
resolved again when a file that it comes from changes. No key is ever in it: keys are looked up
by their variable where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Endpoint(NamedTuple):
    """A server of models. ``wanted``: the settings name it for answers."""

    name: str
    base_url: str
    key_variable: str = ""
    headers: Mapping[str, str] = {}
    wanted: bool = False
    openrouter: bool = False


class Plan(NamedTuple):
    """Everything that is looked at. Times are seconds, sizes bytes, money USD.

    Thresholds come in pairs: from where on it is degraded, and from where on down.
    """

    home: str
    socket: str = ""
    lock: str = ""
    version: str = ""
    user_id: str = ""
    interval_s: float = 60.0
    timeout_s: float = 3.0
    daemon: str = "auto"
    model: str = "local"
    local_model: str = ""
    local_file: str = ""
    qdrant_url: str = ""
    qdrant_key_variable: str = ""
    collection: str = ""
    embedder: str = ""
    queue_limit: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    served: tuple[str, ...] = ()
    day_usd: float | None = None
    disk_free: tuple[float, float] = (2e9, 3e8)
    ram_free: tuple[float, float] = (0.08, 0.02)
    load_per_cpu: float = 8.0
    budget_part: float = 0.8
    error_part: tuple[float, float] = (0.25, 0.75)
    first_token_s: float = 60.0
    spool_age_s: tuple[float, float] = (300.0, 86_400.0)
    units: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    issues: bool = True
    textfile: str = ""
    http_host: str = "127.0.0.1"
    http_port: int = 0
    ca_file: str = ""
    sources: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the health daemon keeps its own files."""
        return Path(self.home) / "health"

    @property
    def status_file(self) -> Path:
        return Path(self.home) / "system_health.json"

    @property
    def ledger(self) -> Path:
        return Path(self.home) / "ledger.sqlite"

    @property
    def stale_after_s(self) -> float:
        """From what age on a sample says nothing about now: two were missed."""
        return max(3.0 * self.interval_s, self.interval_s + 2.0 * self.timeout_s)

    def to_json(self) -> dict[str, Any]:
        data = self._asdict()
        data["endpoints"] = [endpoint._asdict() for endpoint in self.endpoints]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """What :meth:`to_json` made; names that this version does not know are left out."""
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in data.items()
            if name in cls._fields
        }
        known["endpoints"] = tuple(
            Endpoint(**{k: v for k, v in one.items() if k in Endpoint._fields})
            for one in data.get("endpoints", ())
        )
        return cls(**known)
