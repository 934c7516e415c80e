"""MemoryAdmin: every method of the memory, awaited, through whichever door.

The words are those of ``MemoryService``; results are its records. Writes carry an id made
here, so that one whose answer was cut off can be sent again without doubling.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.daemon.browse_admin import BrowseAdmin
from aiki_kernel.daemon.client import recall_from_json, record_from_json, scope_to_json
from aiki_kernel.daemon.door import Door
from aiki_kernel.daemon.wave_admin import WaveAdmin
from aiki_kernel.errors import DaemonError
from aiki_kernel.memory.records import Draft, ImportReport, Recall, Record, Scope, new_id

if TYPE_CHECKING:  # a question to the memory is rare, and its rules take time to load
    import numpy as np
    from numpy.typing import NDArray

    from aiki_kernel.memory.asking.question import Asked, Vocabulary
    from aiki_kernel.memory.asking.sift import Sifted

Records = list[Record]
Rows = list[dict[str, Any]]
Progress = Callable[[int, int], None]

_LONG_S = 600.0


class MemoryAdmin(WaveAdmin, BrowseAdmin):
    """All of the memory's methods. Each raises the :class:`AikiError` that the memory raised."""

    def __init__(self, door: Door) -> None:
        self.door = door

    async def add(
        self,
        text: str,
        scope: Scope,
        *,
        kind: str = "fact",
        metadata: Mapping[str, Any] | None = None,
        role: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        created_at: str | None = None,
        id: str | None = None,
        trust: str = "user",
    ) -> Record:
        """Store one memory; durable when this returns."""
        body = {
            "text": text,
            "scope": scope_to_json(scope),
            "kind": kind,
            "metadata": dict(metadata) if metadata is not None else None,
            "role": role,
            "provenance": dict(provenance) if provenance is not None else None,
            "created_at": created_at,
            "id": id or new_id(),
            "trust": trust,
        }
        return record_from_json(await self.door.call("POST", "/memory/add", body))

    async def add_many(self, items: Iterable[Draft]) -> Records:
        """Store many memories at once."""
        drafts = [asdict(replace(item, id=item.id or new_id())) for item in items]
        answer = await self.door.call(
            "POST", "/memory/add_many", {"items": drafts}, timeout_s=_LONG_S
        )
        return [record_from_json(item) for item in answer["records"]]

    async def get(self, id: str, scope: Scope | None = None) -> Record:
        """One memory."""
        body = {"id": id, "scope": scope and scope_to_json(scope)}
        return record_from_json(await self.door.call("POST", "/memory/get", body))

    async def update(self, id: str, text: str, scope: Scope | None = None) -> Record:
        """Replace a memory's text; its history keeps the old one."""
        body = {"id": id, "text": text, "scope": scope and scope_to_json(scope)}
        return record_from_json(await self.door.call("POST", "/memory/update", body))

    async def forget(self, id: str, scope: Scope | None = None, *, reason: str = "") -> None:
        """Delete a memory; its history keeps who, when and why."""
        body = {"id": id, "scope": scope and scope_to_json(scope), "reason": reason}
        await self.door.call("POST", "/memory/forget", body)

    async def choose(self, asked: Asked, scope: Scope, limit: int) -> dict[str, Any]:
        """What a question means to forget: ``ids``, how many of each of ``kinds``, ``examples``."""
        body = {"asked": asked.to_json(), "scope": scope_to_json(scope), "limit": limit}
        return await self.door.call("POST", "/memory/choose", body)  # type: ignore[no-any-return]

    async def forget_many(self, ids: Sequence[str], scope: Scope, *, reason: str = "") -> int:
        """Delete memories as one act; how many there were."""
        body = {"ids": list(ids), "scope": scope_to_json(scope), "reason": reason}
        answer = await self.door.call("POST", "/memory/forget_many", body, timeout_s=_LONG_S)
        return int(answer["forgotten"])

    async def forgotten(self, scope: Scope, limit: int = 20) -> Rows:
        """What was forgotten and can be brought back, newest first."""
        body = {"scope": scope_to_json(scope), "limit": limit}
        return (await self.door.call("POST", "/memory/forgotten", body))["forgotten"]  # type: ignore[no-any-return]

    async def undo(self, ids: Sequence[str], scope: Scope) -> Records:
        """Bring back what was forgotten; without ids, what was forgotten last."""
        body = {"ids": list(ids), "scope": scope_to_json(scope)}
        answer = await self.door.call("POST", "/memory/undo", body, timeout_s=_LONG_S)
        return [record_from_json(item) for item in answer["records"]]

    async def list(
        self,
        scope: Scope,
        *,
        limit: int = 20,
        offset: int = 0,
        kind: str | None = None,
        aside: bool = False,
    ) -> Records:
        """Memories, newest first; ``aside``: also what curation took out of recall."""
        body = {
            "scope": scope_to_json(scope),
            "limit": limit,
            "offset": offset,
            "kind": kind,
            "aside": aside,
        }
        answer = await self.door.call("POST", "/memory/list", body)
        return [record_from_json(item) for item in answer["records"]]

    async def history(self, id: str, scope: Scope | None = None) -> Rows:
        """What happened to a memory, oldest first."""
        body = {"id": id, "scope": scope and scope_to_json(scope)}
        answer = await self.door.call("POST", "/memory/history", body)
        return answer["history"]  # type: ignore[no-any-return]

    async def search(
        self,
        query: str,
        scope: Scope,
        limit: int = 8,
        backend: str = "",
        kinds: Sequence[str] = (),
    ) -> Recall:
        """The best memories for ``query``, of ``kinds`` only; ``backend`` searches the vectors."""
        body = {
            "query": query,
            "scope": scope_to_json(scope),
            "limit": limit,
            "backend": backend,
            "kinds": list(kinds),
        }
        return recall_from_json(await self.door.call("POST", "/memory/search", body))

    async def vocabulary(self, scope: Scope) -> Vocabulary:
        """What the memories are labelled with: kinds, people, tags, categories."""
        from aiki_kernel.memory.asking.question import Vocabulary

        body = {"scope": scope_to_json(scope)}
        return Vocabulary.from_json(await self.door.call("POST", "/memory/vocabulary", body))

    async def sift(self, asked: Asked, scope: Scope, limit: int = 8, backend: str = "") -> Sifted:
        """The best memories for a question that was understood."""
        from aiki_kernel.memory.asking.sift import Sifted

        body = {
            "asked": asked.to_json(),
            "scope": scope_to_json(scope),
            "limit": limit,
            "backend": backend,
        }
        answer = await self.door.call("POST", "/memory/sift", body)
        return Sifted.from_json(answer, recall_from_json(answer))

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings (n, d) of ``texts`` by the memory's own embedder, as it embeds memories."""
        import numpy as np

        answer = await self.door.call("POST", "/v1/embeddings", {"input": list(texts)})
        return np.asarray([row["embedding"] for row in answer["data"]], np.float32)

    async def backends(self, backend: str = "") -> dict[str, Any]:
        """What searches the vectors when ``backend`` is wanted, and what else could."""
        return await self.door.call(  # type: ignore[no-any-return]
            "POST", "/memory/backends", {"backend": backend}
        )

    async def compare(self, query: str, scope: Scope) -> dict[str, Any]:
        """Every backend on the same question: times, and whether they agree."""
        body = {"query": query, "scope": scope_to_json(scope)}
        return await self.door.call("POST", "/memory/compare", body)  # type: ignore[no-any-return]

    async def export(self, scope: Scope) -> AsyncIterator[dict[str, Any]]:
        """Every memory of ``scope`` as plain data that imports back."""
        async for item in self.door.stream("/memory/export", {"scope": scope_to_json(scope)}):
            yield item

    async def import_(
        self, source: str | Path, scope: Scope, *, progress: Progress | None = None
    ) -> ImportReport:
        """Import a file, a folder or a collection on this machine; returns the report."""
        body = {"source": _source(source), "scope": scope_to_json(scope)}
        report = await self._long("/memory/import", body, progress)
        failed = tuple((item["source"], item["reason"]) for item in report["failed"])
        return ImportReport(report["added"], report["skipped"], failed)

    async def reembed(self, progress: Progress | None = None) -> Any:
        """Compute every vector anew with the configured embedder."""
        return await self._long("/memory/reembed", {}, progress)

    async def snapshot(self, target: Path) -> Path:
        """Write a copy of the whole memory to ``target``; returns its path."""
        body = {"target": _absolute(target)}
        answer = await self.door.call("POST", "/memory/snapshot", body, timeout_s=_LONG_S)
        return Path(answer["path"])

    async def restore(self, source: Path) -> Any:
        """Put a snapshot in the place of the memory."""
        body = {"source": _absolute(source)}
        return (await self.door.call("POST", "/memory/restore", body, timeout_s=_LONG_S))["result"]

    async def stats(self) -> dict[str, Any]:
        """Counts and sizes."""
        return await self.door.call("GET", "/memory/stats")  # type: ignore[no-any-return]

    async def curation(self) -> dict[str, Any]:
        """What awaits curation, what was done, and what was turned away, by reason."""
        return await self.door.call("GET", "/memory/curation")  # type: ignore[no-any-return]

    async def curate(
        self, *, again: bool = False, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Curate all that waits; with ``again`` what was there before curation, too."""
        return await self._long(  # type: ignore[no-any-return]
            "/memory/curate", {"again": again}, progress
        )

    async def held(self, scope: Scope, limit: int = 50) -> Records:
        """Memories in quarantine, newest first."""
        body = {"scope": scope_to_json(scope), "limit": limit}
        answer = await self.door.call("POST", "/memory/held", body)
        return [record_from_json(item) for item in answer["records"]]

    async def screen(self, scope: Scope) -> dict[str, int]:
        """Look for planted text in all memories of low trust; how many were seen and held."""
        body = {"scope": scope_to_json(scope)}
        return await self.door.call(  # type: ignore[no-any-return]
            "POST", "/memory/screen", body, timeout_s=_LONG_S
        )

    async def quarantine(self, id: str, scope: Scope, reason: str = "") -> Record:
        """Take a memory out of recall."""
        return await self._held_or_not("quarantine", id, scope, reason)

    async def release(self, id: str, scope: Scope, reason: str = "") -> Record:
        """Let a memory in quarantine be recalled again."""
        return await self._held_or_not("release", id, scope, reason)

    async def revert(self, id: str, scope: Scope) -> tuple[Record, str]:
        """Take back a memory's last quarantine, release or update; and which it was."""
        body = {"id": id, "scope": scope_to_json(scope)}
        answer = await self.door.call("POST", "/memory/revert", body)
        return record_from_json(answer["record"]), answer["done"]

    async def _held_or_not(self, action: str, id: str, scope: Scope, reason: str) -> Record:
        body = {"id": id, "scope": scope_to_json(scope), "reason": reason}
        answer = await self.door.call("POST", f"/memory/{action}", body)
        return record_from_json(answer["record"])

    async def replay(self) -> dict[str, Any]:
        """Give the spool to the store now; returns what was stored and what waits."""
        return await self.door.call(  # type: ignore[no-any-return]
            "POST", "/memory/replay", {}, timeout_s=_LONG_S
        )

    async def _long(self, path: str, body: Mapping[str, Any], progress: Progress | None) -> Any:
        async for item in self.door.stream(path, body):
            if "result" in item:
                return item["result"]
            if progress is not None and "progress" in item:
                done, total = item["progress"]
                progress(done, total)
        raise DaemonError("The memory daemon broke off before the end: run the command again.")


def _source(source: str | Path) -> str:
    """An absolute path, because the daemon stands in another folder; a URL stays as it is."""
    text = str(source)
    if "://" in text:
        return text
    return _absolute(text)


def _absolute(path: str | Path) -> str:
    return str(Path(path).expanduser().absolute())
