"""Which conversation a notebook goes on with, when its kernel has forgotten all.

A session belongs to a notebook's path. What is decided for the notebook at ``path``:

* a session is known to go on there: it does, by the notebook's file and the memory; with the
  file gone, by the memory alone;
* none is known, and the file shows answers of a session that goes on in another notebook
  which is still there: this is a **copy**. It gets a session of its own; the answers that it
  brought are in its context, and nothing of the original is changed by running them again;
* likewise, but the other notebook is gone: it was **moved**, and its session with it;
* the file's answers are of a session that nobody here knows: it is **foreign**. Its answers
  speak in no conversation before the user says so (``%aiki_session resume``), since they
  would speak as the model;
* else the conversation begins.

Whatever had to be done without is a line for the user, never silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aiki_kernel.errors import AikiError
from aiki_kernel.memory.records import Record, Scope, new_id
from aiki_kernel.mind import notebook_file
from aiki_kernel.mind.past import Lister, Past, rebuilt, turns
from aiki_kernel.mind.sessions import Place

if TYPE_CHECKING:
    from aiki_kernel.mind.notebook_file import NotebookFile
    from aiki_kernel.mind.sessions import Sessions

_MEMORY_S = 15.0


@dataclass(frozen=True)
class Resumed:
    """The conversation to go on with; ``session_id`` is "" where none goes on.

    ``lines`` say what the user must know of it, beside how many exchanges there are.
    """

    session_id: str = ""
    past: Past = field(default_factory=lambda: Past(()))
    lines: tuple[str, ...] = ()


async def notebook(
    path: str,
    sessions: Sessions,
    memory: Lister,
    user_id: str,
    *,
    foreign: bool = False,
) -> Resumed:
    """What the notebook at ``path`` goes on with; the decision is written down.

    ``foreign``: the user asks for the answers of this file, whosever they are. Raises
    :class:`AikiError` when the file of sessions cannot be used.
    """
    place = await asyncio.to_thread(sessions.place, path)
    file, lines = await asyncio.to_thread(_read, path, bool(place))
    shown = _latest(file)
    if place is not None and shown and _taken_over(place, file, shown):
        place = None
    if place is None:
        if not shown:
            return Resumed(lines=lines)
        place, more = await _found(path, shown, sessions, memory, user_id, foreign)
        lines += more
        if place is None:
            return Resumed(lines=(*lines, _foreign(file, shown)))
        await asyncio.to_thread(sessions.settle, path, place.session_id, place.source)
    records, trouble = await _remembered(memory, Scope(user_id, run_id=place.session_id))
    stale = await asyncio.to_thread(sessions.stale, place.session_id)
    theirs = tuple(one for one in (place.session_id, place.source) if one)
    # Where a session began, all of its cells are of this file; what was said before it came
    # here has none.
    begun = (await asyncio.to_thread(sessions.named)).get(place.session_id)
    since = "" if begun is None or begun.path == path else place.at
    past = rebuilt(records, file, theirs, since=since, stale=stale)
    return Resumed(place.session_id, past, (*lines, *trouble, *missed(past, place.source)))


async def session(session_id: str, sessions: Sessions, memory: Lister, user_id: str) -> Resumed:
    """The conversation of a session, in the order of its notebook where that is still there.

    Raises :class:`AikiError` when the memory cannot be asked.
    """
    records = await turns(memory, Scope(user_id, run_id=session_id))
    places = await asyncio.to_thread(sessions.places, session_id)
    begun = (await asyncio.to_thread(sessions.named)).get(session_id)
    stale = await asyncio.to_thread(sessions.stale, session_id)
    # The notebook in which it began shows it best.
    places.sort(key=lambda place: begun is None or place.path != begun.path)
    file: NotebookFile | None = None
    lines: tuple[str, ...] = ()
    since = ""
    place = places[0] if places else None
    if place is not None:
        file, lines = await asyncio.to_thread(_read, place.path, True)
        since = "" if begun is None or begun.path == place.path else place.at
    theirs = tuple(one for one in (session_id, place.source if place else "") if one)
    past = rebuilt(records, file, theirs, since=since, stale=stale)
    return Resumed(session_id, past, (*lines, *missed(past, place.source if place else "")))


def missed(past: Past, source: str = "") -> tuple[str, ...]:
    """Lines on what is not as it was said."""
    lines = []
    if past.only_shown and not source:
        lines.append(
            f"{_count(past.only_shown, 'exchange')} no longer in the memory: "
            "the words are the notebook's."
        )
    if past.edited:
        lines.append(f"{_count(past.edited, 'answer')} edited in the memory: the words are those.")
    halves = sum(not one.question or not one.answer for one in past.exchanges)
    if halves:
        lines.append(f"{_count(halves, 'exchange')} remembered by one side only.")
    return tuple(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{' is' if number == 1 else 's are'}"


def _read(path: str, wanted: bool) -> tuple[NotebookFile | None, tuple[str, ...]]:
    """The file, or a line on why it is done without; a file that was never there is none."""
    try:
        return notebook_file.read(path), ()
    except AikiError as error:
        if not wanted and not Path(path).exists():
            return None, ()
        return None, (f"{error} The conversation comes from the memory alone, in the order asked.",)


def _latest(file: NotebookFile | None) -> str:
    """The session of the file's newest answer; "" without any."""
    answers = file.answers if file is not None else []
    newest = max(enumerate(answers), key=lambda pair: (pair[1].created_at, pair[0]), default=None)
    return newest[1].session_id if newest is not None else ""


