"""Settings of health: how often is looked, from where on something is wrong, where it is told."""

from __future__ import annotations

from pydantic import Field

from aiki_kernel.config_routing import Section


class Health(Section):
    """What the health daemon watches. Of two thresholds the first is degraded, the second down."""

    interval_s: float = Field(60.0, ge=0.05, description="between two samples of the daemon")
    timeout_s: float = Field(3.0, gt=0, le=60, description="what one probe may take")
    skip: tuple[str, ...] = Field((), description="probes that are left out, by name")
    disk_free_gb: tuple[float, float] = Field((2.0, 0.3), description="on the disk of AIKI_HOME")
    ram_free: tuple[float, float] = Field((0.08, 0.02), description="share that must stay free")
    load_per_cpu: float = Field(8.0, gt=0, description="programs that want one processor")
    budget_part: float = Field(0.8, gt=0, le=1, description="share of budget.day_usd")
    error_part: tuple[float, float] = Field(
        (0.25, 0.75), description="share of the last hour's model calls that failed"
    )
    first_token_s: float = Field(60.0, gt=0, description="median wait for the first word")
    spool_age_s: tuple[float, float] = Field(
        (300.0, 86_400.0), description="age of the oldest turn that waits"
    )
    issues: bool = Field(True, description="remember what broke, and when it was well again")
    textfile: str = Field(
        "", description="folder of node_exporter's textfile collector, for aiki.prom"
    )
    http_host: str = Field("127.0.0.1", description="address of the HTTP door")
    http_port: int = Field(0, ge=0, le=65535, description="for /metrics and /health; 0 is closed")
    units: tuple[str, ...] = Field(
        ("aiki-memory-daemon.service", "aiki-health-daemon.service"),
        description="units of the user's systemd that are watched where they are installed",
    )
