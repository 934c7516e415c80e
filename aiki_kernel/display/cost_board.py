"""The cost board: an anywidget that reads the ledger again while somebody sees it.

The page asks, and only while it is seen; so a board that is closed or scrolled away costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from aiki_kernel.display import front_end
from aiki_kernel.display.asked import Answer, AskedWidget
from aiki_kernel.display.cost_facts import SPANS, Board
from aiki_kernel.display.static_cost import render_html, render_text

Look = Callable[[str], Board]
"""The board of a span."""

Copied = Callable[[str, str, str], str]
"""A table as text to be copied: ``csv`` or ``json``, the span, and by what."""


class CostBoard(AskedWidget):
    """``every`` is in seconds, from one look to the next."""

    _esm = front_end.module("cost_board")
    _css = front_end.style("cost_board")

    board = traitlets.Dict().tag(sync=True)
    every = traitlets.Float(15.0).tag(sync=True)

    typed = frozenset({"look"})

    def __init__(self, look: Look, copied: Copied, board: Board, every: float = 15.0) -> None:
        self._look, self._copied, self._seen = look, copied, board
        super().__init__(board=board, every=every)

    def static(self) -> dict[str, str]:
        """The span that was seen last."""
        return {"text/html": render_html(self._seen), "text/plain": render_text(self._seen)}

    def answer(self, what: str, asked: Mapping[str, Any]) -> Answer:
        span = str(asked.get("span", ""))
        span = span if span in SPANS else "7"
        if what == "look":
            self._seen = self._look(span)
            return {"board": self._seen}
        if what == "copy":
            return {"text": self._copied(str(asked.get("as", "")), span, str(asked.get("by", "")))}
        return super().answer(what, asked)
