"""The memory as ``Aiki().memory`` has it: synchronous, from a script, a cell or a running loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiki_kernel.memory.records import Hit, Recall, Record, Scope

if TYPE_CHECKING:
    from aiki_kernel.config import Settings
    from aiki_kernel.daemon.connect import Connection
    from aiki_kernel.memory.patterns import Patterns
    from aiki_kernel.mind.conversation import Conversation

Rows = list[dict[str, Any]]
Records = list[Record]


T = TypeVar("T")


class Owner(Protocol):
    """What :class:`aiki_kernel.aiki.Aiki` is to its memory."""

    settings: Settings
    conversation: Conversation

    @property
    def connection(self) -> Connection: ...

    def run(self, work: Coroutine[Any, Any, T]) -> T: ...


class MemoryFacade:
    """The memory, synchronously. Every call goes through the daemon (or the in-process engine)."""

    def __init__(self, aiki: Owner) -> None:
        self._aiki = aiki

    @property
    def scope(self) -> Scope:
        """Whose memories: those of ``memory.user_id``."""
        return Scope(self._aiki.settings.memory.user_id)

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        async def call() -> Any:
            return await getattr(self._aiki.connection.admin, name)(*args, **kwargs)

        return self._aiki.run(call())

    def add(self, text: str, **fields: Any) -> Record:
        """Store one memory; returns it once it is durable.

        ``fields``: ``kind`` ("fact"), ``metadata`` (a mapping), ``role``, ``provenance``,
        ``created_at`` (ISO-8601), ``id`` (a UUID). Raises StoreError when it cannot be stored.
        """
        record: Record = self._call("add", text, self.scope, **fields)
        return record

    def search(self, query: str = "", limit: int = 8, *, wave: Any = None) -> tuple[Hit, ...]:
        """The ``limit`` best memories for ``query``, best first, as :class:`Hit`.

        With ``wave`` those with a pattern like it: whatever :meth:`capture` takes for a channel,
        ``{name: ...}`` for channels of that name, or a sensor memory. Both may be given.
        """
        if wave is not None:
            like: Recall = self._call("like", wave, self.scope, limit, query=query)
            return like.hits
        backend = self._aiki.conversation.backend or self._aiki.settings.compute.backend
        found: Recall = self._call("search", query, self.scope, limit, backend)
        return found.hits

    def capture(
        self, *, at: Any = None, note: str = "", language: str = "", **channels: Any
    ) -> Record:
        """Remember what sensors measured: ``capture(audio=(samples, 44100), note="kettle")``.

        Any keyword is the name of a channel. It takes (values, rate), (values, rate, unit),
        :class:`~aiki_kernel.memory.wave_signal.Signal` or the path of a WAV file; values are
        (n,) or (n, columns), frames (t, h, w) at frames a second, or one frame (h, w) without a
        rate. ``at`` (datetime or ISO-8601, default now) is when it began; ``language`` of the
        sentence is en or no. What is kept, and by which formula: ``aiki_kernel.memory.wave``.
        The arrays are analysed in this process and go no further.
        """
        record: Record = self._call(
            "capture", channels, self.scope, at=at, note=note, language=language
        )
        return record

    def patterns(self, period: Any = "24h", *, language: str = "") -> Patterns:
        """What captures of a period have in common: cycles, trends, links between channels.

        ``period``: "24h", "last week", "siste 3 dager", or a pair of times.
        """
        found: Patterns = self._call("patterns", period, self.scope, language=language)
        return found

    def get(self, id: str) -> Record:
        """One memory by id. Raises StoreError when there is none."""
        record: Record = self._call("get", id)
        return record

    def list(self, *, limit: int = 20, offset: int = 0, kind: str | None = None) -> Records:
        """Memories, newest first; ``kind`` keeps one kind, ``offset`` passes over the newest."""
        found: Records = self._call("list", self.scope, limit=limit, offset=offset, kind=kind)
        return found

    def update(self, id: str, text: str) -> Record:
        """Replace the text of a memory; the old one stays in its history.

        Raises StoreError when there is no such memory.
        """
        record: Record = self._call("update", id, text)
        return record

    def delete(self, id: str) -> None:
        """Forget a memory; its history keeps a tombstone. Raises StoreError when there is none."""
        self._call("forget", id)

    forget = delete

    def history(self, id: str) -> Rows:
        """What happened to a memory, oldest first.

        Each row has ``event`` (ADD, UPDATE, DELETE), ``old_memory``, ``new_memory``,
        ``created_at``, ``actor_id`` and ``reason``.
        """
        rows: Rows = self._call("history", id)
        return rows

    def import_(
        self, source: str | Path, *, progress: Callable[[int, int], None] | None = None
    ) -> Any:
        """Import JSONL, a folder of JSON files, or a mem0 collection (a folder or an address).

        Returns an :class:`ImportReport`; what is there already is skipped. ``progress`` gets what
        is done and how much there is. Raises StoreError when there is nothing to read at all.
        """
        return self._call("import_", source, self.scope, progress=progress)

    def export(self) -> Iterator[dict[str, Any]]:
        """Every memory of this user as plain dicts that import back to the same memories."""

        async def all_of_them() -> Any:
            return [item async for item in self._aiki.connection.admin.export(self.scope)]

        yield from self._aiki.run(all_of_them())

    def stats(self) -> dict[str, Any]:
        """Counts and sizes: ``memories``, ``kinds``, ``embedder``, ``dimension``, ..."""
        found: dict[str, Any] = self._call("stats")
        return found
