"""The live health board: an anywidget that refreshes itself while somebody sees it.

A thread of its own looks and sends; the kernel's own thread is never asked, so a cell that runs
for hours does not stop the board, nor the board a cell. The front end tells when a view opens
and when it closes; without a view there is no looking. :meth:`HealthBoard.close` ends it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import traitlets

from aiki_kernel.display import front_end
from aiki_kernel.display.asked import heard_beside_cells
from aiki_kernel.display.board_facts import Board
from aiki_kernel.display.static_board import render_html, render_text

_log = logging.getLogger(__name__)


class HealthBoard(anywidget.AnyWidget):
    """``look`` makes a board (it may take seconds, and runs on this object's own thread);
    ``every`` is in seconds, from the end of one look to the beginning of the next."""

    _esm = front_end.module("health_board")
    _css = front_end.style("health_board")

    board = traitlets.Dict().tag(sync=True)
    every = traitlets.Float(10.0).tag(sync=True)

    def __init__(self, look: Callable[[], Board], board: Board, every: float = 10.0) -> None:
        super().__init__(board=board, every=every)
        self._look = look
        self._views = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._over = False
        self._thread: threading.Thread | None = None
        self.on_msg(self._receive)
        heard_beside_cells(self)

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """``(data, metadata)`` of the live board, with HTML and text for other front ends."""
        data, metadata = super()._repr_mimebundle_() or ({}, {})
        return {**data, **static_bundle(self.board)}, metadata

    def final(self) -> dict[str, str]:
        """What stays when the board has ended: how it was at the last look."""
        return static_bundle(self.board)

    def close(self) -> None:
        """Look no more and end the front end's part."""
        self._over = True
        self._wake.set()
        super().close()

    @property
    def looking(self) -> bool:
        """Whether somebody sees the board."""
        return self._views > 0 and not self._over

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.bundle()

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        kind = content.get("type") if isinstance(content, Mapping) else None
        with self._lock:
            if kind == "opened":
                self._views += 1
            elif kind == "closed":
                self._views = max(0, self._views - 1)
            if self._views and self._thread is None and not self._over:
                self._thread = threading.Thread(
                    target=self._work, name="aiki-health-board", daemon=True
                )
                self._thread.start()
        if kind in ("opened", "closed", "look"):
            self._wake.set()

    def _work(self) -> None:
        while True:
            self._wake.clear()
            with self._lock:
                if not self.looking:
                    self._thread = None
                    return
            try:
                self.board = self._look()
            except Exception:  # a board that cannot look shows how old its figures are
                _log.exception("the health board cannot look")
            self._wake.wait(self.every)


def static_bundle(board: Board) -> dict[str, str]:
    """The board for a front end without widgets."""
    return {"text/html": render_html(board), "text/plain": render_text(board)}
