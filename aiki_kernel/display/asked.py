"""AskedWidget: a widget whose page asks and is answered, while the kernel does what it does.

The page sends ``{"type": "ask", "id": ..., "what": ...}``. Back comes an ``answer`` of that id with
what :meth:`AskedWidget.answer` returns, or with ``error``, one line. Answers are worked out on a
thread of this object, one after the other: neither a cell that runs for hours nor a memory that
takes its time holds anything up. Of questions that follow typing only the newest counts. Nothing
of a question or an answer is kept in the widget's state. A page that hears nothing asks again
under the same id (its first words may wait behind a cell, until JupyterLab has a subshell for
them): what was heard before is not done twice.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import anywidget

from aiki_kernel.errors import AikiError

_log = logging.getLogger(__name__)

_HEARD = 200

Answer = dict[str, Any]


class AskedWidget(anywidget.AnyWidget):
    """``typed`` names questions of which an older one is not answered when a newer one waits."""

    typed: frozenset[str] = frozenset()

    def __init__(self, **state: Any) -> None:
        super().__init__(**state)
        self._waiting: list[Mapping[str, Any]] = []
        self._heard: deque[Any] = deque(maxlen=_HEARD)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._over = False
        self.on_msg(self._receive)
        heard_beside_cells(self)

    def answer(self, what: str, asked: Mapping[str, Any]) -> Answer:
        """What to tell the page. Raises :class:`AikiError`, whose line it shows."""
        raise AikiError(f"Nobody knows what {what!r} is: run the cell again.")

    def static(self) -> dict[str, str]:
        """The widget as it is now for a front end without widgets: HTML and text."""
        return {"text/plain": type(self).__name__}

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """``(data, metadata)`` of the live widget, with HTML and text for other front ends."""
        data, metadata = super()._repr_mimebundle_() or ({}, {})
        return {**data, **self.static()}, metadata

    def final(self) -> dict[str, str]:
        """What stays when the widget has ended: how it was last seen."""
        return self.static()

    def close(self) -> None:
        """Answer no more and end the front end's part."""
        self._over = True
        super().close()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.bundle()

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        if not isinstance(content, Mapping) or content.get("type") != "ask":
            return
        with self._lock:
            if content.get("id") in self._heard:
                return
            self._heard.append(content.get("id"))
            self._waiting.append(content)
            if self._thread is None and not self._over:
                self._thread = threading.Thread(
                    target=self._work, name=f"aiki-{type(self).__name__}", daemon=True
                )
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or self._over:
                    self._thread = None
                    return
                asked = self._waiting.pop(0)
                kind = _kind(asked)
                if asked.get("what") in self.typed and kind in map(_kind, self._waiting):
                    continue
            told = self._told(asked)
            if not self._over:
                self.send({"type": "answer", "id": asked.get("id"), **told})

    def _told(self, asked: Mapping[str, Any]) -> Answer:
        try:
            return self.answer(str(asked.get("what", "")), asked)
        except AikiError as error:
            return {"error": str(error)}
        except Exception as error:  # a page that waits for ever would be worse than a poor line
            _log.exception("a widget's question failed")
            return {"error": f"This failed ({type(error).__name__}): run the cell again."}


def heard_beside_cells(widget: Any) -> None:
    """Have what a page sends to ``widget`` heard on the subshell that JupyterLab sent it to.

    ipykernel 7.4 hands it to the shell that wrote to the page last instead, so that a cell may
    wait for its own widget; behind a cell that works it would be heard only when that ends.
    Older versions do as the page asks, and have no such hook.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda _, subshell: subshell


def _kind(asked: Mapping[str, Any]) -> tuple[Any, Any]:
    """What is asked, by which view."""
    return asked.get("what"), asked.get("view")
