"""``aiki memory audit``: the log of what was done, and whether anybody changed it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, one_line, plain, when
from aiki_kernel.errors import AikiError, StoreError, UsageError

if TYPE_CHECKING:
    from aiki_kernel.memory.records import Record

_LIMIT = 20


ACTIONS = ("release", "quarantine", "undo", "screen")


def _actions(context: Context, prefix: str) -> Iterable[str]:
    return ACTIONS


def _ids(context: Context, prefix: str) -> Iterable[str]:
    from aiki_kernel.commands.memory_door import ids

    return ids(context, prefix)


@command("memory audit")
def audit(
    context: Context,
    action: Annotated[
        str, Arg("release, quarantine, undo or screen", complete=_actions, positional=True)
    ] = "",
    ids: Annotated[
        tuple[str, ...],
        Arg("memories that it is done to", metavar="ID", complete=_ids, positional=True),
    ] = (),
    reason: Annotated[str, Arg("why, for the memory's history")] = "",
    verify: Annotated[bool, Arg("follow the whole chain; fails where it is broken")] = False,
    expect: Annotated[str, Arg("with --verify: a head noted earlier that has to be there")] = "",
    limit: Annotated[int, Arg("how many of the newest events", short="-k")] = _LIMIT,
    event: Annotated[str, Arg("only events that begin so: model, memory, config, ...")] = "",
) -> Result:
    """Show what is in quarantine and the newest events, or check that no line was changed.

    A memory in quarantine is kept and not recalled. `release ID` lets it be recalled again,
    `quarantine ID` takes one out of recall, `undo ID` takes back a memory's last quarantine,
    release or update; `screen` looks through what older versions imported. The log holds
    ids, counts and names, never a text or a key.
    """
    if action:
        return _done(context, action, ids, reason)
    from aiki_kernel.safety.audit import audit_of

    if limit < 1:
        raise UsageError("--limit must be at least 1.")
    log = audit_of(context.paths.home)
    try:
        if verify or expect:
            return _verified(log.verify(expect=expect).to_json(), str(log.path))
        events = log.recent(limit, event=event)
    except OSError as error:
        raise StoreError(f"{log.path} cannot be read ({error.strerror}).") from None
    held: list[Record] = []
    note = ""
    if not event:
        try:
            held = _call(context, lambda memory, scope: memory.held(scope, limit))
        except AikiError as error:  # the log can be read all the same
            note = f"What is in quarantine cannot be seen: {error}"
    data = {"quarantined": [r.to_json() for r in held], "events": events, "note": note}
    parts = [part for part in (_held_table(held), _event_table(events)) if part is not None]
    if not parts:
        return Result(data, note or "Nothing is in quarantine, and nothing in the audit log.")
    text = "\n\n".join([*(part.text(context) for part in parts), *([note] if note else [])])
    return Result(data, text, "".join(part.html() for part in parts))


def _done(context: Context, action: str, ids: tuple[str, ...], reason: str) -> Result:
    from aiki_kernel.commands.memory_door import whole_id

    if action not in ACTIONS:
        raise UsageError(f"`memory audit` knows {', '.join(ACTIONS)}, not {action!r}.")
    if action == "screen":
        found = _call(context, lambda memory, scope: memory.screen(scope))
        text = f"Looked at {found['seen']} memories of low trust; {found['held']} are held now."
        return Result({"action": action, **found}, text)
    if not ids:
        raise UsageError(f"Which memory? `memory audit {action} ID`.")
    records, lines = [], []
    for id in [whole_id(context, one) for one in ids]:
        if action == "undo":
            record, done = _call(context, lambda memory, scope, id=id: memory.revert(id, scope))
            line = f"Took back the {done.lower()} of {record.id}."
        elif action == "release":
            record = _call(context, lambda memory, scope, id=id: memory.release(id, scope, reason))
            line = f"{record.id} is recalled again."
        else:
            record = _call(
                context, lambda memory, scope, id=id: memory.quarantine(id, scope, reason)
            )
            line = f"{record.id} is in quarantine: it is kept and not recalled."
        records.append(record.to_json())
        lines.append(line)
    return Result({"action": action, "memories": records}, "\n".join(lines))


def _call(context: Context, work: Callable[..., Awaitable[Any]]) -> Any:
    from aiki_kernel.memory.records import Scope

    async def run() -> Any:
        scope = Scope(context.settings.memory.user_id)
        return await work(context.aiki.connection.admin, scope)

    return context.aiki.run(run())


def _held_table(held: list[Record]) -> Table | None:
    if not held:
        return None
    rows = []
    for record in held:
        why = record.metadata.get("quarantine") or {}
        told = f"{why.get('reason', '')} ({why.get('by', '')})" if isinstance(why, Mapping) else ""
        rows.append([record.id[:8], record.trust, plain(told), one_line(record.data, 200)])
    return Table([Column("id", whole=True), "trust", "why", "text"], rows, title="In quarantine")


def _event_table(events: list[dict[str, Any]]) -> Table | None:
    if not events:
        return None
    return Table(
        [
            Column("no.", right=True),
            Column("when", whole=True),
            Column("event", whole=True),
            "what",
        ],
        [(e["seq"], when(e["at"]), plain(e["event"]), _told(e["facts"])) for e in events],
        title="Newest events",
    )


def _verified(data: dict[str, Any], path: str) -> Result:
    notes = [f"Note: {note}" for note in data["notes"]]
    if data["whole"]:
        head = f"{data['lines']} lines in {data['files']} files follow from each other."
        text = [head, f"Head: {data['head']}", *notes]
        return Result({**data, "path": path}, plain("\n".join(text)))
    lines = [f"{one['file']} line {one['line']} {one['problem']}." for one in data["faults"]]
    text = ["The audit log was changed, or lines of it are gone:", *lines, *notes]
    return Result({**data, "path": path}, plain("\n".join(text)), status=1)


def _told(facts: Mapping[str, Any]) -> str:
    return one_line(", ".join(f"{name}={_flat(value)}" for name, value in facts.items()), 300)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}:{_flat(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        short = [str(item)[:8] if len(str(item)) == 36 else str(item) for item in value]
        return " ".join(short)
    return str(value)
