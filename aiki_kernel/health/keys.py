"""Keys, from where the whole program takes them: the environment, else ``keys.toml`` (0600)."""

from __future__ import annotations

import os
from pathlib import Path

from aiki_kernel.health.plan import Plan


def key(plan: Plan, variable: str) -> str:
    """The key called ``variable``, or "". A file that others can read is not read."""
    if not variable:
        return ""
    value = os.environ.get(variable)
    if value:
        return value
    import tomllib

    try:
        with (Path(plan.home) / "keys.toml").open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                return ""
            return str(tomllib.load(file).get(variable) or "")
    except (OSError, ValueError):
        return ""
