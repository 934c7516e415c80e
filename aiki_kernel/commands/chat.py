"""``aiki chat``: the conversation in a terminal, or one question and its answer."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands import registry
from aiki_kernel.commands.answer import Lines, Live, Quiet, answer, notes, status_line
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.first_run import ensure_local_model
from aiki_kernel.commands.model import names as model_names
from aiki_kernel.commands.parser import table
from aiki_kernel.commands.persona import names as persona_names
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.session_names import LAST
from aiki_kernel.commands.session_names import names as session_names
from aiki_kernel.commands.session_preview import composed
from aiki_kernel.errors import AikiError, ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prompt_toolkit import PromptSession

    from aiki_kernel.mind.reply import Reply

_LEAVE = ("/quit", "/exit")
_SESSION = ("new", "resume", "rename", "export")
"""Verbs of ``session`` that may stand alone in the conversation."""
_OPEN = re.compile(r"\{open:[\"']?([^{}\"']*)$")


@command("chat", faces=("cli",))
def chat(
    context: Context,
    text: Annotated[
        str, Arg("one question; - reads standard input", rest=True, metavar="TEXT")
    ] = "",
    model: Annotated[str, Arg("the model that answers", short="-m", complete=model_names)] = "",
    persona: Annotated[
        str, Arg("the persona that answers", short="-p", complete=persona_names)
    ] = "",
    resume: Annotated[
        str,
        Arg(
            "go on with a session: its name, id or last",
            short="-r",
            alone=LAST,
            metavar="SESSION",
            complete=session_names,
        ),
    ] = "",
) -> Result:
    """Talk with AIKI. With a question, or from a pipe, it answers once.

    In the conversation /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves.
    """
    aiki = context.aiki
    context.conversation = aiki.conversation
    if model:
        aiki.conversation.model = model
    if persona:
        aiki.conversation.persona = aiki.personas.get(persona).name
    # A pipe may stay open for ever, so it is read only when there is no question or "-".
    piped = text == "-" or (not text and not sys.stdin.isatty())
    if piped:
        text = sys.stdin.read().strip()
        if not text:
            raise UsageError("There is no question: give one, or write it into the pipe.")
    if not text and (context.as_json or not sys.stdout.isatty()):
        raise UsageError("The conversation needs a terminal: give one question.")
    if resume:
        _beside(context, registry.run(["session", "resume", resume], context).text)
    ensure_local_model(context, model or context.settings.model)
    if text:
        return _once(context, text, typed=not piped)
    _Terminal(context).run()
    return Result({"session_id": aiki.conversation.session_id}, "")


def _once(context: Context, text: str, *, typed: bool) -> Result:
    _tell_health(context)
    reply = _shown(context, text, typed=typed)
    status = 130 if reply.finish_reason == "interrupted" else 0
    return Result(reply.to_json(), "", status=status)


def _tell_health(context: Context) -> None:
    """What the health daemon found wrong, on one line; nothing when all is well."""
    from aiki_kernel.health.status_file import line

    wrong = line(context.paths.home)
    if wrong:
        _beside(context, wrong, "yellow")


def _shown(context: Context, text: str, *, typed: bool = True) -> Reply:
    """Answer on the screen: the text on stdout, the status line and notes beside it. Only what
    the user ``typed`` may attach files: what comes out of a pipe may be anybody's."""
    view: Quiet
    if context.as_json:
        view = Quiet()
    elif sys.stdout.isatty() and context.color:
        view = Live(_console())
    else:
        view = Lines()
    began = time.monotonic()
    message = composed(context, text, attach=typed)
    options = {name: getattr(message, name) for name in ("persona", "note", "typed", "attached")}
    reply = answer(context.aiki, message.text, view, **options)
    for note in notes(reply):
        _beside(context, note)
    if not context.as_json and reply.finish_reason != "interrupted":
        _beside(context, status_line(reply, time.monotonic() - began))
    return reply


