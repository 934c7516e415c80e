"""``# keep``: an answer that is shown again instead of being asked again.

The first line ``# keep`` of a message (or ``%%aiki --keep``) pins the answer of its cell. The
line itself is not sent. A kept answer is found by its cell and by a digest of its message and
options, after names in braces became values, so a changed message or parameter asks anew. Of
all that is found the newest is shown:

* what the cell said in this kernel, or in the conversation that was brought back;
* what this home has pinned for the cell of this notebook (``mind.sessions``);
* what the notebook's own file shows under the cell;
* in a run without cell names (papermill, nbconvert): what the input notebook showed, which
  papermill's engine hands over, and what was pinned after the same questions before it.

Nothing is asked, booked or remembered for it; the conversation gets it at its place.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import AikiError
from aiki_kernel.mind.conversation import Exchange, Message, asked
from aiki_kernel.mind.notebook_file import NotebookFile, Shown, cells_of, read
from aiki_kernel.mind.reply import Reply
from aiki_kernel.mind.sessions import Kept, Sessions
from aiki_kernel.models.chat import Usage
from aiki_kernel.safety.secrets import redact

if TYPE_CHECKING:
    from aiki_kernel.aiki import Aiki
    from aiki_kernel.mind.conversation import Conversation

CHANGED = "The message changed since its answer was kept: it was asked anew."
_NONE_FITS = "No kept answer of this notebook fits this message: it was asked anew."


@dataclass(frozen=True)
class Found:
    """A pinned answer, or why there is none."""

    kept: Kept | None = None
    line: str = ""


@dataclass
class Keeping:
    """The kept answers of one notebook. ``given`` is the file of papermill's engine."""

    given: str = ""
    _handed: dict[str, list[Kept]] | None = field(default=None, repr=False)

    async def find(
        self, aiki: Aiki, message: Message, talk: Conversation, facts: Mapping[str, Any] | None
    ) -> Found:
        """The answer that is pinned for ``message``. ``facts`` are those of the cell's answer
        in this kernel, where it gave one."""
        return await asyncio.to_thread(self._find, aiki, message, talk, facts)

    def _find(
        self, aiki: Aiki, message: Message, talk: Conversation, facts: Mapping[str, Any] | None
    ) -> Found:
        sessions = Sessions(aiki.paths.sessions)
        here = talk.at(message.cell_id)
        line, found = "", []
        if here is not None and here.answer and not here.interrupted:
            if message.asked == (here.asked or asked(here.question)):
                known = facts or _facts(aiki, here, talk)
                found.append(Kept(message.asked, here.answer, known, here.created_at))
            elif here.kept or (facts or {}).get("keep"):
                line = CHANGED
        for place in places(message, talk):
            try:
                pinned = sessions.kept(place)
            except AikiError as error:
                line = f"{error} Kept answers there were not looked at."
                continue
            found += [one for one in pinned if one.asked == message.asked]
            if pinned and message.cell_id and place.startswith("cell"):
                line = CHANGED
        if message.cell_id and talk.path and not found:
            shown = _answer_in(talk.path, message.cell_id)
            if shown is not None and shown.facts.get("asked") == message.asked:
                found += [_kept(shown)] if shown.whole else []
            elif shown is not None and (shown.facts.get("keep") or shown.facts.get("kept")):
                line = CHANGED
        if not message.cell_id and self.given:
            handed = self._take(message.asked)
            found += [handed] if handed else []
            line = _NONE_FITS
        if not found:
            return Found(line=line)
        return Found(max(found, key=lambda one: one.at))

    def _take(self, key: str) -> Kept | None:
        """The next answer to this message that papermill's input showed; the last one stays."""
        if self._handed is None:
            self._handed = {}
            try:
                rows = json.loads(Path(self.given).read_text("utf-8"))
            except (OSError, ValueError):
                rows = []
            for row in rows:
                self._handed.setdefault(row["asked"], []).append(Kept(**row))
        rows = self._handed.get(key, [])
        return rows.pop(0) if len(rows) > 1 else rows[0] if rows else None


def places(message: Message, talk: Conversation) -> list[str]:
    """Where the answer to ``message`` is looked for: at its cell, where it has a name and a
    file; in runs without either after the questions that stand before it."""
    return [_cell(message, talk) or _after(talk.before(message))]


def _cell(message: Message, talk: Conversation) -> str:
    return f"cell:{talk.path}#{message.cell_id}" if message.cell_id and talk.path else ""


def _after(before: Iterable[Exchange]) -> str:
    questions = "\0".join(redact(one.question) for one in before)
    return "after:" + hashlib.sha256(questions.encode()).hexdigest()[:32]