def _taken_over(place: Place, file: NotebookFile | None, shown: str) -> bool:
    """Whether another notebook lies at a path now: it shows newer answers, all of others."""
    answers = file.answers if file is not None else []
    if any(one.session_id in (place.session_id, place.source) for one in answers):
        return False
    return any(one.session_id == shown and one.created_at > place.at for one in answers)


async def _found(
    path: str, shown: str, sessions: Sessions, memory: Lister, user_id: str, foreign: bool
) -> tuple[Place | None, tuple[str, ...]]:
    """What to do with a notebook that no session is known to go on in."""
    others = [one for one in await asyncio.to_thread(sessions.places, shown) if one.path != path]
    there = [one for one in others if await asyncio.to_thread(Path(one.path).exists)]
    if there:
        line = (
            f"This notebook is a copy of {Path(there[0].path).name}: "
            "it goes on in a session of its own."
        )
        return Place(path, new_id(), "", shown), (line,)
    for one in others:
        await asyncio.to_thread(sessions.leave, one.path)
    if others:
        moved = Place(path, shown, others[0].at, others[0].source)
        named = (await asyncio.to_thread(sessions.named)).get(shown)
        if named is not None and named.path in {one.path for one in others}:
            await asyncio.to_thread(sessions.begin_at, shown, path)
        return moved, ()
    known = foreign or shown in await asyncio.to_thread(sessions.named)
    if not known:
        known = bool((await _remembered(memory, Scope(user_id, run_id=shown), 1))[0])
    return (Place(path, shown, "") if known else None), ()


async def _remembered(
    memory: Lister, scope: Scope, most: int = 0
) -> tuple[Sequence[Record], tuple[str, ...]]:
    """The messages of a session, or a line on why there are none."""
    asking = memory.list(scope, limit=most, kind="message") if most else turns(memory, scope)
    try:
        return await asyncio.wait_for(asking, _MEMORY_S), ()
    except TimeoutError:
        return [], ("The memory did not answer: the conversation comes from the notebook alone.",)
    except AikiError as error:
        return [], (f"{error} The conversation comes from the notebook alone.",)


def _foreign(file: NotebookFile | None, shown: str) -> str:
    answers = file.answers if file is not None else []
    number = sum(one.session_id == shown for one in answers)
    if number == 1:
        said = "One answer in this notebook is of a session that is not known here and is"
    else:
        said = f"{number} answers in this notebook are of a session that is not known here and are"
    return f"{said} not in context; %aiki_session resume takes them in."
