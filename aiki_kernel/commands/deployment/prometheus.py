"""Prometheus: what to scrape, and when to tell somebody."""

from __future__ import annotations

from importlib import resources

from aiki_kernel.commands.deployment.place import Made

PORT = 9464
"""The port that the health daemon serves where none is set: `aiki health daemon --http-port`."""

RULES = "aiki_alerts.yml"


def files(port: int) -> list[Made]:
    """``prometheus.yml`` and the alert rules beside it; ``port`` is ``health.http_port``."""
    config = f"""\
# aiki config set health.http_port {port or PORT}     opens the port on this machine
# prometheus --config.file=prometheus.yml
global:
  scrape_interval: 30s
  evaluation_interval: 30s

rule_files:
  - {RULES}

scrape_configs:
  - job_name: aiki
    static_configs:
      - targets: ["127.0.0.1:{port or PORT}"]
"""
    rules = resources.files("aiki_kernel.health").joinpath("alerts.yml").read_text("utf-8")
    return [Made("prometheus.yml", config), Made(RULES, rules)]
