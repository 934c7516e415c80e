"""``aiki session``: the conversation of this notebook or chat."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any

from aiki_kernel.commands import session_preview as session_preview  # registers preview
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.cost import ledger
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, one_line, usd, when
from aiki_kernel.errors import UsageError


def _sessions(context: Context, prefix: str) -> Iterable[str]:
    return ledger(context).totals(group_by="session")


@command("session")
def session(context: Context) -> Result:
    """Show the session that you are in."""
    return show(context)


@command("session show")
def show(
    context: Context,
    id: Annotated[
        str, Arg("another session; its beginning is enough", positional=True, complete=_sessions)
    ] = "",
) -> Result:
    """Show a session: its exchanges, tokens and cost. In a terminal the last one."""
    conversation = context.conversation
    if not id and conversation is not None:
        return _shown(context, conversation.session_id, [*conversation.exchanges])
    return _shown(context, _found(context, id), [])


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
    return Result({"session_id": new_id, "previous": old}, f"A new session begins: {new_id}.")


@command("session list")
def list_(
    context: Context, limit: Annotated[int, Arg("how many at most", short="-k")] = 20
) -> Result:
    """List the sessions that the ledger knows, newest first."""
    rows = list(_known(context).values())[:limit]
    table = Table(
        [
            Column("session", whole=True),
            Column("began", whole=True),
            Column("last", whole=True),
            Column("answers", right=True),
            Column("cost", right=True),
            "models",
        ],
        [
            (
                row["session_id"][:8],
                when(row["began"]),
                when(row["last"]),
                row["calls"],
                _cost(row),
                ", ".join(row["models"]),
            )
            for row in rows
        ],
    )
    if not rows:
        return Result({"sessions": []}, "There has been no session yet.")
    return Result({"sessions": rows}, table.text(context), table.html())


def _known(context: Context) -> dict[str, dict[str, Any]]:
    """Sessions by id, the most recently used first."""
    totals = ledger(context).totals(group_by="session")
    out: dict[str, dict[str, Any]] = {}
    for entry in ledger(context).rows():
        row = out.setdefault(
            entry.session_id,
            {
                "session_id": entry.session_id,
                "last": entry.when,
                "began": entry.when,
                "models": [],
                **totals.get(entry.session_id, {}),
            },
        )
        row["began"] = entry.when
        if entry.model not in row["models"]:
            row["models"].append(entry.model)
    return out


def _found(context: Context, id: str) -> str:
    known = list(_known(context))
    matching = [one for one in known if one.startswith(id)]
    if not known:
        raise UsageError("There has been no session yet: begin one with `aiki chat`.")
    if not matching or (id and len(matching) > 1):
        many = "several sessions begin" if matching else "no session begins"
        raise UsageError(f"In the ledger {many} with {id!r}: see `session list`.")
    return matching[0]


def _shown(context: Context, id: str, exchanges: list[Any]) -> Result:
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
        }
        for exchange in exchanges
    ]
    data = {
        "session_id": id,
        "current": here,
        "model": (conversation.model if here and conversation else None) or context.settings.model,
        "exchanges": asked,
        "totals": totals,
    }
    head = (
        f"Session {id}: {totals['calls']} answers, {totals['input_tokens']:,} tokens in, "
        f"{totals['output_tokens']:,} out, {_cost(totals)}."
    )
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
                "stopped" if row["interrupted"] else "stale" if row["stale"] else "",
            )
            for row in asked
        ],
    )
    from html import escape

    return Result(data, f"{head}\n\n{table.text(context)}", f"<p>{escape(head)}</p>{table.html()}")


def _cost(totals: dict[str, Any]) -> str:
    """What is known, and how many answers that leaves out."""
    unknown = totals["unpriced"]
    if unknown and unknown == totals["calls"]:
        return "cost unknown"
    known = usd(totals["cost_usd"])
    return f"{known} + {unknown} unknown" if unknown else known
