"""The memory daemon, the freshness of its index, its embedder, and a Qdrant server."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiki_kernel.health.exchange import NoAnswerError, ask
from aiki_kernel.health.keys import key
from aiki_kernel.health.moment import Moment
from aiki_kernel.health.reading import DEGRADED, DOWN, OK, UNKNOWN, Reading, span

_OPENS_WITHIN_S = 60.0
_SAVED_WITHIN_S = 3600.0
_STARTS_WITHIN_S = 30.0


class MemoryDaemon:
    """The process that owns the memory: socket, version, store and queue."""

    name, title, timeout_s = "memory_daemon", "Memory daemon", 0.0

    def measure(self, moment: Moment) -> Reading:
        plan = moment.plan
        try:
            health = moment.daemon()
        except NoAnswerError as error:
            if plan.daemon == "off":
                return Reading(OK, "The memory runs inside each program (daemon = off).")
            return _silent(moment, error)
        facts = _facts(health)
        state, reason = _judge(health, plan.version)
        return Reading(state, reason, facts["answered_in_s"], "s", facts)


class Queue:
    """The generation queue: who waits, for how long, and what was refused."""

    name, title, timeout_s = "queue", "Generation queue", 0.0

    def measure(self, moment: Moment) -> Reading | None:
        try:
            queue = _part(moment.daemon(), "queue")
        except NoAnswerError:
            return _asleep(moment)
        if not queue:
            return Reading(UNKNOWN, "The daemon does not tell of its queue.")
        waiting, limit = int(queue.get("waiting") or 0), int(queue.get("limit") or 0)
        facts = {k: v for k, v in queue.items() if k != "sessions"}
        told = queue_told(queue)
        if limit and waiting >= limit:
            reason = f"The queue is full: {told}. Stop some cells, or raise server.queue."
            return Reading(DEGRADED, reason, float(waiting), "waiting", facts)
        return Reading(OK, f"{told}.", float(waiting), "waiting", facts)


class Index:
    """The index that recall searches: how many rows, and how much of it is on disk."""

    name, title, timeout_s = "index", "Search index", 0.0

    def measure(self, moment: Moment) -> Reading | None:
        try:
            health = moment.daemon()
        except NoAnswerError:
            return _asleep(moment)
        index, search = _part(health, "index"), _part(health, "search")
        count, rows = health.get("count"), search.get("rows")
        unsaved, age = int(search.get("unsaved") or 0), float(search.get("saved_s_ago") or 0.0)
        facts = {"memories": count, **{k: v for k, v in search.items() if _plain(v)}}
        value = float(count) if isinstance(count, int) else None
        if index.get("mismatch"):
            reason = f"{index['mismatch']}".rstrip(".") + ": run `aiki memory reembed`."
            return Reading(DOWN, reason, value, "memories", facts)
        if isinstance(rows, int) and isinstance(count, int) and rows and rows < count * 0.9:
            reason = f"The index knows {rows:,} of {count:,} memories and is being filled: wait."
            return Reading(DEGRADED, reason, value, "memories", facts)
        if unsaved and age > _SAVED_WITHIN_S:
            reason = (
                f"{unsaved:,} changes of the index are not on disk, the last save was "
                f"{span(age)} ago: a restart reads them again from the store."
            )
            return Reading(DEGRADED, reason, value, "memories", facts)
        how = f", index {search['state']}" if search.get("state") else ""
        return Reading(
            OK, f"{count if count is not None else 'No'} memories{how}.", value, "memories", facts
        )


class Embedder:
    """What turns texts into vectors: that of the settings, and that of the store, are one."""

    name, title, timeout_s = "embedder", "Embedder", 0.0

    def measure(self, moment: Moment) -> Reading | None:
        try:
            health = moment.daemon()
        except NoAnswerError:
            return _asleep(moment)
        index = _part(health, "index")
        used, wanted = str(health.get("embedder") or ""), moment.plan.embedder
        facts = {"embedder": used, "dimension": index.get("dimension")}
        dimension = index.get("dimension")
        value = float(dimension) if isinstance(dimension, int) else None
        if _part(health, "store").get("state") != "ready":
            return Reading(UNKNOWN, "Not known before the store is open.", None, "", facts)
        engine = index.get("embedder_engine")
        note = str(engine.get("note") or "") if isinstance(engine, dict) else ""
        if isinstance(engine, dict):
            facts |= {f"engine_{k}": v for k, v in engine.items() if _plain(v)}
        if wanted and used and wanted not in used and used not in wanted:
            reason = (
                f"The daemon embeds with {used}, the settings say {wanted}: run `aiki daemon "
                "stop`, the next message starts it anew."
            )
            return Reading(DEGRADED, reason, value, "dimensions", facts)
        if note:
            return Reading(DEGRADED, f"{used}: {note}", value, "dimensions", facts)
        return Reading(OK, f"{used}.", value, "dimensions", facts)


class Qdrant:
    """The Qdrant server of ``memory.url``: answers, takes our key, has the collection."""

    name, title, timeout_s = "qdrant", "Qdrant server", 0.0

    def measure(self, moment: Moment) -> Reading:
        plan = moment.plan
        url, variable = plan.qdrant_url.rstrip("/"), plan.qdrant_key_variable
        secret = key(plan, variable)
        headers = {"api-key": secret} if secret else {}
        try:
            answer = ask(
                f"{url}/collections/{plan.collection}",
                headers=headers,
                timeout=moment.patience,
                ca_file=plan.ca_file,
            )
        except NoAnswerError as error:
            what = {
                "refused": "refuses connections",
                "silent": f"does not answer within {moment.patience:.1f} s",
            }.get(error.cause, f"cannot be reached ({error})")
            return Reading(
                DOWN,
                (
                    f"The Qdrant server {url} {what}: start it, or correct memory.url. Turns "
                    "wait in the spool."
                ),
            )
        if answer.status in (401, 403):
            return Reading(
                DOWN,
                f"The Qdrant server {url} refuses the key ({answer.status}): correct {variable}.",
            )
        if answer.status == 404:
            return Reading(
                OK, f"{url} answers; the collection {plan.collection} comes with the first memory."
            )
        if answer.status != 200:
            return Reading(
                DOWN, f"The Qdrant server {url} answers with status {answer.status}: see its log."
            )
        try:
            result = json.loads(answer.body)["result"]
            status, points = str(result["status"]), result.get("points_count")
        except (ValueError, KeyError, TypeError):
            return Reading(DEGRADED, f"{url} answers, but not as Qdrant does: correct memory.url.")
        facts = {"status": status, "points": points}
        value = float(points) if isinstance(points, int) else None
        if status == "red":
            return Reading(
                DOWN,
                f"The collection {plan.collection} is red: see the server's log.",
                value,
                "points",
                facts,
            )
        return Reading(
            OK, f"{url}: collection {plan.collection} is {status}.", value, "points", facts
        )


def _silent(moment: Moment, error: NoAnswerError) -> Reading:
    """Why nobody answers on the socket. A daemon that nobody needed yet is no fault."""
    log = f"see {_short(moment.plan.home)}/log/daemon.log"
    if error.cause == "absent":
        if moment.daemon_lives():
            return Reading(
                DOWN,
                (
                    "The memory daemon runs, but its socket is gone: run `aiki daemon stop`, "
                    "the next message starts it anew."
                ),
            )
        return Reading(OK, "Not running: the next message starts it.")
    if error.cause == "refused" and not moment.daemon_lives():
        return Reading(
            DOWN,
            (
                "The memory daemon was killed: the next message, or `aiki daemon start`, "
                f"starts it again; {log}."
            ),
        )
    if error.cause == "refused":
        return Reading(
            DOWN, f"The memory daemon refuses connections: run `aiki daemon stop`; {log}."
        )
    if error.cause == "silent" and moment.daemon_age_s() < _STARTS_WITHIN_S:
        return Reading(UNKNOWN, "The memory daemon is starting: wait a moment.")
    if error.cause == "silent":
        return Reading(
            DOWN,
            (
                f"The memory daemon does not answer within {moment.patience:.1f} s: wait, or "
                f"run `aiki daemon stop`; {log}."
            ),
        )
    return Reading(DOWN, f"The memory daemon fails ({error}): {log}.")


def queue_told(queue: Mapping[str, Any]) -> str:
    """Waiting by session, the oldest wait, what was refused; an older daemon tells less."""
    told = [f"{queue.get('running', 0)} of {queue.get('parallel', 1)} run"]
    by = ", ".join(f"{name} {count}" for name, count in _part(queue, "sessions").items())
    told.append(
        f"{queue.get('waiting', 0)} of {queue.get('limit')} wait" + (f" ({by})" if by else "")
    )
    if queue.get("oldest_wait_s"):
        told.append(f"the oldest for {queue['oldest_wait_s']:.1f} s")
    curation = _part(_part(queue, "by_priority"), "curation")
    if any(curation.values()):
        told.append(f"curation: {curation['running']} run, {curation['waiting']} wait")
    told.append(f"{queue.get('served', 0)} served, {queue.get('refused', 0)} refused")
    if queue.get("preempted"):
        told.append(f"curation made room {queue['preempted']} times")
    return "; ".join(told)


def _asleep(moment: Moment) -> Reading:
    if moment.plan.daemon == "off" or (
        not Path(moment.plan.socket).exists() and not moment.daemon_lives()
    ):
        return Reading(OK, "Known when the memory daemon runs.")
    return Reading(UNKNOWN, "Not known while the memory daemon does not answer.")


def _judge(health: Mapping[str, Any], ours: str) -> tuple[str, str]:
    store = _part(health, "store")
    version, up = str(health.get("version", "")), float(health.get("uptime_s") or 0.0)
    state = store.get("state")
    if state == "away":
        cause = str(store.get("error") or "no reason given").rstrip(".")
        return DOWN, f"The memory does not open ({cause}). Turns wait in the spool."
    if state == "opening" and up > _OPENS_WITHIN_S:
        return DEGRADED, f"The memory has been opening for {span(up)}: see the daemon's log."
    if ours and version and version != ours:
        return (
            DEGRADED,
            (
                f"The memory daemon is of version {version}, this is {ours}: run `aiki daemon "
                "stop`, the next message starts the new one."
            ),
        )
    if health.get("status") == "stopping":
        return DEGRADED, "The memory daemon is stopping: the next message starts it again."
    return OK, f"Up for {span(up)}, version {version}."


def _facts(health: Mapping[str, Any]) -> dict[str, Any]:
    pid = health.get("pid")
    return {
        "pid": pid,
        "version": health.get("version"),
        "uptime_s": health.get("uptime_s"),
        "answered_in_s": round(float(health.get("answered_in_s", 0.0)), 4),
        "store": _part(health, "store").get("state"),
        "resident_bytes": resident(pid) if isinstance(pid, int) else None,
        "backend": _part(health, "index").get("backend"),
    }


def resident(pid: int) -> int | None:
    """Bytes of memory that a process has; None where that cannot be seen."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = data.get(name)
    return part if isinstance(part, dict) else {}


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _short(path: str) -> str:
    """``path`` from one's own home on, as a shell takes it: what is told is kept in notebooks."""
    home = os.path.expanduser("~")  # noqa: PTH111 - never raises
    return "~" + path[len(home) :] if path.startswith(home + "/") else path
