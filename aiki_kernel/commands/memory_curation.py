"""``aiki memory status`` and ``aiki memory curate``: how the memory is kept clean."""

from __future__ import annotations

from typing import Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.memory_door import call
from aiki_kernel.commands.progress import progress
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import pairs, plain


@command("memory status")
def status(context: Context) -> Result:
    """Show how much is remembered, what awaits curation, and what was turned away and why."""
    counts = call(context, lambda memory: memory.stats())
    found = call(context, lambda memory: memory.curation())
    data = {"memories": counts["memories"], "kinds": counts["kinds"], "curation": found}
    return _shown(data)


@command("memory curate")
def curate(
    context: Context,
    again: Annotated[
        bool, Arg("also what was there before curation, or is curated by old rules")
    ] = False,
) -> Result:
    """Curate now all that waits, instead of when nobody writes.

    Nothing is lost: what is turned away stays in its history, and `memory undo` brings it back.
    """
    with progress(context, "Curating") as step:
        call(context, lambda memory: memory.curate(again=again, progress=step))
    return status(context)


def _shown(data: dict[str, Any]) -> Result:
    found = data["curation"]
    done = found.get("done", {})
    kinds = ", ".join(f"{count} {kind}" for kind, count in data["kinds"].items())
    rows = {
        "memories": f"{data['memories']:,}" + (f" ({kinds})" if kinds else ""),
        "curation": found["state"] if found["enabled"] else "off (memory.curate = false)",
        "described by": found["model"],
        "waiting": f"{found.get('waiting', 0):,}",
        "curated": f"{done.get('kept', 0):,} kept, {done.get('merged', 0):,} merged, "
        f"{done.get('ended', 0):,} ended, {done.get('described', 0):,} read by a model",
        "turned away": ", ".join(
            f"{count} {reason}" for reason, count in found.get("turned_away", {}).items()
        )
        or "nothing",
        "note": found.get("error", ""),
    }
    table = pairs([(name, value) for name, value in rows.items() if value])
    text = "\n".join(f"{name:<13} {plain(value)}" for name, value in rows.items() if value)
    return Result(data, text, table.html())
