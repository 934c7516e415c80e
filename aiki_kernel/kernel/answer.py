"""How an answer appears: live in a notebook, once in a batch run, or on stdout.

==========  ====================================================================
mode        what is published
==========  ====================================================================
``live``    one display for the answer, updated while it grows; below it the live
            card with Stop. At the end the last text, and the card as plain HTML
            under the same display id.
``final``   nothing until the end; then the answer as the one display, and the card
            as lines of text on stdout, so that a batch log shows both in that order.
``stdout``  the text as it comes, on stdout; at the end the card, which then
            carries the metadata.
==========  ====================================================================

An answer is ``text/markdown`` (made harmless) and ``text/plain`` (as the model wrote it),
with the summary under ``metadata["aiki"]``; never ``text/html``. Live updates keep to
:class:`Pace`: a front end that receives every token would spend its time on drawing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from aiki_kernel.mind.reply import Reply
from aiki_kernel.safety.markdown import harmless

MARKS = {"interrupted": "stopped", "error": "cut off by an error"}
_INTERVAL_S = 0.125
_CARD_S = 1.0
_CLOSE_S = 1.2


class Publisher(Protocol):
    """What publishes displays: IPython's ``display_pub``."""

    def publish(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
    ) -> None: ...


class Pace:
    """At most 12 messages in any second, of which three are kept for the end of an answer:
    its last text, its card, and the kernel's idle. Shared by all answers of a kernel."""

    LIMIT = 12
    RESERVED = 3

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent: deque[float] = deque()

    def note(self, messages: int = 1) -> None:
        """Count messages that were sent."""
        self._sent.extend([self._clock()] * messages)

    def wait(self) -> float:
        """Seconds until one more live message may go; 0 means now."""
        now = self._clock()
        while self._sent and now - self._sent[0] >= 1.0:
            self._sent.popleft()
        room = self.LIMIT - self.RESERVED
        if len(self._sent) < room:
            return 0.0
        return max(0.001, 1.0 - (now - self._sent[-room]))


class View(Protocol):
    """One answer on its way to the reader; ``reply`` is what it shows."""

    reply: Reply

    def begin(self, reply: Reply) -> None: ...

    def update(self, reply: Reply, delta: str = "") -> None: ...

    def end(self, reply: Reply) -> None: ...

    def show(self, reply: Reply) -> None:
        """A whole answer at once, with neither beginning nor end."""

    def mark_stale(self, delay: float) -> None: ...


def bundle(reply: Reply) -> dict[str, Any]:
    """The answer for every front end; a cut one says so at its end."""
    mark = MARKS.get(reply.finish_reason, "")
    if not mark and reply.metadata.get("form"):
        fence = "`" * (3 if "```" not in reply.text else 5)
        return {"text/markdown": f"{fence}json\n{reply.text}\n{fence}", "text/plain": reply.text}
    if not mark:
        return {"text/markdown": harmless(reply.text), "text/plain": reply.text}
    return {
        "text/markdown": f"{harmless(reply.text)}\n\n*— {mark} —*".lstrip(),
        "text/plain": f"{reply.text}\n\n[{mark}]".lstrip(),
    }


def _metadata(reply: Reply) -> dict[str, Any]:
    return {"aiki": dict(reply.metadata)}


def _card(summary: Mapping[str, Any]) -> dict[str, Any]:
    from aiki_kernel.display.static_card import render_html, render_text
    from aiki_kernel.display.weight import compact

    light = compact(summary)
    return {"text/html": render_html(light), "text/plain": render_text(light)}


class FinalView:
    """Nothing until the end, then everything once."""

    def __init__(self, publisher: Publisher, key: str) -> None:
        self._publisher = publisher
        self._id = {"display_id": f"aiki-{key}"}
        self.reply = Reply("")

    def begin(self, reply: Reply) -> None:
        """Nothing to show yet."""

    def update(self, reply: Reply, delta: str = "") -> None:
        """Nothing to show yet."""

    def end(self, reply: Reply) -> None:
        self.reply = reply
        if not reply.text and reply.finish_reason == "error":
            return  # the error itself is all there is to say
        self._publisher.publish(bundle(reply), _metadata(reply), transient=self._id)
        sys.stdout.write(_card(reply.metadata)["text/plain"] + "\n")

    def show(self, reply: Reply) -> None:
        self.end(reply)

    def mark_stale(self, delay: float) -> None:
        """The answer's facts say so; lines that were printed cannot be changed."""
        if self.reply.text and not self.reply.metadata.get("stale"):
            self.reply = _stale(self.reply)
            _later(
                delay,
                lambda: self._publisher.publish(
                    bundle(self.reply), _metadata(self.reply), transient=self._id, update=True
                ),
            )


