"""Sessions by their names: what the ledger knows of each, under the name that it has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from aiki_kernel.commands.command import Context, spelled
from aiki_kernel.commands.cost import ledger
from aiki_kernel.commands.parser import nearest
from aiki_kernel.errors import AikiError, UsageError
from aiki_kernel.mind.sessions import Named, Sessions

LAST = "last"


@dataclass
class Session:
    """A session of the past. ``answers`` counts messages that got one, ``calls`` all calls of
    models; ``last`` and ``began`` are ISO-8601 times."""

    id: str
    name: str = ""
    notebook: str = ""
    began: str = ""
    last: str = ""
    answers: int = 0
    calls: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    models: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A plain dict of all fields."""
        facts = asdict(self)
        return {"session_id": facts.pop("id"), **facts}


def sessions(context: Context) -> Sessions:
    """The file of names and notebooks."""
    return Sessions(context.paths.sessions)


def known(context: Context) -> list[Session]:
    """All sessions, the most recently used first."""
    found = {one["id"]: Session(**one) for one in ledger(context).sessions()}
    for id, row in named(context)[0].items():
        one = found.setdefault(id, Session(id, began=row.began, last=row.began))
        one.name, one.notebook = row.name, row.notebook
    return sorted(found.values(), key=lambda one: one.last, reverse=True)


def named(context: Context) -> tuple[dict[str, Named], list[str]]:
    """What sessions are called, and a line where that cannot be read: what was said is not in
    that file, and can be shown and exported without it."""
    if "named" not in context.__dict__:  # once a command: a locked file is waited for
        try:
            context.__dict__["named"] = sessions(context).named(), []
        except AikiError as error:
            context.__dict__["named"] = {}, [f"{error} Names are left out."]
    found: tuple[dict[str, Named], list[str]] = context.__dict__["named"]
    return found


def name_of(context: Context, id: str) -> str:
    """The name of a session, or ""."""
    return named(context)[0].get(id, Named(id, "")).name


def names(context: Context, prefix: str) -> Iterable[str]:
    """What Tab offers: names, ``last``, ids."""
    found = known(context)
    yield from (one.name for one in found if one.name)
    yield LAST
    yield from (one.id for one in found)


def find(context: Context, word: str) -> Session:
    """The session that ``word`` means: a name, the beginning of an id, ``last`` or nothing
    (the last one that is not this one). Raises :class:`UsageError` naming what there is."""
    here = context.conversation.session_id if context.conversation is not None else ""
    found = known(context)
    word = " ".join(word.split())
    if word in ("", LAST):
        others = [one for one in found if one.id != here]
        if not others:
            raise UsageError("There has been no other session yet.")
        return others[0]
    low = word.casefold()
    for fits in (
        lambda one: one.id == word,
        lambda one: one.name.casefold() == low,
        lambda one: len(word) >= 2 and one.id.startswith(word.lower()),
        lambda one: one.name.casefold().startswith(low),
        lambda one: low in one.name.casefold(),
    ):
        matching = [one for one in found if fits(one)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            ids = ", ".join(f"{one.id[:8]} ({one.name})" for one in matching[:5])
            more = f" and {len(matching) - 5} more" if len(matching) > 5 else ""
            raise UsageError(f"{len(matching)} sessions fit {word!r}: {ids}{more}. Give the id.")
    guess = nearest(word, [one.name for one in found if one.name])
    called = spelled("session list", context.face)
    raise UsageError(f"There is no session {word!r}{guess} See `{called}`.")
