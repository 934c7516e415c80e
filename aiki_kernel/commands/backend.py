"""``aiki backend``: what searches the memory's vectors, what it costs, and choosing another."""

from __future__ import annotations

from html import escape
from typing import Annotated, Any, Literal

from aiki_kernel.commands import tomlfile
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import UsageError

Name = Literal["auto", "numpy", "mojo", "mojo-server", "qdrant"]
_BAR = "#8b6df0"


@command("backend")
def backend(
    context: Context,
    name: Annotated[
        Name | None, Arg("the backend that searches from now on", positional=True)
    ] = None,
    compare: Annotated[
        str, Arg("run all backends on this question against the real memory", metavar="QUESTION")
    ] = "",
    save: Annotated[bool, Arg("write the choice to aiki.toml, for every new session")] = False,
) -> Result:
    """Show what searches the memory's vectors, compare backends, or choose one.

    A model on this machine follows the choice: numpy computes it plainly and slowly, mojo fast.

    In a notebook or chat the choice counts for this session; elsewhere it is written to
    aiki.toml. auto takes the fastest that is here, and says why.
    """
    if compare and (name or save):
        raise UsageError("--compare runs all backends: leave out the name and --save.")
    if compare:
        return _compared(context, compare)
    if name is None:
        if save:
            raise UsageError("--save wants the name of a backend: auto is one.")
        return _listed(context)
    return _switched(context, name, save)


def _listed(context: Context) -> Result:
    wanted = context.backend
    data = _offered(context, wanted)
    data["chosen_by"] = _source(context)
    now, rows = data["chosen"], []
    for one in data["backends"]:
        state = one["reason"] if one["available"] else f"not here: {one['reason']}"
        if one["failed"]:
            state += f"; failed at {one['failed']}"
        rows.append(
            (
                "*" if one["name"] == now["name"] else "",
                one["name"],
                "yes" if one["available"] else "no",
                state,
                _ms(one["last_ms"]),
            )
        )
    head = f"{now['name']} searches {data['memories']:,} memories: {_why(data)}."
    table = Table(
        [
            "",
            Column("backend", whole=True),
            "available",
            "how, or why not",
            Column("last", right=True, whole=True),
        ],
        rows,
    )
    return Result(data, f"{head}\n\n{table.text(context)}", _html(head, table.html()))


def _switched(context: Context, name: str, save: bool) -> Result:
    data = _offered(context, name)
    rows = {row["name"]: row for row in data["backends"]}
    if name in rows and not rows[name]["available"]:
        others = ", ".join(row["name"] for row in data["backends"] if row["available"])
        raise UsageError(
            f"{name} is not to be had here ({rows[name]['reason']}): there is {others}."
        )
    done = []
    if context.conversation is not None:
        context.conversation.backend = name
        done.append("in this session")
    if save or context.conversation is None:
        path = context.paths.toml
        document = tomlfile.read(path)
        tomlfile.put(document, "compute.backend", name)
        tomlfile.write(path, document.as_string())
        done.append(f"in new sessions ({path})")
    now = data["chosen"]
    text = f"{now['name']} searches from now on {' and '.join(done)}: {_why(data)}."
    if name != "qdrant":
        follows = "with NumPy, slowly" if name == "numpy" else "with Mojo where it is here"
        text += f" A local model computes {follows}."
    if not save and context.conversation is not None:
        text += f" `%aiki_backend {name} --save` makes it so everywhere."
    saved = save or context.conversation is None
    return Result({**data, "counts": done}, text + (_overruled() if saved else ""))


def _compared(context: Context, question: str) -> Result:
    from aiki_kernel.memory.records import Scope

    async def run() -> dict[str, Any]:
        scope = Scope(context.settings.memory.user_id)
        return await context.aiki.connection.admin.compare(question, scope)

    data = context.aiki.run(run())
    if not data["found"]:
        return Result(data, "Nothing is remembered yet, so there is nothing to compare.")
    timed = [row for row in data["rows"] if "ms" in row]
    base = next((row["ms"] for row in timed if row["name"] == "numpy"), None)
    for row in timed:
        row["times_numpy"] = round(base / row["ms"], 2) if base and row["ms"] else None
    head = _verdict(data, timed)
    table = Table(
        [
            Column("backend", whole=True),
            Column("median", right=True, whole=True),
            Column("x numpy", right=True, whole=True),
            Column("same hits", right=True, whole=True),
            "",
        ],
        [_compared_row(row) for row in data["rows"]],
    )
    html = _html(head, table.html() + _bars(timed))
    return Result(data, f"{head}\n\n{table.text(context)}", html)


def _verdict(data: dict[str, Any], timed: list[dict[str, Any]]) -> str:
    differ = [row["name"] for row in timed if row["same"] < row["of"]]
    best = min(timed, key=lambda row: row["ms"])
    agree = f"{', '.join(differ)} found others" if differ else "all found the same"
    return (
        f"The nearest {data['found']:,} of {data['memories']:,} memories: {agree}; "
        f"{best['name']} was fastest with {_ms(best['ms'])} (making the question a vector "
        f"took {_ms(data['embed_ms'])})."
    )


def _compared_row(row: dict[str, Any]) -> tuple[Any, ...]:
    if "ms" not in row:
        return (row["name"], None, None, None, f"not run: {row['missing']}")
    times = f"{row['times_numpy']:.1f}" if row["times_numpy"] else None
    first = f"first {_ms(row['first_ms'])}, median of {row['repeats']} more"
    return (row["name"], _ms(row["ms"]), times, f"{row['same']} of {row['of']}", first)


def _bars(timed: list[dict[str, Any]]) -> str:
    """A bar a backend, as long as its time. Colours of the page itself, light or dark."""
    longest = max((row["ms"] for row in timed), default=0) or 1
    bars = "".join(
        f'<div style="display:flex;align-items:center;gap:8px"><span style="width:96px">'
        f'{escape(row["name"])}</span><span style="flex:1"><span style="display:block;height:8px;'
        f"min-width:2px;border-radius:2px;background:{_BAR};"
        f'width:{100 * row["ms"] / longest:.1f}%"></span></span>'
        f'<span style="width:80px;text-align:right">{_ms(row["ms"])}</span></div>'
        for row in timed
    )
    return f'<div style="max-width:560px;margin:6px 0">{bars}</div>'


def _offered(context: Context, wanted: str) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        return await context.aiki.connection.admin.backends(wanted)

    return context.aiki.run(run())


def _why(data: dict[str, Any]) -> str:
    reason = str(data["chosen"]["reason"])
    if data["wanted"] == "auto":
        return f"auto chose it ({reason})"
    if data["wanted"] != data["chosen"]["name"]:
        return f"in the place of {data['wanted']} ({reason})"
    return f"{data['wanted']} was chosen"


def _source(context: Context) -> str:
    conversation = context.conversation
    return "session" if conversation is not None and conversation.backend else "settings"


def _overruled() -> str:
    import os

    variable = "AIKI_COMPUTE__BACKEND"
    if variable in {name.upper() for name in os.environ}:
        return f" It has no effect while {variable} is set in the environment."
    return ""


def _ms(ms: float | None) -> str | None:
    if ms is None:
        return None
    return f"{ms:.0f} ms" if ms >= 100 else f"{ms:.1f} ms" if ms >= 10 else f"{ms:.2f} ms"


def _html(head: str, body: str) -> str:
    return f"<p>{escape(head)}</p>{body}"
