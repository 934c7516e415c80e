"""``/memory/screen``, ``held``, ``quarantine``, ``release`` and ``revert``."""

from __future__ import annotations

from typing import Any

from aiki_kernel.daemon.engine import Engine
from aiki_kernel.daemon.exchange import take
from aiki_kernel.memory import quarantine
from aiki_kernel.memory.records import Scope
from aiki_kernel.memory.store import Where

Body = dict[str, Any]


def held(engine: Engine, body: Body, scope: Scope, limit: int) -> Any:
    """Memories in quarantine, newest first."""
    where = Where(user_id=scope.user_id, agent_id=scope.agent_id, run_id=scope.run_id)
    found = quarantine.held(engine.memory.collection, where, limit)
    return {"records": [record.to_json() for record in found]}


def screen(engine: Engine, body: Body, scope: Scope) -> Any:
    """Look at all memories of low trust; how many were seen and held."""
    where = Where(user_id=scope.user_id)
    seen, count = quarantine.screen_all(engine.memory.collection, where)
    return {"seen": seen, "held": count}


def change(engine: Engine, body: Body, scope: Scope, action: str) -> Any:
    """Hold, release or revert one memory; what it is now and what was done."""
    record = engine.memory.get(take(body, "id", str), scope)
    collection, reason = engine.memory.collection, take(body, "reason", str, "")
    done = action
    if action == "quarantine":
        record = quarantine.hold(collection, record, by=scope.user_id, reason=reason)
    elif action == "release":
        record = quarantine.release(collection, record, by=scope.user_id, reason=reason)
    else:
        record, done = quarantine.undo(collection, record, by=scope.user_id)
    return {"record": record.to_json(), "done": done}
