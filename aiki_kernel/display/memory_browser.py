"""The memory browser: an anywidget that searches, shows and changes memories through the daemon.

What it asks goes through a :class:`Memories`, which the command gives it: the same functions as
``%aiki_memory``'s own verbs, with the same rights and the same history. The widget's state holds
one page, so that a store of any size opens at once; all else is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import traitlets

from aiki_kernel.display import front_end
from aiki_kernel.display.asked import Answer, AskedWidget
from aiki_kernel.display.memory_facts import Facts
from aiki_kernel.display.static_memory import render_html, render_text


class Memories(Protocol):
    """The memory as the browser uses it. Every method may take its time and raise AikiError."""

    def page(self, wanted: Mapping[str, Any], after: str, first: int) -> Facts:
        """The page that begins at ``after``; ``first`` memories stand before it."""
        ...

    def labels(self) -> Facts:
        """What there is to filter by."""
        ...

    def timeline(self, wanted: Mapping[str, Any]) -> Facts:
        """How many memories there are a day, month or year."""
        ...

    def open(self, id: str) -> Facts:
        """One memory whole."""
        ...

    def tag(self, id: str, tags: Sequence[str]) -> None: ...

    def rewrite(self, id: str, text: str) -> None: ...

    def forget(self, id: str, reason: str) -> None: ...

    def bring_back(self, id: str) -> None: ...

    def hold(self, id: str, reason: str) -> None: ...

    def release(self, id: str, reason: str) -> None: ...


class MemoryBrowser(AskedWidget):
    """``page`` is the first page, ``wanted`` the filters that it was asked with."""

    _esm = front_end.module("memory_browser")
    _css = front_end.style("memory_browser")

    page = traitlets.Dict().tag(sync=True)
    wanted = traitlets.Dict().tag(sync=True)

    typed = frozenset({"page", "timeline"})

    def __init__(self, memories: Memories, page: Facts, wanted: Mapping[str, Any]) -> None:
        self._seen = page
        self._memories = memories
        super().__init__(page=page, wanted=dict(wanted))

    def static(self) -> dict[str, str]:
        """The page that was seen last."""
        return {"text/html": render_html(self._seen), "text/plain": render_text(self._seen)}

    def answer(self, what: str, asked: Mapping[str, Any]) -> Answer:
        memories, id = self._memories, str(asked.get("memory", ""))
        wanted = asked.get("wanted")
        wanted = wanted if isinstance(wanted, Mapping) else {}
        if what == "page":
            first = asked.get("first")
            self._seen = memories.page(
                wanted, str(asked.get("after", "")), first if isinstance(first, int) else 0
            )
            return {"page": self._seen}
        if what == "labels":
            return {"labels": memories.labels()}
        if what == "timeline":
            return {"timeline": memories.timeline(wanted)}
        if what == "open":
            return {"memory": memories.open(id)}
        return self._change(what, id, asked)

    def _change(self, what: str, id: str, asked: Mapping[str, Any]) -> Answer:
        memories, reason = self._memories, str(asked.get("reason", ""))
        if what == "tag":
            tags = asked.get("tags")
            memories.tag(id, [str(tag) for tag in tags] if isinstance(tags, list) else [])
        elif what == "rewrite":
            memories.rewrite(id, str(asked.get("text", "")))
        elif what == "forget":
            memories.forget(id, reason)
            return {}
        elif what == "undo":
            memories.bring_back(id)
        elif what == "hold":
            memories.hold(id, reason)
        elif what == "release":
            memories.release(id, reason)
        else:
            return super().answer(what, asked)
        return {"memory": memories.open(id)}