def pin(
    sessions: Sessions,
    message: Message,
    talk: Conversation,
    before: Sequence[Exchange],
    kept: Kept | None,
) -> None:
    """Pin ``kept`` for the cell of ``message``, and nothing else there; None lets go.

    Also after the questions before it, where a batch run looks: ``before`` are the exchanges
    as they stood when it was asked, since without a cell's name nothing tells its own from
    those. Durable on return.
    """
    cells = [one.cell_id for one in before]
    if message.cell_id in cells and message.cell_id:
        before = before[: cells.index(message.cell_id)]
    for place in filter(None, (_cell(message, talk), _after(before))):
        pinned = sessions.kept(place)
        # What is pinned already is not written again by every run of all cells.
        if kept is not None and [(one.asked, one.answer) for one in pinned] != [
            (kept.asked, kept.answer)
        ]:
            sessions.unkeep(place)
            sessions.keep([place], kept)
        elif kept is None and pinned:
            sessions.unkeep(place)


def reply_of(kept: Kept, session_id: str, lines: Iterable[str]) -> Reply:
    """A pinned answer as a reply: its old facts, marked ``kept``."""
    facts = dict(kept.metadata)
    usage, cost = facts.get("usage") or {}, facts.get("cost") or {}
    facts |= {
        "session_id": session_id,
        "asked": kept.asked,
        "kept": True,
        "keep": True,
        "stale": False,
        "notes": list(lines),
    }
    known = {name: usage[name] for name in Usage.__dataclass_fields__ if name in usage}
    return Reply(
        kept.answer,
        model=str(facts.get("model") or ""),
        usage=Usage(**known),
        cost_usd=cost.get("usd"),
        finish_reason=str(facts.get("finish_reason") or "stop"),
        metadata=facts,
    )


def exchange_of(reply: Reply, message: Message) -> Exchange:
    """A pinned answer at its place in the conversation."""
    facts = reply.metadata
    return Exchange(
        turn_id=str(facts.get("turn_id") or ""),
        question=message.text,
        answer=reply.text,
        model=str(facts.get("name") or reply.model),
        created_at=str(facts.get("created_at") or ""),
        cell_id=message.cell_id,
        persona=str(facts.get("persona") or "default"),
        kept=True,
        asked=message.asked,
    )


def handed_over(book: Any) -> list[dict[str, Any]]:
    """The pinned answers that a notebook shows, for the kernel that runs it anew."""
    shown = [cell.answer for cell in cells_of(book) if cell.answer is not None]
    rows = []
    for one in shown:
        if (
            one.whole
            and one.facts.get("asked")
            and (one.facts.get("keep") or one.facts.get("kept"))
        ):
            kept = _kept(one)
            rows.append(
                {
                    "asked": kept.asked,
                    "answer": kept.answer,
                    "metadata": dict(kept.metadata),
                    "at": kept.at,
                }
            )
    return rows


def _kept(shown: Shown) -> Kept:
    return Kept(str(shown.facts.get("asked")), shown.text or "", shown.facts, shown.created_at)


def _answer_in(path: str, cell_id: str) -> Shown | None:
    try:
        file: NotebookFile = read(path)
    except AikiError:
        return None  # then there is nothing kept in it; asking anew is what is shown
    return next((cell.answer for cell in file.cells if cell.id == cell_id), None)


def _facts(aiki: Aiki, exchange: Exchange, talk: Conversation) -> dict[str, Any]:
    """What is known of an answer of an earlier kernel: from the notebook, else the ledger."""
    if talk.path and exchange.cell_id:
        shown = _answer_in(talk.path, exchange.cell_id)
        if shown is not None and shown.turn_id == exchange.turn_id:
            return dict(shown.facts)
    facts: dict[str, Any] = {
        "version": 1,
        "turn_id": exchange.turn_id,
        "created_at": exchange.created_at,
        "model": exchange.model,
        "persona": exchange.persona,
        "finish_reason": "stop",
    }
    try:
        rows = aiki.ledger.rows(turn_id=exchange.turn_id)
    except AikiError:
        rows = []
    for row in rows:
        if row.stage == "generate":
            facts |= {
                "model": row.model,
                "name": row.name,
                "provider": row.provider,
                "tier": row.tier or None,
                "finish_reason": row.finish_reason,
                "usage": {
                    "input_tokens": row.input_tokens,
                    "output_tokens": row.output_tokens,
                    "cached_tokens": row.cached_tokens,
                    "estimated": row.estimated,
                },
                "latency_s": {"generate": row.latency_s},
            }
    costs = [row.cost_usd for row in rows]
    known = rows and None not in costs
    facts["cost"] = {
        "usd": sum(cost or 0.0 for cost in costs) if known else None,
        "estimated": any(row.estimated for row in rows),
    }
    return facts
