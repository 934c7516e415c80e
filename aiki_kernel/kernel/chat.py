"""From a message to an answer on the screen: the kernel's rendering of the loop's events.

Used by the AIKI kernel for its cells and by ``%%aiki`` in any IPython kernel. A stopped
answer keeps what it has, marked; an error is raised, so that the cell fails and a batch
run with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiki_kernel.attachments.interpolation import references
from aiki_kernel.errors import UsageError
from aiki_kernel.kernel.boards import Boards
from aiki_kernel.kernel.bridge import Bridge, in_thread

if TYPE_CHECKING:
    from aiki_kernel.attachments.composer import Composed
    from aiki_kernel.kernel.answer import View
    from aiki_kernel.mind.conversation import Conversation, Message
    from aiki_kernel.mind.form import Form
    from aiki_kernel.mind.reply import Reply

_GLANCE_S = 1.0


@dataclass(frozen=True)
class Place:
    """Where a message was typed: the cell, and whether its front end can show live updates."""

    cell_id: str | None = None
    live: bool = False


def place(shell: Any) -> Place:
    """Where the cell that runs now stands. Only a front end with live updates names its cells."""
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return Place()
    metadata = (kernel.get_parent("shell") or {}).get("metadata") or {}
    cell_id = metadata.get("cellId")
    return Place(cell_id=cell_id, live=cell_id is not None)


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

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.bridge = Bridge()
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
        modules = ["aiki_kernel.kernel.answer", "aiki_kernel.kernel.summary"]
        if not self._health_told:
            modules.append("aiki_kernel.health.status_file")
        if place.live:
            modules.append("aiki_kernel.display.card")
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
            note=address.note,
            typed=composed.typed,
            attached=composed.attached,
            form=form,
        )
        if preview:
            return await self._preview(message)
        who = message.persona or self.conversation.persona or aiki.settings.persona
        mode = aiki.settings.stream
        if mode == "auto":
            mode = "live" if place.live else "final"
        view = self._view(mode, answering)
        summary = Summary(self.conversation, who, await self._health(aiki))
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
            reply = summary.reply(finish_reason)
            whole = form is not None and summary.completed
            self.shell.user_ns["reply"] = reply.object if whole else reply
            view.end(reply)
            self._shown[str(reply.metadata.get("turn_id"))] = view
            self._mark_stale()
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
        """Tell the cards of later cells that what they answered to has changed."""
        stale = [exchange.turn_id for exchange in self.conversation.exchanges if exchange.stale]
        for place, view in enumerate(
            self._shown.pop(turn) for turn in stale if turn in self._shown
        ):
            view.mark_stale(delay=0.2 * (place + 1))

    def _view(self, mode: str, answering: Answering) -> View:
        from aiki_kernel.kernel.answer import FinalView, LiveView, Pace, StdoutView

        publisher = self.shell.display_pub
        if mode == "live":
            if self._pace is None:
                self._pace = Pace()
            return LiveView(publisher, self._pace, answering.id, answering.stop)
        return StdoutView(publisher) if mode == "stdout" else FinalView(publisher)


def _yes(word: str) -> bool:
    """Yes or no, in the words that people use."""
    if word.lower() in ("yes", "on", "true", "ja"):
        return True
    if word.lower() in ("no", "off", "false", "nei"):
        return False
    raise UsageError(f"%%aiki: --cache wants yes or no, not {word!r}.")


_OPTIONS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "--model": ("model", str),
    "--persona": ("persona", str),
    "--temperature": ("temperature", float),
    "--max-tokens": ("max_tokens", int),
    "--top-p": ("top_p", float),
    "--seed": ("seed", int),
    "--cache": ("cache", _yes),
    "--json": ("json", str),
}
_FLAGS: Mapping[str, str] = {"--preview": "preview"}
_INLINE = re.compile(r"(?<!\S)--json(?:[ \t]+|=)(?=\{)")


def option_names() -> list[str]:
    """What may stand after ``%%aiki``."""
    return [*_OPTIONS, *_FLAGS]


def parse_options(line: str) -> dict[str, Any]:
    """The words after ``%%aiki`` as fields of a message.

    Raises :class:`UsageError` naming the nearest option or the value that does not fit.
    """
    found: dict[str, Any] = {}
    line = _without_inline(line, found)
    words = line.replace("=", " ").split()
    while words:
        word = words.pop(0)
        if word in _FLAGS:
            found[_FLAGS[word]] = True
            continue
        if word not in _OPTIONS:
            from aiki_kernel.commands.parser import nearest

            known = ", ".join(option_names())
            guess = nearest(word, option_names())
            raise UsageError(f"%%aiki has no option {word}{guess} Known: {known}")
        if not words:
            raise UsageError(f"%%aiki: {word} wants a value after it.")
        name, kind = _OPTIONS[word]
        value = words.pop(0)
        try:
            found[name] = kind(value)
        except ValueError:
            raise UsageError(f"%%aiki: {word} wants a number, not {value!r}.") from None
    return found


def _without_inline(line: str, found: dict[str, Any]) -> str:
    """``line`` without a schema that stands in it as JSON; that goes into ``found``."""
    inline = _INLINE.search(line)
    if inline is None:
        return line
    try:
        _, end = json.JSONDecoder().raw_decode(line, inline.end())
    except ValueError as error:
        raise UsageError(
            f"%%aiki: the schema after --json is no JSON ({error}): correct it, or give the name "
            "of a variable."
        ) from None
    found["json"] = line[inline.end() : end]
    return line[: inline.start()] + line[end:]