class _Terminal:
    """The conversation: a prompt, an answer, and so on."""

    def __init__(self, context: Context) -> None:
        self.context = context
        # Commands may look at the width anew each time; the window may have changed.
        self._prompt = _prompt(context)

    def run(self) -> None:
        """Until Ctrl-D or /quit."""
        current = self.context.conversation
        name = (current.model if current else None) or self.context.settings.model
        _beside(self.context, f"{name} answers. /help lists commands, Ctrl-D leaves.")
        _tell_health(self.context)
        while True:
            try:
                line = self._prompt.prompt("› ").strip()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if line in _LEAVE:
                return
            if line:
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            if line.startswith("/") and not line.startswith("//"):
                self._command(line)
            else:
                _shown(self.context, line.removeprefix("/"))
        except ModelError as error:
            _beside(self.context, f"{error} /model NAME chooses another model.", "red")
        except AikiError as error:
            _beside(self.context, str(error), "red")
        except KeyboardInterrupt:
            _beside(self.context, "Stopped.", "yellow")

    def _command(self, line: str) -> None:
        words = registry.split(line[1:])
        if not words or words[0] == "help":
            print(help_text())  # noqa: T201
            return
        if words[0] in _SESSION:
            words = ["session", *words]
        if words[0] not in registry.nouns("magic"):
            from aiki_kernel.commands.parser import nearest

            known = ["help", "quit", *_SESSION, *registry.nouns("magic")]
            raise UsageError(
                f"There is no command /{words[0]}{nearest(words[0], known)} "
                "// begins a message with a slash."
            )
        result = registry.run(words, self.context)
        print(result.text)  # noqa: T201


def help_text() -> str:
    """What may be typed into the conversation."""
    rows = [(f"/{noun}", registry.NOUNS[noun][0]) for noun in registry.nouns("magic")]
    rows += [(f"/{verb}", f"Short for /session {verb}") for verb in _SESSION]
    rows += [("/quit", "Leave (Ctrl-D does, too)")]
    hints = "@NAME addresses a persona. Alt-Enter begins a new line. // sends a slash."
    return f"{table(rows)}\n\nEach answers -h. {hints}"


def completions(context: Context, line: str) -> tuple[list[str], str]:
    """What Tab offers for a line up to the cursor, and the part of it that is replaced."""
    if line.startswith("@") and " " not in line:
        return [
            f"@{name}" for name in persona_names(context, "") if name.startswith(line[1:])
        ], line
    opened = _OPEN.search(line)
    if opened:
        from aiki_kernel.attachments.files import offers

        return offers(opened[1], Path.cwd()), opened[1]
    if not line.startswith("/"):
        return [], ""
    head, space, prefix = line[1:].rpartition(" ")
    if not space:
        known = ["help", "quit", *_SESSION, *registry.nouns("magic")]
        return [word for word in known if word.startswith(prefix)], prefix
    words = registry.split(head)
    if words and words[0] in _SESSION:
        words = ["session", *words]
    return registry.complete(words, prefix, context), prefix


def _prompt(context: Context) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer, Completion, ThreadedCompleter
    from prompt_toolkit.document import Document
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent

    class Commands(Completer):
        def get_completions(self, document: Document, _: Any) -> Iterable[Completion]:
            offers, prefix = completions(context, document.text_before_cursor)
            for offer in offers:
                yield Completion(offer, start_position=-len(prefix))

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return PromptSession(
        history=_history(context.paths.home / "chat_history"),
        completer=ThreadedCompleter(Commands()),
        complete_while_typing=False,
        key_bindings=keys,
    )


def _history(path: Path) -> Any:
    """What was typed before, in a file that only its owner reads, and without keys."""
    from prompt_toolkit.history import FileHistory

    from aiki_kernel.safety.secrets import find

    class History(FileHistory):
        def store_string(self, string: str) -> None:
            if not find(string):
                super().store_string(string)

    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    return History(str(path))


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)


def _beside(context: Context, text: str, style: str = "dim") -> None:
    """One line on stderr, where it does not mix with an answer that is piped on."""
    if context.color and sys.stderr.isatty():
        from rich.console import Console

        Console(stderr=True, highlight=False, soft_wrap=True).print(text, style=style, markup=False)
    else:
        print(text, file=sys.stderr, flush=True)  # noqa: T201
