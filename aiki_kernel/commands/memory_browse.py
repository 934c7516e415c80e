"""``aiki memory browse``: pages of memories by filters; in a notebook a browser of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.memory_ask import _labels
from aiki_kernel.commands.memory_door import Limit, User, call, positive, scope
from aiki_kernel.commands.registry import command
from aiki_kernel.errors import UsageError

if TYPE_CHECKING:
    from aiki_kernel.memory.records import Scope

TRUSTS = ("user", "model", "import", "sensor", "tool")
_WHO = {"me": "role:user", "user": "role:user", "model": "role:assistant"}
_STATES = {"": None, "use": False, "held": True}


def _personas(context: Context, prefix: str) -> Iterable[str]:
    from aiki_kernel.commands.persona import names

    return names(context, prefix)


@command("memory browse")
def browse(
    context: Context,
    query: Annotated[str, Arg("words to look for; without any, the newest first", rest=True)] = "",
    kind: Annotated[str, Arg("only this kind: message, fact, ...", complete=_labels("kind"))] = "",
    tag: Annotated[str, Arg("only with this tag", complete=_labels("tag"))] = "",
    who: Annotated[
        str, Arg("by or about whom; me is you, @NAME a persona", complete=_labels("who"))
    ] = "",
    trust: Annotated[str, Arg("only what this one vouches for", choices=TRUSTS)] = "",
    since: Annotated[str, Arg("from when: yesterday, 'last week', 2026-03-01, 7d")] = "",
    until: Annotated[str, Arg("until when, in the same words; its end is included")] = "",
    held: Annotated[bool, Arg("only what is in quarantine")] = False,
    as_: Annotated[str, Arg("see what this persona may see", complete=_personas)] = "",
    after: Annotated[str, Arg("where the page begins: `next` of the page before")] = "",
    limit: Limit = 10,
    user: User = "",
) -> Result:
    """Look through the memories by words and filters; in a notebook open them and change them.

    In a notebook a memory's text and tags can be edited there, and forgetting can be undone.
    """
    positive(limit)
    memories = Browsed(context, user, as_, limit)
    wanted = {
        "query": query,
        "kind": kind,
        "tag": tag,
        "who": _who(who.lower()),
        "trust": trust,
        "since": _bound(since, end=False),
        "until": _bound(until, end=True),
        "state": "held" if held else "",
    }
    if wanted["since"] and wanted["until"] and wanted["since"] > wanted["until"]:
        raise UsageError("--since is later than --until.")
    from aiki_kernel.display.static_memory import render_html, render_text

    page = memories.page(wanted, after, 0)
    data = {**page, "wanted": wanted}

    def widget() -> Any:
        from aiki_kernel.display.memory_browser import MemoryBrowser

        return MemoryBrowser(memories, page, wanted)

    return Result(data, render_text(page), render_html(page), widget=widget)


@command("memory", faces=("magic",))
def memory(context: Context) -> Result:
    """Look through the memories: search, filter, read, edit, forget with undo."""
    return browse(context)


class Browsed:
    """The memory for the browser, through the same door as every verb of ``memory``."""

    def __init__(self, context: Context, user: str, persona: str, limit: int) -> None:
        from dataclasses import replace

        self._context = context
        self._limit = limit
        self._scope: Scope = replace(scope(context, user), persona=persona)

    def page(self, wanted: Mapping[str, Any], after: str, first: int) -> dict[str, Any]:
        from aiki_kernel.display import memory_facts

        query = str(wanted.get("query") or "")
        if wanted.get("state") == "gone":
            found = self._do(lambda m: m.gone(self._scope, query, after=after, limit=self._limit))
        else:
            asked = self._asked(wanted)
            found = self._do(lambda m: m.browse(asked, self._scope, after=after, limit=self._limit))
        return memory_facts.page(found, wanted, first)

    def labels(self) -> dict[str, Any]:
        from aiki_kernel.display import memory_facts

        return memory_facts.labels(self._do(lambda m: m.labels(self._scope)))

    def timeline(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        from aiki_kernel.display import memory_facts

        asked = self._asked(wanted)
        return memory_facts.timeline(self._do(lambda m: m.timeline(asked, self._scope)))

    def open(self, id: str) -> dict[str, Any]:
        from aiki_kernel.display import memory_facts

        return memory_facts.opened(self._do(lambda m: m.opened(id, self._scope)))

    def tag(self, id: str, tags: Sequence[str]) -> None:
        self._do(lambda m: m.tag(id, tags, self._scope))

    def rewrite(self, id: str, text: str) -> None:
        if not text.strip():
            raise UsageError("A memory cannot be empty: forget it instead.")
        self._do(lambda m: m.update(id, text, self._scope))

    def forget(self, id: str, reason: str) -> None:
        if not self._do(lambda m: m.forget_many([id], self._scope, reason=reason)):
            raise UsageError("It could not be forgotten: it is gone already, or not yours to.")

    def bring_back(self, id: str) -> None:
        self._do(lambda m: m.undo([id], self._scope))

    def hold(self, id: str, reason: str) -> None:
        self._do(lambda m: m.quarantine(id, self._scope, reason))

    def release(self, id: str, reason: str) -> None:
        self._do(lambda m: m.release(id, self._scope, reason))

    def _do(self, work: Any) -> Any:
        return call(self._context, work)

    def _asked(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The filters as the daemon takes them; ``period`` is one such as 7d."""
        names = ("query", "kind", "tag", "who", "trust", "since", "until")
        asked: dict[str, Any] = {name: str(wanted.get(name) or "") for name in names}
        asked["held"] = _STATES.get(str(wanted.get("state") or ""))
        period = str(wanted.get("period") or "")
        if period and not asked["since"]:
            asked["since"] = _bound(period, end=False)
        return asked


def _who(name: str) -> str:
    if name.startswith("@"):
        return f"agent:{name[1:]}"
    return _WHO.get(name, f"entity:{name}" if name else "")


def _bound(words: str, *, end: bool) -> str:
    from aiki_kernel.memory.asking.period import bound

    if not words:
        return ""
    return bound(words, datetime.now().astimezone(), end=end) or ""
