"""``aiki memory``, the long work: import, export, reembed, snapshot, restore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands import tomlfile
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.confirm import confirmed
from aiki_kernel.commands.progress import Step, progress
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import plain
from aiki_kernel.errors import UsageError

if TYPE_CHECKING:
    from aiki_kernel.memory.records import ImportReport, Scope

_SHOWN = 10

User = Annotated[str, Arg("whose memories (default: memory.user_id)")]


@command("memory import")
def import_(
    context: Context,
    source: Annotated[
        str, Arg("JSONL, a folder of JSON files, or a mem0 collection: a folder or an address")
    ],
    user: User = "",
) -> Result:
    """Import memories; what is there already is not doubled."""
    if "://" not in source:
        path = Path(source).expanduser().absolute()
        if not path.exists():
            raise UsageError(f"There is no {path}.")
        source = str(path)
    with progress(context, "Importing") as step:
        report = context.aiki.run(_import(context, source, _scope(context, user), step))
    failed = [{"source": where, "reason": why} for where, why in report.failed]
    data = {"added": report.added, "skipped": report.skipped, "failed": failed}
    lines = [f"Imported {report.added}; {report.skipped} were there already."]
    if failed:
        lines += [f"{len(failed)} could not be read:"]
        lines += [f"  {one['source']}: {one['reason']}" for one in failed[:_SHOWN]]
    if len(failed) > _SHOWN:
        lines.append("  ... (--json names them all)")
    # Nothing taken in while something was refused is a failure; a few bad lines are not.
    status = 1 if failed and not report.added and not report.skipped else 0
    return Result(data, plain("\n".join(lines)), status=status)


async def _import(context: Context, source: str, scope: Scope, step: Step) -> ImportReport:
    return await context.aiki.connection.admin.import_(source, scope, progress=step)


@command("memory export")
def export(
    context: Context,
    file: Annotated[
        Path | None, Arg("where to write it (default: standard output)", positional=True)
    ] = None,
    user: User = "",
    yes: Annotated[bool, Arg("overwrite a file that is there", short="-y")] = False,
) -> Result:
    """Export every memory as JSONL, which imports back to the same memories."""
    target = file.expanduser().absolute() if file is not None else None
    if target is not None and target.exists() and not yes:
        raise UsageError(f"{target} is there already: choose another name or say --yes.")
    with progress(context, "Exporting") as step:
        items = context.aiki.run(_export(context, _scope(context, user), step))
    text = "".join(json.dumps(item, ensure_ascii=False, default=str) + "\n" for item in items)
    if target is None:
        return Result(items, text.rstrip("\n"))
    tomlfile.write(target, text)
    return Result(
        {"file": str(target), "memories": len(items)}, f"Exported {len(items)} to {target}."
    )


async def _export(context: Context, scope: Scope, step: Step) -> list[dict[str, Any]]:
    items = []
    async for item in context.aiki.connection.admin.export(scope):
        items.append(item)
        if len(items) % 1000 == 0:
            step(len(items), 0)
    return items


@command("memory reembed")
def reembed(context: Context) -> Result:
    """Compute every vector anew with the embedder of the settings (after it was changed)."""
    with progress(context, "Embedding") as step:
        done = context.aiki.run(_reembed(context, step))
    name = context.settings.memory.embedder
    return Result({"embedder": name, "memories": done}, f"{done} memories now use {name}.")


async def _reembed(context: Context, step: Step) -> Any:
    return await context.aiki.connection.admin.reembed(step)


@command("memory snapshot")
def snapshot(
    context: Context, target: Annotated[Path, Arg("the file or folder to write it to")]
) -> Result:
    """Write the whole store to one place, from which `memory restore` brings it back."""
    place = target.expanduser().absolute()
    if place.is_file():
        raise UsageError(f"{place} is there already: choose another name.")
    written = context.aiki.run(_snapshot(context, place))
    return Result({"snapshot": str(written)}, f"Snapshot written to {written}.")


async def _snapshot(context: Context, target: Path) -> Any:
    return await context.aiki.connection.admin.snapshot(target)


@command("memory restore")
def restore(
    context: Context,
    source: Annotated[Path, Arg("a snapshot")],
    yes: Annotated[bool, Arg("do not ask", short="-y")] = False,
) -> Result:
    """Put a snapshot in the place of everything that is remembered now."""
    place = source.expanduser().absolute()
    if not place.exists():
        raise UsageError(f"There is no {place}.")
    if not confirmed(context, f"Replace all memories of {context.paths.home} by {place}?", yes):
        text = f"This would replace all memories by {place}; say --yes to do it."
        return Result({"restored": None, "would_restore": str(place)}, text)
    count = context.aiki.run(_restore(context, place))
    data = {"restored": str(place), "memories": count}
    return Result(data, f"Restored {count} memories from {place}.")


async def _restore(context: Context, source: Path) -> Any:
    return await context.aiki.connection.admin.restore(source)


def _scope(context: Context, user: str) -> Scope:
    from aiki_kernel.memory.records import Scope

    return Scope(user or context.settings.memory.user_id)
