"""``aiki memory forget``, ``forgotten`` and ``undo``: shown first, asked, kept in the history."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.confirm import confirmed
from aiki_kernel.commands.memory_door import (
    SHORT,
    Limit,
    User,
    Yes,
    call,
    ids,
    positive,
    scope,
    whole_id,
)
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, one_line, when
from aiki_kernel.errors import UsageError

if TYPE_CHECKING:
    from aiki_kernel.memory.asking.question import Asked, Vocabulary
    from aiki_kernel.memory.records import Record

_SHOWN = 10


def buried(context: Context, prefix: str) -> Iterable[str]:
    """Ids of what was forgotten, for Tab. A daemon is asked, never started."""
    if not context.started and not context.paths.socket.exists():
        return ()
    return [row["id"] for row in call(context, lambda m: m.forgotten(scope(context), 200))]


Given = Annotated[
    tuple[str, ...], Arg("ids, or how they begin", metavar="ID", complete=ids, positional=True)
]
Buried = Annotated[
    tuple[str, ...], Arg("ids, or how they begin", metavar="ID", complete=buried, positional=True)
]


@command("memory forget")
def forget(
    context: Context,
    ids: Given = (),
    query: Annotated[str, Arg("what it is about; its time, people, kinds and tags count")] = "",
    since: Annotated[str, Arg("from when: yesterday, 'last week', 2026-03-01, 7d")] = "",
    until: Annotated[str, Arg("until when, in the same words; its end is included")] = "",
    reason: Annotated[str, Arg("why; the history keeps it")] = "",
    yes: Yes = False,
    limit: Annotated[int, Arg("how many at most for the words of a query", short="-k")] = 20,
    user: User = "",
) -> Result:
    """Forget memories: by id, by what they are about, or of a period.

    It shows what it would do and asks; in a notebook it wants --yes. A period alone means
    all of its memories. `memory undo` brings them back.
    """
    positive(limit)
    asked = None
    if query or since or until:
        if ids:
            raise UsageError("Give either ids, or --query, --since and --until.")
        asked = _understood(context, query, since, until, user)
        if not asked.query and not asked.parts:
            raise UsageError("That would be everything: say what it is about, or since when.")
        found = call(context, lambda m: m.choose(asked, scope(context, user), limit))
        chosen, shown, total = found["ids"], _lines(found["examples"]), len(found["ids"])
        kinds = dict(found["kinds"])
    elif ids:
        chosen = [whole_id(context, id) for id in ids]
        records: list[Record] = [
            call(context, lambda m, id=id: m.get(id, scope(context, user)))  # type: ignore[misc]
            for id in chosen
        ]
        shown, total = _lines([record.to_json() for record in records]), len(records)
        kinds = {}
    else:
        raise UsageError("Say what to forget: an id, --query, or --since and --until.")
    data: dict[str, Any] = {"asked": asked.to_json() if asked else None, "reason": reason}
    meant = (
        f" ({'; '.join(f'{p.name}: {p.meaning}' for p in asked.parts)})"
        if asked and asked.parts
        else ""
    )
    if not total:
        text = f"No memory fits{meant}: nothing to forget."
        return Result(data | {"forgotten": [], "would_forget": []}, text)
    what = "this memory" if total == 1 else f"these {total:,} memories"
    lines = shown[:_SHOWN]
    if total > len(lines):
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        lines.append(
            f"... and {total - len(lines):,} more" + (f" ({counted} in all)" if counted else "")
        )
    if not confirmed(context, "\n".join([f"Forget {what}{meant}?", *lines]), yes):
        text = "\n".join([f"This would forget {what}{meant}; say --yes to do it.", *lines])
        return Result(data | {"forgotten": [], "would_forget": chosen}, text)
    done = call(context, lambda m: m.forget_many(chosen, scope(context, user), reason=reason))
    text = f"Forgot {what}{meant}. `memory undo` brings {'it' if total == 1 else 'them'} back."
    if done != total:
        text += f" {total - done} had gone meanwhile."
    return Result(data | {"forgotten": chosen, "count": done}, text)


@command("memory forgotten")
def forgotten(context: Context, limit: Limit = 20, user: User = "") -> Result:
    """List what was forgotten and can be brought back: when, by whom and why."""
    positive(limit)
    rows: list[dict[str, Any]] = call(context, lambda m: m.forgotten(scope(context, user), limit))
    if not rows:
        return Result([], "Nothing was forgotten.")
    table = Table(
        [Column("id", whole=True), Column("forgotten", whole=True), "by", "why", "text"],
        [
            (
                row["id"][:SHORT],
                when(row["at"]),
                row["actor"],
                str(row["reason"]).partition(": ")[2],
                one_line(row["text"], 200),
            )
            for row in rows
        ],
    )
    return Result(rows, table.text(context), table.html())


@command("memory undo")
def undo(context: Context, ids: Buried = (), user: User = "") -> Result:
    """Bring forgotten memories back as they were; without ids, those of the last forgetting."""
    records: list[Record] = call(context, lambda m: m.undo(ids, scope(context, user)))
    what = "this memory" if len(records) == 1 else f"these {len(records):,} memories"
    lines = _lines([record.to_json() for record in records[:_SHOWN]])
    if len(records) > _SHOWN:
        lines.append(f"... and {len(records) - _SHOWN:,} more")
    data = {"restored": [record.id for record in records]}
    return Result(data, "\n".join([f"Brought {what} back:", *lines]))


def _understood(context: Context, query: str, since: str, until: str, user: str) -> Asked:
    from aiki_kernel.memory.asking.period import bound
    from aiki_kernel.memory.asking.question import time_part, understand

    now = datetime.now().astimezone()
    known: Vocabulary = call(context, lambda m: m.vocabulary(scope(context, user)))
    asked = understand(query, known, now)
    if since or until:
        first = bound(since, now) if since else None
        last = bound(until, now, end=True) if until else None
        if first and last and first > last:
            raise UsageError("--since is later than --until.")
        asked = asked.adding(time_part(first, last, f"{since} {until}".strip(), now, "option"))
    return asked


def _meant(asked: Asked) -> str:
    """What the filters of a question are, and what of it could not be made one."""
    parts = [f"{part.name}: {part.meaning}" for part in asked.parts]
    return f" ({'; '.join([*parts, *asked.notes])})" if parts or asked.notes else ""


def _lines(records: list[dict[str, Any]]) -> list[str]:
    return [
        f"{record['id'][:SHORT]}  {when(record['created_at'])}  {one_line(record['data'], 90)}"
        for record in records
    ]
