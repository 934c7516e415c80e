"""``aiki session``: the conversation of this notebook or chat, and those of the past.

Resuming and exporting are in ``session_past.py``, the formats in ``transcript.py``, finding a
session by its name in ``session_names.py``.
"""

from __future__ import annotations

import sys
from html import escape
from typing import Annotated, Any

from aiki_kernel.commands import session_past
from aiki_kernel.commands import session_preview as session_preview  # registers preview
from aiki_kernel.commands.command import Arg, Context, Result, spelled
from aiki_kernel.commands.cost import ledger
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.session_names import find, known, name_of, named, names, sessions
from aiki_kernel.commands.tables import Column, Table, one_line, usd, when
from aiki_kernel.errors import UsageError
from aiki_kernel.safety.secrets import refuse

WHICH = "another session: its name, the beginning of its id, or last"


@command("session")
def session(context: Context) -> Result:
    """Show the session that you are in."""
    return show(context)


@command("session show")
def show(
    context: Context,
    id: Annotated[str, Arg(WHICH, rest=True, complete=names)] = "",
) -> Result:
    """Show a session: its exchanges, tokens and cost. In a terminal the last one."""
    conversation = context.conversation
    if not id and conversation is not None:
        return _shown(context, conversation.session_id, [*conversation.exchanges], [])
    found = find(context, id).id
    resumed = session_past.past(context, found)
    return _shown(context, found, [*resumed.past.exchanges], [*resumed.lines])


@command("session new")
def new(context: Context) -> Result:
    """Begin a new session: the model sees nothing of the old one but what memory brings back."""
    if context.conversation is None:
        raise UsageError(
            f"There is no session to renew here: each `{sys.argv[0].rpartition('/')[2]} chat` "
            "is a new one."
        )
    old = context.conversation.session_id
    context.conversation.clear()
    new_id = context.conversation.session_id
    if context.conversation.path:
        sessions(context).settle(context.conversation.path, new_id)
    return Result({"session_id": new_id, "previous": old}, f"A new session begins: {new_id}.")


@command("session rename")
def rename(
    context: Context,
    name: Annotated[str, Arg("the new name", rest=True)],
    session: Annotated[str, Arg(WHICH, short="-s", complete=names)] = "",
) -> Result:
    """Name the session that you are in; in a terminal the last one."""
    from aiki_kernel.mind.sessions import LONGEST, title

    refuse(name)
    if not title(name, LONGEST):
        raise UsageError(
            f"A session needs a name: `{spelled('session rename', context.face)} Autumn trip`."
        )
    if len(" ".join(name.split())) > LONGEST:
        raise UsageError(f"A name has at most {LONGEST} characters.")
    conversation = context.conversation
    here = conversation is not None and not session
    id = conversation.session_id if conversation and here else find(context, session).id
    sessions(context).rename(id, name)
    given = title(name, LONGEST)
    twins = sum(one.name.casefold() == given.casefold() for one in known(context) if one.id != id)
    text = f"Session {id[:8]} is called {given!r} now."
    if twins:
        are = "other is" if twins == 1 else "others are"
        text += f" {twins} {are} called that, too: they are told apart by their ids."
    return Result({"session_id": id, "name": given, "namesakes": twins}, text)


@command("session list")
def list_(
    context: Context, limit: Annotated[int, Arg("how many at most", short="-k")] = 20
) -> Result:
    """List the sessions of the past, newest first."""
    rows = [one.to_json() for one in known(context)[:limit]]
    conversation = context.conversation
    for row in rows:
        row["current"] = conversation is not None and row["session_id"] == conversation.session_id
    table = Table(
        [
            Column("", whole=True),
            Column("session", whole=True),
            "name",
            Column("last", whole=True),
            Column("answers", right=True),
            Column("cost", right=True),
            "notebook",
            "models",
        ],
        [
            (
                "→" if row["current"] else "",
                row["session_id"][:8],
                one_line(row["name"], 80) or None,
                when(row["last"]) if row["last"] else None,
                row["answers"],
                _cost(row),
                row["notebook"] or None,
                ", ".join(row["models"]),
            )
            for row in rows
        ],
    )
    notes = named(context)[1]
    if not rows:
        return Result({"sessions": []}, "\n".join(["There has been no session yet.", *notes]))
    html = table.html() + "".join(f"<p>{escape(line)}</p>" for line in notes)
    data = {"sessions": rows, **({"notes": notes} if notes else {})}
    return Result(data, "\n".join([table.text(context), *notes]), html)


def _shown(context: Context, id: str, exchanges: list[Any], lines: list[str]) -> Result:
    totals = ledger(context).totals(session_id=id)
    conversation = context.conversation
    here = conversation is not None and conversation.session_id == id
    asked = [
        {
            "turn_id": exchange.turn_id,
            "question": exchange.question,
            "answer": exchange.answer,
            "model": exchange.model,
            "created_at": exchange.created_at,
            "interrupted": exchange.interrupted,
            "stale": exchange.stale,
            "kept": exchange.kept,
        }
        for exchange in exchanges
    ]
    name = name_of(context, id)
    lines = [*lines, *named(context)[1]]
    data = {
        "session_id": id,
        "name": name,
        "current": here,
        "model": (conversation.model if here and conversation else None) or context.settings.model,
        "exchanges": asked,
        "totals": totals,
        "notes": lines,
    }
    head = (
        f"Session {id}{f' ({one_line(name, 120)})' if name else ''}: {_answers(totals['calls'])}, "
        f"{totals['input_tokens']:,} tokens in, {totals['output_tokens']:,} out, {_cost(totals)}."
    )
    head = "\n".join([head, *lines])
    if not asked:
        return Result(data, head)
    table = Table(
        [Column("when", whole=True), "question", "answer", "model", ""],
        [
            (
                when(row["created_at"]),
                one_line(row["question"], 120),
                one_line(row["answer"], 120),
                row["model"],
                ", ".join(
                    word
                    for word, fits in (
                        ("stopped", row["interrupted"]),
                        ("stale", row["stale"]),
                        ("kept", row["kept"]),
                    )
                    if fits
                ),
            )
            for row in asked
        ],
    )
    html = "".join(f"<p>{escape(line)}</p>" for line in head.split("\n"))
    return Result(data, f"{head}\n\n{table.text(context)}", f"{html}{table.html()}")


def _answers(number: int) -> str:
    return f"{number:,} answer{'' if number == 1 else 's'}"


def _cost(totals: dict[str, Any]) -> str:
    """What is known, and how many answers that leaves out."""
    unknown = totals["unpriced"]
    if unknown and unknown == totals["calls"]:
        return "cost unknown"
    known = usd(totals["cost_usd"])
    return f"{known} + {unknown} unknown" if unknown else known
