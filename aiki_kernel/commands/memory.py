"""``aiki memory``: what is remembered, and everything that can be done to it.

Questions stand in ``memory_ask.py``, a reply's memories in ``memory_why.py``, forgetting in
``memory_forget.py``, long work (import, export, re-embedding, snapshots) in
``memory_moves.py``, the audit log in ``memory_audit.py``, sensors in ``memory_sensor.py``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands import memory_ask as memory_ask
from aiki_kernel.commands import memory_audit as memory_audit
from aiki_kernel.commands import memory_browse as memory_browse
from aiki_kernel.commands import memory_curation as memory_curation
from aiki_kernel.commands import memory_forget as memory_forget
from aiki_kernel.commands import memory_moves as memory_moves
from aiki_kernel.commands import memory_sensor as memory_sensor
from aiki_kernel.commands import memory_why as memory_why
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.memory_door import (
    Id,
    Limit,
    User,
    call,
    positive,
    row,
    scope,
    whole_id,
)
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, one_line, pairs, plain, when
from aiki_kernel.errors import UsageError

if TYPE_CHECKING:
    from aiki_kernel.memory.records import Hit, Record


@command("memory add")
def add(
    context: Context,
    text: Annotated[str, Arg("what to remember; - reads standard input", rest=True)],
    kind: Annotated[str, Arg("fact, preference, note, ...")] = "fact",
    meta: Annotated[tuple[str, ...], Arg("key=value kept beside it; may be repeated")] = (),
    user: User = "",
) -> Result:
    """Remember a text."""
    if text == "-" and context.face == "cli":
        text = sys.stdin.read().strip()
    if not text.strip():
        raise UsageError("There is nothing to remember: give a text.")
    metadata = dict(_pair(item) for item in meta)
    record: Record = call(
        context, lambda m: m.add(text, scope(context, user), kind=kind, metadata=metadata)
    )
    return Result(record.to_json(), f"Remembered as {record.id}.")


@command("memory search")
def search(
    context: Context,
    query: Annotated[str, Arg("what to look for", rest=True)],
    limit: Limit = 8,
    user: User = "",
) -> Result:
    """Find memories by meaning and by word, best first."""
    positive(limit)
    found = call(context, lambda m: m.search(query, scope(context, user), limit, context.backend))
    data = {
        "query": query,
        "hits": [hit.to_json() for hit in found.hits],
        "seconds": dict(found.seconds),
        "backend": found.backend.to_json(),
        "note": found.note,
    }
    if not found.hits:
        return Result(data, found.note or "Nothing like that is remembered.")
    table = Table(
        [
            Column("score", right=True),
            Column("id", whole=True),
            Column("when", whole=True),
            "what",
            "text",
        ],
        [_hit_row(hit) for hit in found.hits],
    )
    note = f"\n{found.note}" if found.note else ""
    return Result(data, table.text(context) + note, table.html())


@command("memory list")
def list_(
    context: Context,
    limit: Limit = 20,
    offset: Annotated[int, Arg("how many of the newest to pass over")] = 0,
    kind: Annotated[str, Arg("only this kind: message, fact, ...")] = "",
    user: User = "",
) -> Result:
    """List memories, newest first."""
    positive(limit)
    if offset < 0:
        raise UsageError("--offset cannot be below 0.")
    found: list[Record] = call(
        context,
        lambda m: m.list(scope(context, user), limit=limit, offset=offset, kind=kind or None),
    )
    data = {"memories": [record.to_json() for record in found], "limit": limit, "offset": offset}
    if not found:
        return Result(data, "Nothing is remembered yet." if not offset else "No more memories.")
    table = Table(
        [Column("id", whole=True), Column("when", whole=True), "what", "text"],
        [row(record) for record in found],
    )
    return Result(data, table.text(context), table.html())


@command("memory show")
def show(context: Context, id: Id) -> Result:
    """Show one memory with everything that is kept beside it."""
    whole = whole_id(context, id)
    record: Record = call(context, lambda m: m.get(whole))
    data = record.to_json()
    beside = {k: v for k, v in data.items() if v not in (None, "", {}) and k != "data"}
    flat = [(name, _flat(value)) for name, value in beside.items()]
    table = pairs([*flat, ("text", record.data)])
    text = "\n".join(f"{name:<12} {value}" for name, value in flat)
    return Result(data, f"{plain(text)}\n\n{plain(record.data)}", table.html())


@command("memory update")
def update(
    context: Context, id: Id, text: Annotated[str, Arg("the new text", rest=True)]
) -> Result:
    """Replace the text of a memory; the old one stays in its history."""
    if not text.strip():
        raise UsageError("A memory cannot be empty: use `memory forget`.")
    whole = whole_id(context, id)
    record: Record = call(context, lambda m: m.update(whole, text))
    return Result(record.to_json(), f"Updated {record.id}.")


@command("memory history")
def history(context: Context, id: Id) -> Result:
    """Show what happened to a memory: what, when, by whom and why; old and new text."""
    whole = whole_id(context, id)
    rows: list[dict[str, Any]] = call(context, lambda m: m.history(whole))
    if not rows:
        return Result([], "No history is kept of that memory.")
    table = Table(
        ["event", Column("when", whole=True), "by", "why", "old text", "new text"],
        [
            (
                one["event"],
                when(one["updated_at"] or ""),
                one["actor_id"],
                one["reason"],
                one_line(one["old_memory"] or "", 120),
                one_line(one["new_memory"] or "", 120),
            )
            for one in rows
        ],
    )
    return Result(rows, table.text(context), table.html())


@command("memory stats")
def stats(context: Context) -> Result:
    """Show how much is remembered, where, and with which embedder."""
    found: dict[str, Any] = call(context, lambda m: m.stats())
    table = pairs([(name, _flat(value)) for name, value in found.items()])
    text = "\n".join(f"{name:<18} {plain(_flat(value))}" for name, value in found.items())
    return Result(found, text, table.html())


def _hit_row(hit: Hit) -> list[Any]:
    return [f"{hit.score:.2f}", *row(hit.record)]


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_flat(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_flat(inner) for inner in value)
    return str(value)


def _pair(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals or not name:
        raise UsageError(f"--meta wants key=value, not {item!r}.")
    return name, value
