"""How the verbs of ``memory`` reach the memory, and what their arguments have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from aiki_kernel.commands.command import Arg, Context
from aiki_kernel.commands.tables import one_line, when
from aiki_kernel.errors import UsageError

if TYPE_CHECKING:
    from aiki_kernel.memory.records import Record, Scope

T = TypeVar("T")

SHORT = 8
_PAGE = 1000


def ids(context: Context, prefix: str) -> Iterable[str]:
    """Ids of the newest memories, for Tab. A daemon is asked, never started."""
    if not context.started and not context.paths.socket.exists():
        return ()
    return [record.id for record in call(context, lambda m: m.list(scope(context), limit=200))]


Id = Annotated[str, Arg("the memory's id, or how it begins", complete=ids)]
User = Annotated[str, Arg("whose memories (default: memory.user_id)")]
Limit = Annotated[int, Arg("how many at most", short="-k")]
Yes = Annotated[bool, Arg("do not ask", short="-y")]


def call(context: Context, work: Callable[[Any], Awaitable[T]]) -> T:
    """Run one method of the memory to its end and return what it returns."""

    async def run() -> T:
        return await work(context.aiki.connection.admin)

    return context.aiki.run(run())


def scope(context: Context, user: str = "") -> Scope:
    from aiki_kernel.memory.records import Scope

    return Scope(user or context.settings.memory.user_id)


def whole_id(context: Context, id: str) -> str:
    """The full id that begins with ``id``. Raises UsageError when there is none or many.

    It waits for the memory itself, so it must not be called within the work of :func:`call`.
    """
    if len(id) >= 32:
        return id
    if len(id) < 4:
        raise UsageError(f"{id!r} is too short for the beginning of an id: give at least 4 of it.")
    found: list[str] = []
    offset = 0
    while True:
        page: list[Record] = call(
            context,
            lambda m, at=offset: m.list(scope(context), limit=_PAGE, offset=at),  # type: ignore[misc]
        )
        found += [record.id for record in page if record.id.startswith(id.lower())]
        offset += _PAGE
        if len(page) < _PAGE:
            break
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} memories begin with {id!r}: give more of the id.")
    raise UsageError(
        f"No memory begins with {id!r}: see `memory list`; a forgotten one needs its whole id."
    )


def row(record: Record) -> list[Any]:
    """A memory in a table: id, when, what, text."""
    # A message's trust follows from who said it; what is held or imported is worth a word.
    trust = record.trust if record.trust not in ("user", "model") else ""
    held = "quarantined" if record.metadata.get("quarantined") else ""
    what = " ".join(part for part in (record.kind, record.role, trust, held) if part)
    notebook = record.provenance.get("notebook")
    if notebook:
        what += f"\n{str(notebook).rpartition('/')[2]}"
    return [record.id[:SHORT], when(record.created_at), what, one_line(record.data, 300)]


def positive(limit: int) -> None:
    if limit < 1:
        raise UsageError("--limit must be at least 1.")
