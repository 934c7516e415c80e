"""Live widgets that commands show: kept while the kernel lives, pictures of themselves after.

A notebook that is saved while a widget lives would open without it later. So a widget that ends
(the kernel shuts down, or too many live at once) leaves its HTML and text in its place.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import Any, Protocol

_MOST = 6


class LiveWidget(Protocol):
    """What a command may give as its widget."""

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """``(data, metadata)`` while it lives."""
        ...

    def final(self) -> dict[str, str]:
        """What stays when it has ended: HTML and text."""
        ...

    def close(self) -> None: ...


class Boards:
    """The live widgets of one notebook, oldest first."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        self._live: dict[str, LiveWidget] = {}

    def show(self, widget: LiveWidget) -> None:
        """Display a widget; the oldest gives way when there are too many."""
        id = uuid.uuid4().hex
        data, metadata = widget.bundle()
        self._publisher.publish(data, metadata, transient={"display_id": id})
        self._live[id] = widget
        while len(self._live) > _MOST:
            self._end(next(iter(self._live)))

    def end(self) -> None:
        """Leave a picture of each in its place. What cannot be told any more is left."""
        for id in list(self._live):
            with contextlib.suppress(Exception):  # the connection may be gone already
                self._end(id)

    def _end(self, id: str) -> None:
        widget = self._live.pop(id)
        widget.close()
        self._publisher.publish(widget.final(), {}, transient={"display_id": id}, update=True)
