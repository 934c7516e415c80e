"""``aiki daemon``: the process that owns the memory and the local models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiki_kernel.commands.command import Context, Result
from aiki_kernel.commands.registry import command


@command("daemon run", faces=("cli",))
def run(context: Context) -> Result:
    """Be the daemon, here, until Ctrl-C (for systemd, or to watch it)."""
    from aiki_kernel.daemon import lifecycle

    lifecycle.run(context.settings, context.paths)
    return Result({"ran": True}, "")


@command("daemon start", faces=("cli",))
def start(context: Context) -> Result:
    """Make sure that the daemon runs. Every client does this by itself."""
    from aiki_kernel.daemon import lifecycle

    done = lifecycle.start(context.settings, context.paths)
    how = f"started in {done.seconds:.1f} s" if done.started else "was running already"
    data = {**asdict(done), "status": asdict(done.status)}
    return Result(data, f"The daemon {how}: process {done.status.pid}, version {_version(data)}.")


@command("daemon stop", faces=("cli",))
def stop(context: Context) -> Result:
    """Stop the daemon; what it has acknowledged is kept. The next client starts it again."""
    from aiki_kernel.daemon import lifecycle

    done = lifecycle.stop(context.paths)
    if not done.stopped:
        return Result(asdict(done), "No daemon was running.")
    how = "had to be killed" if done.killed else "stopped"
    return Result(asdict(done), f"The daemon {how} (process {done.pid}, {done.seconds:.1f} s).")


@command("daemon status", faces=("cli",))
def status(context: Context) -> Result:
    """Show whether the daemon runs, and how it is. Exit status 3 when it does not."""
    from aiki_kernel.daemon import lifecycle

    found = lifecycle.status(context.paths)
    data = asdict(found)
    if not found.running:
        text = f"No daemon runs for {context.paths.home}."
        return Result(data, text, status=3)  # what init scripts and systemctl say for "not running"
    rows = {
        "process": found.pid,
        "version": found.version,
        "up": f"{found.uptime_s / 60:.0f} min",
        "socket": found.socket,
        "log": found.log,
        "note": found.note,
        **_told(found.health),
    }
    text = "\n".join(
        f"{name:<10} {value}" for name, value in rows.items() if value not in ("", None)
    )
    return Result(data, text)


def _told(health: dict[str, Any]) -> dict[str, str]:
    """The parts of the daemon's own account that are not shown already, one line each."""
    seen = {"pid", "version", "uptime_s", "status", "api", "home"}
    return {name: _flat(value) for name, value in health.items() if name not in seen}


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        told = ((name, _flat(inner)) for name, inner in value.items())
        return ", ".join(f"{name} {text}" for name, text in told if text)
    if isinstance(value, list):
        return "; ".join(_flat(inner) for inner in value) or "none"
    return "" if value is None else str(value)


def _version(data: dict[str, Any]) -> str:
    return str(data["status"].get("version") or "unknown")
