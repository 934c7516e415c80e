"""A conversation of the past, put together from the memory and from a saved notebook.

The memory knows what was said, the notebook in which order its cells stand. Neither knows all:

==============================  ===========================================================
what is found                   what becomes of it
==============================  ===========================================================
in both                         the memory's words, the notebook's place
in the notebook alone           the notebook's words (the memory of it was forgotten, or has
                                not come yet)
in the memory, its cell there   the cell's place: its answer was not saved any more
in the memory, its cell gone    left out if the notebook was saved since: it was deleted
in the memory, output cleared   left out likewise
in the memory, of elsewhere     by the time at which it was asked
==============================  ===========================================================
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from aiki_kernel.mind.conversation import Exchange, arranged

if TYPE_CHECKING:
    from aiki_kernel.memory.records import Record, Scope
    from aiki_kernel.mind.notebook_file import NotebookFile, Shown

MOST = 2000
"""Messages (two a turn) of one session that are brought back at most; the newest."""
_PAGE = 500


class Lister(Protocol):
    """The part of the memory that is asked (``daemon.admin.MemoryAdmin``)."""

    async def list(
        self,
        scope: Scope,
        *,
        limit: int = 20,
        offset: int = 0,
        kind: str | None = None,
        aside: bool = False,
    ) -> Sequence[Record]: ...


@dataclass(frozen=True)
class Past:
    """Exchanges in the order of their cells. ``left_out`` are turns whose cells are gone or
    cleared, ``edited`` counts answers that somebody changed in the memory, ``only_shown`` those
    that the memory does not have."""

    exchanges: tuple[Exchange, ...]
    left_out: tuple[str, ...] = ()
    edited: int = 0
    only_shown: int = 0


async def turns(memory: Lister, scope: Scope, most: int = MOST) -> list[Record]:
    """The messages of a session (``scope.run_id``) that were not forgotten, oldest first; also
    those that curation took out of recall, since they were said.

    Raises :class:`AikiError` when the memory cannot be asked.
    """
    found: list[Record] = []
    while len(found) < most:
        page = await memory.list(scope, limit=_PAGE, offset=len(found), kind="message", aside=True)
        found += page
        if len(page) < _PAGE:
            break
    return sorted(found, key=lambda record: record.created_at)


def exchanges(records: Iterable[Record]) -> list[Exchange]:
    """Sides of turns as exchanges, in the order in which they were asked. One whose question
    was forgotten has an empty one, and so with answers."""
    sides: dict[str, dict[str, Record]] = {}
    for record in records:
        if record.turn_id and record.role:
            sides.setdefault(record.turn_id, {})[record.role] = record
    made = []
    for turn_id, both in sides.items():
        question, answer = both.get("user"), both.get("assistant")
        first = question or answer
        assert first is not None
        told = answer.metadata if answer else {}
        made.append(
            Exchange(
                turn_id=turn_id,
                question=question.data if question else "",
                answer=answer.data if answer else "",
                model=str(told.get("model") or ""),
                created_at=first.created_at,
                cell_id=first.provenance.get("cell_id"),
                interrupted=answer is None or bool(told.get("interrupted")),
                persona=first.agent_id or "default",
            )
        )
    return sorted(made, key=lambda one: one.created_at)


def rebuilt(
    records: Sequence[Record],
    file: NotebookFile | None,
    sessions: Collection[str],
    *,
    since: str = "",
    stale: Collection[str] = (),
) -> Past:
    """The conversation of ``sessions`` (the first is its own; another was copied with the file).

    ``since``: when it came to this notebook; what was said before then is of elsewhere, and no
    cell of it is missed. ``stale`` are turns that are known to be.
    """
    remembered = exchanges(records)
    edited = sum(one.role == "assistant" and one.trust == "user" for one in records)
    if file is None:
        marked = (replace(one, stale=one.turn_id in stale) for one in remembered)
        return Past(tuple(marked), edited=edited)
    by_turn = {one.turn_id: one for one in remembered}
    newest = {one.cell_id: one for one in remembered if one.cell_id}
    placed: list[Exchange] = []
    only_shown = 0
    for cell in file.cells:
        shown = cell.answer
        if shown is None or shown.session_id not in sessions:
            continue
        known = by_turn.pop(shown.turn_id, None)
        unsaved = newest.get(cell.id)
        if unsaved is not None and unsaved.created_at > (shown.created_at or "9"):
            continue  # asked again since: the newer one is placed below
        only_shown += known is None
        own = next(iter(sessions), "")
        placed.append(_shown(shown, known, cell.id, cell.message, own))
    saved = set(file.ids)
    empty = {cell.id for cell in file.cells if cell.empty}
    ours = any(one.cell_id in saved for one in remembered)
    left_out: list[str] = []
    loose: list[Exchange] = []
    for one in by_turn.values():
        gone = one.cell_id in empty or (ours and bool(one.cell_id) and one.cell_id not in saved)
        if gone and one.created_at >= since and _seconds(one.created_at) < file.saved_at:
            left_out.append(one.turn_id)
        elif one.cell_id in saved:
            placed.append(one)
        else:
            loose.append(one)
    placed = arranged(placed, file.ids)
    for one in sorted(loose, key=lambda one: one.created_at):
        before = [at for at, other in enumerate(placed) if other.created_at <= one.created_at]
        latest = max(before, key=lambda at: placed[at].created_at, default=-1)
        # The newest of all stands where the kernel had it: at the end.
        placed.insert(len(placed) if len(before) == len(placed) else latest + 1, one)
    marked = (replace(one, stale=one.stale or one.turn_id in stale) for one in placed)
    return Past(tuple(marked), tuple(left_out), edited, only_shown)


def _shown(
    shown: Shown, known: Exchange | None, cell_id: str, question: str, session_id: str
) -> Exchange:
    """An answer that a cell shows, in the memory's words where it has them."""
    facts = shown.facts
    base = known or Exchange(
        turn_id=shown.turn_id,
        question=question,
        answer=shown.text or "",
        model=str(facts.get("name") or facts.get("model") or ""),
        created_at=shown.created_at,
        interrupted=facts.get("finish_reason") not in ("stop", "length"),
        persona=str(facts.get("persona") or "default"),
    )
    return replace(
        base,
        question=base.question or question,
        answer=base.answer or shown.text or "",
        cell_id=cell_id or base.cell_id,
        stale=facts.get("stale") is True,
        kept=facts.get("kept") is True,
        asked=str(facts.get("asked") or ""),
        borrowed=shown.session_id != session_id,
    )


def _seconds(stamp: str) -> float:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return 0.0
