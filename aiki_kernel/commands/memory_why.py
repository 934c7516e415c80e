"""``aiki memory why``: the memories behind a reply, and those that were left out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.memory_door import SHORT, call, scope
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, one_line, plain, when
from aiki_kernel.errors import AikiError, UsageError

if TYPE_CHECKING:
    from aiki_kernel.memory.records import Record
    from aiki_kernel.mind.recollection import Recollection, Recollections

LAST = "last"
_WAIT_S = 1.0
_LISTS = {"dense": "dense", "bm25": "window", "bm25_turn": "turn"}


def replies(context: Context, prefix: str) -> Iterable[str]:
    """``last`` and the ids of the latest replies, for Tab."""
    return [LAST, *(one.turn_id for one in _kept(context).latest(50))]


@command("memory why")
def why(
    context: Context,
    reply: Annotated[
        str, Arg("a turn's id, or how it begins, or last", complete=replies, positional=True)
    ] = LAST,
) -> Result:
    """Show which memories a reply had, how each list ranked them, and what was left out.

    Each list says rank and score: dense (meaning), window (words of the message, of those
    around it, and the date), turn (words of the message alone). `last` is this session's.
    """
    kept = _found(context, reply)
    rows = [*kept.data["hits"], *kept.data["dropped"]]
    texts = _texts(context, [row["id"] for row in rows])
    question = _question(context, kept.turn_id)
    data = kept.to_json() | {"question": question, "texts": texts}
    head = f"Reply {kept.turn_id[:SHORT]} of {when(kept.at)} by {kept.data['model']}"
    head += f": {one_line(question, 120)}" if question else ""
    if not rows:
        note = kept.data["note"] or "No memory was found for it."
        return Result(data, f"{plain(head)}\n\n{plain(note)}")
    table = Table(
        [
            Column("id", whole=True),
            "used",
            Column("score", right=True),
            *(Column(name, right=True, whole=True) for name in _LISTS.values()),
            "text",
        ],
        [
            [
                row["id"][:SHORT],
                _fate(row, kept),
                f"{row['score']:.2f}",
                *(_place(row, name) for name in _LISTS),
                one_line(texts[row["id"]] or "(forgotten)", 160),
            ]
            for row in rows
        ],
    )
    lines = _summary(kept)
    text = "\n\n".join([plain(head), table.text(context), "\n".join(lines)])
    html = f"<p>{escape(plain(head))}</p>{table.html()}" + "".join(
        f"<p>{escape(line)}</p>" for line in lines
    )
    return Result(data, text, html)


def _kept(context: Context) -> Recollections:
    from aiki_kernel.mind.recollection import Recollections, flush_all

    flush_all()
    return Recollections(context.paths.recollections, context.settings)


def _found(context: Context, reply: str) -> Recollection:
    """The reply that is meant; this session's last one may still be writing itself down."""
    kept = _kept(context)
    if reply == LAST:
        talk = context.conversation
        said = talk.exchanges if talk is not None else ()
        until = time.monotonic() + _WAIT_S
        while said and not kept.find(said[-1].turn_id) and time.monotonic() < until:
            time.sleep(0.02)
        own = kept.latest(1, talk.session_id) if talk is not None else []
        found = own or kept.latest(1)
        if not found:
            raise UsageError("No reply is known yet: ask something first.")
        return found[0]
    if len(reply) < 4:
        raise UsageError(f"{reply!r} is too short for the beginning of a turn's id: give 4 of it.")
    found = kept.find(reply)
    if not found:
        raise UsageError(
            f"No reply {reply!r} among the latest: Tab after `memory why` offers those there are."
        )
    if len(found) > 1:
        raise UsageError(f"Several replies begin with {reply!r}: give more of the id.")
    return found[0]


def _texts(context: Context, ids: Sequence[str]) -> dict[str, str | None]:
    """The texts as they are now; None for what was forgotten or is not to be seen."""

    async def one(memory: Any, id: str) -> str | None:
        try:
            record: Record = await memory.get(id, scope(context))
        except AikiError:
            return None
        return record.data

    async def all_of_them(memory: Any) -> list[str | None]:
        return await asyncio.gather(*(one(memory, id) for id in ids))

    found: list[str | None] = call(context, all_of_them)
    return dict(zip(ids, found, strict=True))


def _question(context: Context, turn_id: str) -> str:
    from aiki_kernel.memory.turns import side_id

    id = side_id(turn_id, "user")
    return _texts(context, [id])[id] or ""


def _fate(row: dict[str, Any], kept: Recollection) -> str:
    told = {
        "used": "yes",
        "relevance": f"no: below {kept.data['relevance']:g} of the best score",
        "echo": "no: the same question, asked before, or its answer",
        "budget": f"no: did not fit into {kept.data['recall_tokens']} tokens",
        "duplicate": f"no: same text as {row.get('of', '')[:SHORT]}",
        "redundant": "no: it gave way to more variety or newer ones (memory.ranking)",
        "expired": "no: it has expired",
        "sensors": "no: enough of sensors",
        "health": "no: of the health daemon, and the message asks of no fault",
    }
    fate = str(row.get("fate") or row.get("why"))
    return told.get(fate, f"no: {fate}")


def _place(row: dict[str, Any], name: str) -> str:
    rank, score = row["ranks"].get(name), row["scores"].get(name)
    return "–" if rank is None else f"{rank} ({score:.2f})"


def _summary(kept: Recollection) -> list[str]:
    hits, dropped = kept.data["hits"], kept.data["dropped"]
    fates = [row["fate"] for row in hits] + [row["why"] for row in dropped]
    counted = {
        "used": fates.count("used"),
        "below the relevance": fates.count("relevance"),
        "of the same question": fates.count("echo"),
        "over the budget": fates.count("budget"),
        "duplicates": fates.count("duplicate") + fates.count("redundant"),
        "expired": fates.count("expired"),
        "more of sensors": fates.count("sensors"),
        "of the health daemon": fates.count("health"),
    }
    parts = [f"{count} {name}" for name, count in counted.items() if count or name == "used"]
    lines = [", ".join(parts) + f" (at most {kept.data['recall_k']} are recalled)."]
    backend, seconds = kept.data["backend"], kept.data["seconds"]
    spent = ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in seconds.items())
    if backend.get("name"):
        lines.append(f"Vectors searched by {backend['name']} ({backend['reason']}); {spent}.")
    return [plain(line) for line in [*lines, kept.data["note"]] if line]
