"""An answer in the terminal: the events of one message, rendered as they come.

On a terminal it is live Markdown: while it grows, its end is shown; when it is whole, all
of it is printed once. Into a file or a pipe the text goes as it comes, and nothing else.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aiki_kernel.commands.tables import one_line, plain, usd
from aiki_kernel.mind.events import Completed, Consulted, Delta, Event, Recalled, Routed
from aiki_kernel.mind.reply import Reply, ReplyBuilder

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment

    from aiki_kernel.aiki import Aiki

_EVERY_S = 0.1
_WAIT_S = 10.0
STOPPED = "[stopped]"


class Quiet:
    """Shows nothing: for JSON."""

    def add(self, event: Event) -> None:
        """Take one event in."""

    def close(self, *, stopped: bool = False) -> None:
        """The answer has ended, or was stopped."""


class Lines(Quiet):
    """The text as it comes, on stdout."""

    def __init__(self) -> None:
        self._last = ""

    def add(self, event: Event) -> None:
        if isinstance(event, Delta):
            text = plain(event.text)
            sys.stdout.write(text)
            sys.stdout.flush()
            self._last = text or self._last

    def close(self, *, stopped: bool = False) -> None:
        if self._last and not self._last.endswith("\n"):
            sys.stdout.write("\n")
        if stopped:
            sys.stdout.write(f"{STOPPED}\n")
        sys.stdout.flush()


class Live(Quiet):
    """Markdown that grows on a terminal."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live as RichLive
        from rich.spinner import Spinner

        self._console = console
        self._text = ""
        self._shown_at = 0.0
        self._spinner = Spinner("dots", "recalling")
        self._live = RichLive(self._spinner, console=console, transient=True, refresh_per_second=10)
        self._live.start()

    def add(self, event: Event) -> None:
        if isinstance(event, Recalled | Routed) and not self._text:
            self._spinner.update(text="thinking")
        elif isinstance(event, Consulted):
            self._spinner.update(text=f"working with an insight of {plain(event.model)}")
        elif isinstance(event, Delta):
            self._text += event.text
            if time.monotonic() - self._shown_at > _EVERY_S:
                self._shown_at = time.monotonic()
                self._live.update(_Tail(plain(self._text)))
        elif isinstance(event, Completed):
            self._finish(event.text)

    def close(self, *, stopped: bool = False) -> None:
        self._finish(self._text)
        if stopped:
            self._console.print(STOPPED, style="yellow", markup=False)

    def _finish(self, text: str) -> None:
        if self._live.is_started:
            self._live.stop()
            if text:
                self._console.print(_markdown(text))


class _Tail:
    """The end of a Markdown text, as many lines as the terminal has."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        lines = console.render_lines(_markdown(self._text), options, pad=False)
        for line in lines[-max(console.height - 2, 1) :]:
            yield from line
            yield Segment.line()


def _markdown(text: str) -> Any:
    from rich.markdown import Markdown

    # Addresses are shown as they are: a link's text must not hide where it leads.
    return Markdown(plain(text), hyperlinks=False)


def answer(aiki: Aiki, text: str, view: Quiet, **options: Any) -> Reply:
    """Ask, show through ``view``, and return the reply. Ctrl-C stops the answer alone.

    What had come of a stopped answer is kept, here and in the memory; its
    ``finish_reason`` is "interrupted". Raises :class:`AikiError` when none can be had.
    """
    builder = ReplyBuilder()
    ended = threading.Event()

    async def run() -> None:
        events = aiki.stream(text, **options)
        try:
            async for event in events:
                builder.add(event)
                view.add(event)
        finally:
            try:
                await events.aclose()
            finally:
                ended.set()

    try:
        aiki.run(run())
    except KeyboardInterrupt:
        # The work goes on in its own thread for the moment that it takes to clean up; the
        # screen is ours again only after that.
        ended.wait(_WAIT_S)
        view.close(stopped=True)
        return _stopped(builder.reply)
    except BaseException:
        view.close()
        raise
    view.close()
    return builder.reply


def status_line(reply: Reply, seconds: float) -> str:
    """Model, tokens, cost, memories and time of an answer, on one line."""
    usage, who = reply.usage, str(reply.metadata.get("persona") or "default")
    about = "~" if usage.estimated else ""
    parts = [
        "" if who == "default" else f"@{who}",
        str(reply.metadata.get("model") or reply.model),
        f"{about}{usage.input_tokens:,} + {usage.output_tokens:,} tokens",
        usd(reply.cost_usd) if reply.cost_usd is not None else "cost unknown",
        f"recalled {len(reply.hits)}",
        f"{seconds:.1f} s",
    ]
    if reply.finish_reason == "length":
        parts.append("cut at max_tokens")
    return " · ".join(plain(part) for part in parts if part)


def notes(reply: Reply) -> list[str]:
    """What went another way than usual, one line each."""
    return [one_line(str(note), 400) for note in reply.metadata.get("notes", [])]


def _stopped(reply: Reply) -> Reply:
    from dataclasses import replace

    metadata = {**reply.metadata, "finish_reason": "interrupted"}
    return replace(reply, finish_reason="interrupted", metadata=metadata)
