"""A notebook is a document: its conversation outlives its kernel and follows its cells.

Once a kernel, at the first message of a cell that has a name, the conversation of the
notebook is brought back (:mod:`aiki_kernel.mind.resuming`). Only a front end names its cells:
a run by papermill or nbconvert begins afresh, wherever it was started from. What the
document needs to know of an answer is on disk before its cell is done.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import AikiError

if TYPE_CHECKING:
    from aiki_kernel.aiki import Aiki
    from aiki_kernel.kernel.bridge import Bridge
    from aiki_kernel.mind.conversation import Conversation, Exchange
    from aiki_kernel.mind.resuming import Resumed

_GLANCE_S = 1.0


@dataclass(frozen=True)
class Place:
    """Where a message was typed: the cell, and whether its front end can show live updates.

    ``deleted`` are cells that the user took away since the last one ran. ``console`` is a front
    end of lines of text, where an answer can only grow at its end.
    """

    cell_id: str | None = None
    live: bool = False
    console: bool = False
    deleted: tuple[str, ...] = ()


def place(shell: Any) -> Place:
    """Where the cell that runs now stands. Only a front end with live updates names its cells;
    one that does not, but asks whether a line may go on, is a console."""
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return Place()
    parent = kernel.get_parent("shell") or {}
    metadata = parent.get("metadata") or {}
    cell_id = metadata.get("cellId")
    deleted = metadata.get("deletedCells")
    gone = tuple(map(str, deleted)) if isinstance(deleted, list) else ()
    asker = (parent.get("header") or {}).get("session")
    console = cell_id is None and asker in getattr(kernel, "consoles", ())
    return Place(cell_id=cell_id, live=cell_id is not None, console=console, deleted=gone)


def notebook_path() -> str:
    """The notebook's file as its server names it, or ""."""
    named = os.environ.get("JPY_SESSION_NAME", "")
    return str(Path(named).absolute()) if named.endswith(".ipynb") else ""


class Document:
    """What one notebook and its conversation know of each other."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._lock = threading.Lock()
        self._resuming: concurrent.futures.Future[Resumed] | None = None
        self._told = False
        self._settled = ""
        self._followed = 0  # the date of the file whose order was taken over last

    async def open(self, aiki: Aiki, talk: Conversation, place: Place) -> None:
        """Bring the conversation back, the first time; nothing where no file can be known."""
        future = self._begin(aiki, talk, place)
        if future is not None:
            # Shielded: an interrupt ends the waiting, and the next message waits again.
            await asyncio.shield(asyncio.wrap_future(future))

    def open_now(self, aiki: Aiki, talk: Conversation, place: Place) -> None:
        """As :meth:`open`, for a command."""
        future = self._begin(aiki, talk, place)
        if future is not None:
            future.result()

    def _begin(
        self, aiki: Aiki, talk: Conversation, place: Place
    ) -> concurrent.futures.Future[Resumed] | None:
        path = notebook_path() if place.live else ""
        if not path:
            return None
        with self._lock:
            if self._resuming is None:
                talk.path = path
                self._resuming = self._bridge.submit(_resume(aiki, talk, path))
            return self._resuming

    async def follow(self, talk: Conversation) -> None:
        """Put the exchanges into the order in which their cells were saved last: no front end
        tells a kernel that cells were moved, and a message sees what stands before it."""
        if not talk.path or len(talk.exchanges) < 2:
            return
        with contextlib.suppress(TimeoutError):  # a disk that hangs holds up no question
            looking = asyncio.to_thread(self._saved_order, talk.path)
            talk.arrange(await asyncio.wait_for(looking, _GLANCE_S))

    def _saved_order(self, path: str) -> list[str]:
        """The ids of the cells, where the file was saved since the last look; else none."""
        from aiki_kernel.mind import notebook_file

        try:
            saved = os.stat(path).st_mtime_ns  # noqa: PTH116 - a date alone
            if saved == self._followed:
                return []
            ids = notebook_file.read(path).ids
        except (OSError, AikiError):
            return []  # then the order is the one in which they were asked
        self._followed = saved
        return ids

    def lines(self, talk: Conversation, cell_id: str | None, dropped: int) -> list[str]:
        """What the next answer has to say of the conversation, once."""
        out: list[str] = []
        if self._resuming is not None and not self._told:
            self._told = True
            found = self._resuming.result()
            out += found.lines
            number = len(found.past.exchanges)
            here = talk.at(cell_id)
            if number and talk.session_id == found.session_id:
                before = len(talk.exchanges) if here is None else talk.exchanges.index(here)
                out.insert(0, _in_context(before, number))
        if dropped:
            out.append(
                f"{dropped} exchange{'s' if dropped > 1 else ''} left the context with "
                f"{'their' if dropped > 1 else 'its'} deleted cell{'s' if dropped > 1 else ''}."
            )
        return out

    async def settle(
        self, aiki: Aiki, talk: Conversation, before: Sequence[Exchange], gone: Sequence[Exchange]
    ) -> None:
        """Write down whose session goes on here, which answers became stale and which are no
        longer. ``before`` are the exchanges as they stood before the answer, ``gone`` those
        whose cells were deleted."""
        was = {one.turn_id for one in before if one.stale}
        now = {one.turn_id for one in talk.exchanges if one.stale}
        stale = sorted(now - was)
        fresh = sorted((was | {one.turn_id for one in gone if one.stale}) - now)
        path, session_id = talk.path, talk.session_id
        unsettled = bool(path) and self._settled != session_id
        if not stale and not fresh and not unsettled:
            return
        from aiki_kernel.mind.sessions import Sessions

        sessions = Sessions(aiki.paths.sessions)

        def write() -> None:
            if unsettled:
                sessions.settle(path, session_id)
                self._settled = session_id
            if stale:
                sessions.mark_stale(session_id, stale)
            if fresh:
                sessions.clear_stale(fresh)

        await asyncio.to_thread(write)


async def _resume(aiki: Aiki, talk: Conversation, path: str) -> Resumed:
    """The conversation of the notebook, put in place. What cannot be had is a line."""
    from aiki_kernel.mind.resuming import Resumed, notebook
    from aiki_kernel.mind.sessions import Sessions

    try:
        found = await notebook(
            path,
            Sessions(aiki.paths.sessions),
            aiki.connection.admin,
            aiki.settings.memory.user_id,
        )
    except AikiError as error:
        return Resumed(lines=(f"{error} The conversation of this notebook was not brought back.",))
    if found.session_id and not talk.exchanges:
        talk.restore(found.session_id, found.past.exchanges)
    return found


def _in_context(before: int, number: int) -> str:
    afresh = "%aiki_session new begins afresh."
    if before == number:
        one = "exchange is" if number == 1 else "exchanges are"
        return f"{number} earlier {one} in context; {afresh}"
    return f"{before} of {number} earlier exchanges stand before this cell, in context; {afresh}"
