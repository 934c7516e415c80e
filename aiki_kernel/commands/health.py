"""``aiki health``: the memory daemon and what it owns, as it is now. Nothing is started to ask.

Exit status: 0 when all is well or just opening, 1 when something is away, 3 when no daemon
runs (what init scripts and systemctl say for that).
"""

from __future__ import annotations

from html import escape
from typing import Any

from aiki_kernel.commands.command import Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, one_line

_STATUS = {"ok": 0, "starting": 0, "degraded": 1, "stopping": 1, "stopped": 3}
_LEVEL = {"ok": "ok", "ready": "ok", "opening": "opening", "starting": "opening"}


@command("health")
def health(context: Context) -> Result:
    """Show the state of the memory daemon, its store, its models and its queue, as of now.

    Exit status 1 when something is away, 3 when no daemon runs.
    """
    data = _read(context)
    rows = _rows(data)
    table = Table([Column("part", whole=True), Column("state", whole=True), ""], rows)
    head = f"Health: {data['status']}."
    html = f"<p>{escape(head)}</p>{table.html()}"
    return Result(data, f"{head}\n\n{table.text(context)}", html, _STATUS.get(data["status"], 1))


def _read(context: Context) -> dict[str, Any]:
    """The daemon's own account with this process's breakers; status "stopped" without one."""
    from aiki_kernel.models.breaker import BREAKER

    routing = BREAKER.health()
    if context.settings.daemon == "off":
        return {**context.aiki.health(), "process": "in this process"}
    from aiki_kernel.daemon import lifecycle

    found = lifecycle.status(context.paths)
    if not found.running:
        return {"status": "stopped", "home": str(context.paths.home), "routing": routing}
    return {**found.health, "note": found.note, "routing": routing, "process": "daemon"}


def _rows(data: dict[str, Any]) -> list[list[Any]]:
    if data["status"] == "stopped":
        told = f"no daemon runs for {data['home']}; the next message starts it"
        return [["daemon", "stopped", told], *_routing(data)]
    up = f"process {data.get('pid')}, up {data.get('uptime_s', 0) / 60:.0f} min"
    note = f"; {data['note']}" if data.get("note") else ""
    rows: list[list[Any]] = [
        ["daemon", data["status"], f"version {data.get('version')}, {up}{note}"],
        _store(data),
        _queue(data.get("queue") or {}),
    ]
    for model in data.get("models") or []:
        idle = f"idle {model['idle_s']:.0f} s" if model["idle_s"] else "at work"
        rows.append(["model", "loaded", f"{model['name']} on {model['engine']}, {idle}"])
    spool = data.get("spool") or {}
    if spool.get("waiting") or spool.get("bad"):
        told = f"{spool['waiting']} turns wait for the store"
        told += f", {spool['bad']} cannot be read" if spool.get("bad") else ""
        rows.append(["spool", "waiting" if not spool.get("bad") else "bad", told])
    return rows + _routing(data)


def _store(data: dict[str, Any]) -> list[Any]:
    store = data.get("store") or {}
    state = str(store.get("state", "unknown"))
    count = data.get("count")
    told = "memories not counted yet" if count is None else f"{count:,} memories"
    told += f", {data.get('embedder')}, {store.get('kind')}"
    if store.get("error"):
        told = f"{store['error']}"
    return ["store", _LEVEL.get(state, state), one_line(told)]


def _queue(queue: dict[str, Any]) -> list[Any]:
    """Waiting by session, the oldest wait, what was refused; an older daemon tells less."""
    if not queue:
        return ["queue", "unknown", "the daemon does not say"]
    waiting = queue.get("waiting", 0)
    told = [f"{queue.get('running', 0)} of {queue.get('parallel', 1)} run"]
    sessions = queue.get("sessions") or {}
    by = ", ".join(f"{name} {count}" for name, count in sessions.items())
    told.append(f"{waiting} of {queue.get('limit')} wait" + (f" ({by})" if by else ""))
    if queue.get("oldest_wait_s"):
        told.append(f"the oldest for {queue['oldest_wait_s']:.1f} s")
    curation = (queue.get("by_priority") or {}).get("curation") or {}
    if any(curation.values()):
        told.append(f"curation: {curation['running']} run, {curation['waiting']} wait")
    told.append(f"{queue.get('served', 0)} served, {queue.get('refused', 0)} refused")
    if queue.get("preempted"):
        told.append(f"curation made room {queue['preempted']} times")
    return ["queue", "busy" if waiting else "ok", "; ".join(told)]


def _routing(data: dict[str, Any]) -> list[list[Any]]:
    found = (data.get("routing") or {}).get("breakers") or []
    return [
        [
            "endpoint",
            one["state"],
            one_line(f"{one['model']} {one['last_failure']} ({one['failures']} failures)"),
        ]
        for one in found
        if one["failures"]
    ]