class StdoutView:
    """The text as it comes, for consoles; ipykernel gathers it into a few messages a second."""

    def __init__(self, publisher: Publisher, key: str) -> None:
        self._publisher = publisher
        self._id = {"display_id": f"aiki-{key}"}
        self.reply = Reply("")

    def begin(self, reply: Reply) -> None:
        """Nothing to show yet."""

    def update(self, reply: Reply, delta: str = "") -> None:
        if delta:
            sys.stdout.write(delta)

    def show(self, reply: Reply) -> None:
        sys.stdout.write(reply.text)
        self.end(reply)

    def end(self, reply: Reply) -> None:
        self.reply = reply
        mark = MARKS.get(reply.finish_reason, "")
        if reply.text:
            sys.stdout.write(f"\n[{mark}]\n" if mark else "\n")
        elif reply.finish_reason == "error":
            return
        card = _card(reply.metadata)
        self._publisher.publish(card, _metadata(reply), transient=self._id)

    def mark_stale(self, delay: float) -> None:
        """The card says so; the text stands as it was printed."""
        if self.reply.text and not self.reply.metadata.get("stale"):
            self.reply = _stale(self.reply)
            card, facts = _card(self.reply.metadata), _metadata(self.reply)
            _later(
                delay,
                lambda: self._publisher.publish(card, facts, transient=self._id, update=True),
            )


class LiveView:
    """Markdown that grows, and a card below it with the facts and a Stop button."""

    def __init__(self, publisher: Publisher, pace: Pace, key: str, stop: Callable[[], Any]) -> None:
        self._publisher = publisher
        self._pace = pace
        self._answer_id, self._card_id = f"aiki-{key}", f"aiki-{key}-card"
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._card: Any = None
        self.reply = Reply("")
        self._shown = ""
        self._shown_at = 0.0
        self._card_at = 0.0
        self._card_dirty = False
        self._ended = False

    def begin(self, reply: Reply) -> None:
        from aiki_kernel.display.card import AnswerCard

        self._pace.note(6)  # busy, the input, two displays and the card's two models
        self.reply = reply
        self._publish(self._answer_id, {"text/markdown": "", "text/plain": ""}, {})
        self._card = AnswerCard(reply.metadata, on_stop=self._stop)
        data, metadata = self._card.bundle()
        self._publish(self._card_id, data, metadata)
        self._card_at = time.monotonic()

    def update(self, reply: Reply, delta: str = "") -> None:
        if not delta or not self.reply.text:  # its first words end the wait for them
            self._card_dirty = True
        self.reply = reply
        self._flush()

    def end(self, reply: Reply) -> None:
        self._ended, self.reply = True, reply
        if self._timer is not None:
            self._timer.cancel()
        self._publish(self._answer_id, bundle(reply), _metadata(reply), update=True)
        self._publish(self._card_id, _card(reply.metadata), {}, update=True)
        self._pace.note(3)
        card, self._card = self._card, None
        if card is not None:
            # Not now: closing is two more messages in a second that is full already.
            self._loop.call_later(_CLOSE_S, _close, card)

    def show(self, reply: Reply) -> None:
        self._ended, self.reply = True, reply
        self._publish(self._answer_id, bundle(reply), _metadata(reply))
        self._publish(self._card_id, _card(reply.metadata), {})
        self._pace.note(4)  # with busy and the input

    def mark_stale(self, delay: float) -> None:
        """Say on the card and in what is saved, ``delay`` seconds from now, that an earlier
        cell has changed."""
        if not self.reply.metadata.get("stale"):
            self.reply = _stale(self.reply)
            _later(delay, self._show_stale)

    def _show_stale(self) -> None:
        self._publish(self._answer_id, bundle(self.reply), _metadata(self.reply), update=True)
        self._publish(self._card_id, _card(self.reply.metadata), {}, update=True)

    def _flush(self) -> None:
        """Send what is new if the pace allows it, else come back when it does."""
        if self._ended or self._timer is not None:
            return
        now = time.monotonic()
        # A long answer costs more to draw: it is drawn less often.
        interval = max(_INTERVAL_S, len(self.reply.text) / 200_000)
        text_at = self._shown_at + interval if self.reply.text != self._shown else math.inf
        card_at = self._card_at + _CARD_S if self._card_dirty else math.inf
        first = min(text_at, card_at)
        if first == math.inf:
            return
        wait = max(self._pace.wait(), first - now)
        if wait > 0:
            self._timer = self._loop.call_later(wait, self._again)
            return
        self._pace.note()
        if card_at <= now:  # once a second at most; words without an end must not put it off
            self._card_at, self._card_dirty = now, False
            self._card.update(self.reply.metadata)
        else:
            self._shown, self._shown_at = self.reply.text, now
            self._publish(self._answer_id, bundle(self.reply), {}, update=True)
        self._flush()

    def _again(self) -> None:
        self._timer = None
        self._flush()

    def _publish(
        self, key: str, data: dict[str, Any], metadata: dict[str, Any], *, update: bool = False
    ) -> None:
        self._publisher.publish(data, metadata, transient={"display_id": key}, update=update)


def _stale(reply: Reply) -> Reply:
    return replace(reply, metadata={**reply.metadata, "stale": True})


def _later(delay: float, work: Callable[[], object]) -> None:
    # On the loop of the cell that changed: this answer's own may have ended.
    asyncio.get_running_loop().call_later(delay, work)


def _close(card: Any) -> None:
    # The front end may have closed it first, or the channel may be gone at exit.
    with contextlib.suppress(Exception):
        card.layout.close()
        card.close()
