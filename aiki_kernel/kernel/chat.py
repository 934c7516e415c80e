"""From a message to an answer on the screen: the kernel's rendering of the loop's events.

Used by the AIKI kernel for its cells and by ``%%aiki`` in any IPython kernel. A stopped
answer keeps what it has, marked; an error is raised, so that the cell fails and a batch
run with it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aiki_kernel.attachments.interpolation import references
from aiki_kernel.errors import AikiError
from aiki_kernel.kernel.boards import Boards
from aiki_kernel.kernel.bridge import Bridge, in_thread
from aiki_kernel.kernel.document import Document, Place, place
from aiki_kernel.kernel.options import option_names, parse_options

if TYPE_CHECKING:
    from aiki_kernel.aiki import Aiki
    from aiki_kernel.attachments.composer import Composed
    from aiki_kernel.kernel.answer import View
    from aiki_kernel.kernel.keeping import Keeping
    from aiki_kernel.mind.conversation import Conversation, Exchange, Message
    from aiki_kernel.mind.form import Form
    from aiki_kernel.mind.reply import Reply

__all__ = ["Answering", "Chat", "Place", "option_names", "parse_options", "place"]

_GLANCE_S = 1.0


@dataclass
class Answering:
    """An answer that is being made. :meth:`stop` may be called from any thread."""

    task: asyncio.Task[Any]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    stopped: bool = False

    def stop(self) -> None:
        """End this answer; its cell fails as if interrupted."""
        if not self.stopped:
            self.stopped = True
            self.task.get_loop().call_soon_threadsafe(self.task.cancel)


class Chat:
    """The conversation of one notebook, shown through one shell."""

    def __init__(self, shell: Any, *, kept_answers: str = "") -> None:
        self.shell = shell
        self.bridge = Bridge()
        self.document = Document(self.bridge)
        self._kept_answers = kept_answers
        self._keeping: Keeping | None = None
        self._settling: asyncio.Future[None] | None = None  # a task needs somebody to hold it
        self.bridge.on_made = self._adopt
        self.running: dict[str, Answering] = {}
        self.boards = Boards(shell.display_pub)
        self._conversation: Conversation | None = None
        self._lock = threading.Lock()
        self._pace: Any = None
        self._shown: dict[str, View] = {}
        self._health_told = False

    @property
    def notebook(self) -> str | None:
        """The notebook's name, where the server tells it."""
        path = os.environ.get("JPY_SESSION_NAME", "")
        return os.path.basename(path) or None  # noqa: PTH119 - a name, perhaps of another system

    @property
    def conversation(self) -> Conversation:
        """The exchanges of this notebook; one for the life of the kernel."""
        from aiki_kernel.mind.conversation import Conversation

        with self._lock:
            if self._conversation is None:
                self._conversation = Conversation(notebook=self.notebook)
            return self._conversation

    def _adopt(self, aiki: Any) -> None:
        aiki.conversation = self.conversation

    def stop(self, answer_id: str | None = None) -> bool:
        """Stop one running answer, or all; whether there was any. Safe from any thread."""
        chosen = [a for a in list(self.running.values()) if answer_id in (None, a.id)]
        for answering in chosen:
            answering.stop()
        return bool(chosen)

    async def answer(self, text: str, *, options: str = "", place: Place | None = None) -> Reply:
        """Answer ``text`` and show it. Raises :class:`AikiError` with one line for the user;
        a cancel passes through after the partial answer was shown and marked."""
        task = asyncio.current_task()
        assert task is not None
        answering = Answering(task)
        self.running[answering.id] = answering
        try:
            return await self._answer(text, options, place or Place(), answering)
        finally:
            del self.running[answering.id]

    async def _answer(self, text: str, options: str, place: Place, answering: Answering) -> Reply:
        message_options = parse_options(options)
        preview = message_options.pop("preview", False)
        keep = message_options.pop("keep", False)
        modules = ["aiki_kernel.kernel.answer", "aiki_kernel.kernel.summary"]
        if not self._health_told:
            modules.append("aiki_kernel.health.status_file")
        if place.live:
            modules.append("aiki_kernel.display.card")
        if keep:
            modules.append("aiki_kernel.kernel.keeping")
        aiki = await self.bridge.ready(*modules)
        from aiki_kernel.kernel.summary import Summary
        from aiki_kernel.mind.conversation import Message
        from aiki_kernel.mind.events import Delta

        form = await self._form(message_options.pop("json", ""))
        # Before names in braces become values: no variable's text may say who answers.
        address = aiki.personas.addressed(text).checked()
        named = message_options.pop("persona", None)
        composed = await self._composed(aiki, address.text)
        message = Message(
            composed.text,
            cell_id=place.cell_id,
            notebook=self.notebook,
            model=message_options.pop("model", None),
            persona=address.persona or named,
            parameters=message_options,
            note=" ".join(filter(None, (address.note, *composed.notes))),
            typed=composed.typed,
            attached=composed.attached,
            form=form,
        )
        if preview:
            return await self._preview(message)
        await self.document.open(aiki, self.conversation, place)
        await self.document.follow(self.conversation)
        gone = self.conversation.drop(place.deleted)
        lines = self.document.lines(self.conversation, place.cell_id, len(gone))
        before = self.conversation.exchanges
        mode = aiki.settings.stream
        if mode == "auto":
            mode = "live" if place.live else "stdout" if place.console else "final"
        view = self._view(mode, answering)
        if keep:
            reply = await self._kept(aiki, message, lines)
            if reply is not None:
                view.show(reply)
                self._took_place(view, reply, reply if form is None else reply.object)
                await self._settle(aiki, message, before, gone, reply, keep=True)
                return reply
        who = message.persona or self.conversation.persona or aiki.settings.persona
        facts = {"keep": True} if keep else None
        summary = Summary(self.conversation, who, await self._health(aiki), lines, facts)
        finish_reason = "error"
        try:
            view.begin(summary.reply())
            async for event in self.bridge.events(message, self.conversation):
                summary.add(event)
                delta = event.text if isinstance(event, Delta) else ""
                if form is not None and delta and mode == "live":
                    continue  # JSON comes whole, and is shown as JSON at the end
                view.update(summary.reply(), delta)
        except asyncio.CancelledError:
            finish_reason = "interrupted"
            raise
        finally:
            summary.lines += self._unseen_stale(before)
            reply = summary.reply(finish_reason)
            view.end(reply)
            whole = form is not None and summary.completed
            self._took_place(view, reply, reply.object if whole else reply)
            if not summary.completed:
                # Beside the failure: an interrupt waits for no disk.
                work = self._settle(aiki, message, before, gone, reply, keep=keep)
                self._settling = asyncio.ensure_future(work)
        await self._settle(aiki, message, before, gone, reply, keep=keep)
        return reply

    async def _composed(self, aiki: Any, text: str) -> Composed:
        """The message with its references taken up, in a thread: files are read for it."""
        from aiki_kernel.attachments.composer import Composed, Composer

        if not references(text):
            return Composed(text)
        composer = Composer(aiki.settings.attachments, self.shell.user_ns, aiki.paths.home)
        made: Composed = await in_thread(lambda: composer.compose(text))
        return made

    async def _form(self, schema: str) -> Form | None:
        """The form that ``--json`` names, if there is one."""
        if not schema:
            return None
        from aiki_kernel.attachments import schemas

        found: Form = await in_thread(lambda: schemas.form(schema, self.shell.user_ns))
        return found

    async def _preview(self, message: Message) -> Reply:
        """Show what would be sent, and the price; nothing is asked, booked or remembered."""
        from aiki_kernel.commands import session_preview
        from aiki_kernel.kernel.magics import context, show
        from aiki_kernel.mind.reply import Reply

        show(self.shell, await in_thread(lambda: session_preview.shown(context(self), message)))
        return Reply("", metadata={"preview": True})

    async def _kept(self, aiki: Aiki, message: Message, lines: list[str]) -> Reply | None:
        """The answer that is pinned for this cell, put into the conversation; a line in
        ``lines`` where there was one that does not fit any more."""
        from aiki_kernel.kernel import keeping

        if self._keeping is None:
            self._keeping = keeping.Keeping(self._kept_answers)
        talk = self.conversation
        here = talk.at(message.cell_id)
        view = self._shown.get(here.turn_id) if here is not None else None
        facts = view.reply.metadata if view is not None else None
        found = await self._keeping.find(aiki, message, talk, facts)
        if found.line:
            lines.append(found.line)
        if found.kept is None:
            return None
        reply = keeping.reply_of(found.kept, talk.session_id, lines)
        if message.form is not None:
            try:
                _, value = await asyncio.to_thread(message.form.read, reply.text)
            except ValueError:
                lines.append("The kept answer does not have this form: it was asked anew.")
                return None
            reply = replace(reply, object=value)
        talk.put(keeping.exchange_of(reply, message))
        return reply

    def _took_place(self, view: View, reply: Reply, value: Any) -> None:
        """An answer stands: ``reply`` is its ``value``, and others may have to say something."""
        self.shell.user_ns["reply"] = value
        self._shown[str(reply.metadata.get("turn_id"))] = view
        self._mark_stale()

    async def _settle(
        self,
        aiki: Aiki,
        message: Message,
        before: Sequence[Exchange],
        gone: Sequence[Exchange],
        reply: Reply,
        *,
        keep: bool,
    ) -> None:
        """What must outlive the kernel is on disk before the cell is done. A failure is told
        on stderr: the answer itself stands."""
        talk = self.conversation
        try:
            await self.document.settle(aiki, talk, before, gone)
            if reply.finish_reason not in ("stop", "length"):
                return  # neither pins an answer nor lets go of one
            if keep or aiki.paths.sessions.exists():
                from aiki_kernel.kernel import keeping
                from aiki_kernel.mind.sessions import Kept, Sessions

                kept = None
                if keep:
                    at = str(reply.metadata.get("created_at") or "")
                    kept = Kept(message.asked, reply.text, reply.metadata, at)
                sessions = Sessions(aiki.paths.sessions)
                await asyncio.to_thread(keeping.pin, sessions, message, talk, before, kept)
        except AikiError as error:
            print(error, file=sys.stderr)  # noqa: T201

    def _unseen_stale(self, before: Sequence[Exchange]) -> list[str]:
        """A line on answers of an earlier kernel that this one made stale: their displays are
        out of its reach."""
        was = {one.turn_id for one in before if one.stale}
        number = sum(
            one.stale and one.turn_id not in was and one.turn_id not in self._shown
            for one in self.conversation.exchanges
        )
        if not number:
            return []
        are, cells = ("answer is", "its cell") if number == 1 else ("answers are", "their cells")
        return [f"{number} later {are} stale now: run {cells} again."]

    async def _health(self, aiki: Any) -> str:
        """What is wrong, for the first answer of this kernel; "" when all is well."""
        if self._health_told:
            return ""
        self._health_told = True
        from aiki_kernel.health.status_file import line

        # A thread, and not for long: the home may lie on a disk that hangs.
        reading = asyncio.to_thread(line, aiki.paths.home)
        try:
            return await asyncio.wait_for(reading, _GLANCE_S)
        except TimeoutError:
            return f"Health: {aiki.paths.home} does not answer. `aiki health` says more."

    def _mark_stale(self) -> None:
        """Tell the displays of later cells that what they answered to has changed."""
        stale = [one.turn_id for one in self.conversation.exchanges if one.stale]
        shown = [self._shown[turn] for turn in stale if turn in self._shown]
        fresh = [view for view in shown if not view.reply.metadata.get("stale")]
        for number, view in enumerate(fresh):
            view.mark_stale(delay=0.2 * (number + 1))

    def _view(self, mode: str, answering: Answering) -> View:
        from aiki_kernel.kernel.answer import FinalView, LiveView, Pace, StdoutView

        publisher = self.shell.display_pub
        if mode == "live":
            if self._pace is None:
                self._pace = Pace()
            return LiveView(publisher, self._pace, answering.id, answering.stop)
        if mode == "stdout":
            return StdoutView(publisher, answering.id)
        return FinalView(publisher, answering.id)
