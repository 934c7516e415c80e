"""``aiki memory audit``: the log of what was done, and whether anybody changed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, one_line, plain, when
from aiki_kernel.errors import StoreError, UsageError

_LIMIT = 20


@command("memory audit")
def audit(
    context: Context,
    verify: Annotated[bool, Arg("follow the whole chain; fails where it is broken")] = False,
    expect: Annotated[str, Arg("with --verify: a head noted earlier that has to be there")] = "",
    limit: Annotated[int, Arg("how many of the newest events", short="-k")] = _LIMIT,
    event: Annotated[str, Arg("only events that begin so: model, memory, config, ...")] = "",
) -> Result:
    """Show the newest events of the audit log, or check that no line of it was changed.

    The log holds ids, counts and names, never a text or a key.
    """
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
    if not events:
        return Result({"events": []}, "Nothing of that kind is in the audit log.")
    table = Table(
        [
            Column("no.", right=True),
            Column("when", whole=True),
            Column("event", whole=True),
            "what",
        ],
        [(e["seq"], when(e["at"]), plain(e["event"]), _told(e["facts"])) for e in events],
    )
    return Result({"events": events}, table.text(context), table.html())


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
