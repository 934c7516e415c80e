"""The live card under an answer: an anywidget with a Stop button.

Importing this module imports ipywidgets; the kernel does so at its first message, not at
its start. A card lives while its answer does. When the answer is over, the kernel puts
:meth:`AnswerCard.final_bundle` in its place under the same display id and closes the
card: the notebook then keeps plain HTML that needs no kernel when it is opened again, and
a long conversation does not pile up widget models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import traitlets

from aiki_kernel.display import front_end
from aiki_kernel.display.facts import Summary
from aiki_kernel.display.static_card import render_html, render_text
from aiki_kernel.display.weight import compact

STATES = ("streaming", "done", "interrupted", "error")


class AnswerCard(anywidget.AnyWidget):
    """One answer's facts, kept up to date while it streams.

    ``summary`` is the answer's metadata made light (under 6 kB of JSON); ``state`` is one
    of ``streaming``, ``done``, ``interrupted``, ``error``. ``on_stop`` is called without
    arguments when the reader presses Stop. JupyterLab may deliver that press on another
    thread (a subshell), so the callback must be safe to call from any thread.
    """

    _esm = front_end.module("answer_card")
    _css = front_end.style("answer_card")

    summary = traitlets.Dict().tag(sync=True)
    state = traitlets.Enum(STATES, default_value="streaming").tag(sync=True)

    def __init__(
        self,
        summary: Summary | None = None,
        state: str = "streaming",
        *,
        on_stop: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(summary=compact(summary or {}), state=state)
        self._on_stop = on_stop
        self.on_msg(self._receive)

    def update(self, summary: Summary | None = None, state: str | None = None) -> None:
        """Show new facts. Both changes travel in one message; equal values send nothing."""
        with self.hold_sync():
            if summary is not None:
                self.summary = compact(summary)
            if state is not None:
                self.state = state

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """``(data, metadata)`` of the live card, with HTML and text for other front-ends."""
        data, metadata = super()._repr_mimebundle_() or ({}, {})
        return {**data, **_plain(self.summary)}, metadata

    def final_bundle(self, summary: Summary | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """``(data, metadata)`` of the card as a notebook keeps it: HTML and text, no model."""
        return _plain(compact(summary) if summary is not None else self.summary), {}

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.bundle()

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        stop = isinstance(content, Mapping) and content.get("type") == "stop"
        if stop and self.state == "streaming" and self._on_stop is not None:
            self._on_stop()


def _plain(summary: Summary) -> dict[str, str]:
    return {"text/html": render_html(summary), "text/plain": render_text(summary)}
