"""Import and export: memories in, memories out, the same memories.

An import may be repeated: what is there already, by id or by text, user and date, is
skipped. What cannot be read is reported and stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.payload import derived_id, digest, to_record
from aiki_kernel.memory.records import Draft, ImportReport, Scope
from aiki_kernel.memory.sources import Found, read_source
from aiki_kernel.memory.store import Where

if TYPE_CHECKING:
    from aiki_kernel.memory.access import View
    from aiki_kernel.memory.collection import Collection

Progress = Callable[[int, int], None]
"""Called with how many are done and how many there are."""

_BATCH = 64


def bring_in(
    collection: Collection, source: str | Path, scope: Scope, progress: Progress | None
) -> ImportReport:
    """Import ``source`` for ``scope``'s user. See :func:`~.sources.read_source` for sources."""
    found, histories = read_source(
        source, scope, lambda url: _server_points(url, collection.settings.api_key_env)
    )
    failed = [(one.where, one.problem) for one in found if one.draft is None]
    items = [one for one in found if one.draft is not None]
    added = skipped = 0
    taken: set[str] = set()
    for start in range(0, len(items), _BATCH):
        batch = items[start : start + _BATCH]
        fresh = _unknown(collection, batch)
        skipped += len(batch) - len(fresh)
        written = _write(collection, fresh, failed)
        added += len(written)
        taken.update(written)
        if progress:
            progress(min(start + _BATCH, len(items)), len(items))
    for history in histories:
        try:
            collection.log.load_from(history, only=taken)
        except StoreError as error:
            failed.append((str(history), str(error)))
    counts = {"added": added, "skipped": skipped, "failed": len(failed)}
    collection.audit.record("memory.import", **counts, actor=scope.user_id)
    return ImportReport(added, skipped, tuple(failed))


def send_out(collection: Collection, view: View) -> Iterator[dict[str, Any]]:
    """Each memory of ``view`` as plain JSON data; one a line makes a file to import."""
    collection.audit.record("memory.export", actor=view.actor)
    for record in collection.records(view.where):
        if view.sees(record):
            data = view.given(record).to_json()
            yield {key: value for key, value in data.items() if value not in (None, "", {})}


def _unknown(collection: Collection, batch: Sequence[Found]) -> list[tuple[str, Draft]]:
    """Those of ``batch`` that the store does not have; an id that is another user's is changed."""
    drafts = [(one.where, one.draft) for one in batch if one.draft is not None]
    ids = [str(draft.id) for _, draft in drafts]
    owners = {
        point.id: str(point.payload.get("user_id") or "") for point in collection.store.get(ids)
    }
    user = drafts[0][1].scope.user_id if drafts else ""
    hashes = tuple({digest(draft.text) for _, draft in drafts})
    same = {
        (record.hash, record.created_at)
        for record in collection.records(Where(user_id=user, hashes=hashes))
    }
    fresh: list[tuple[str, Draft]] = []
    chosen: set[str] = set()
    for where, draft in drafts:
        name = str(draft.id)
        if owners.get(name, user) != user:
            name = derived_id("import", user, name)
            if collection.store.get([name]):
                continue
        elif name in owners:
            continue
        if name in chosen or (digest(draft.text), draft.created_at) in same:
            continue
        chosen.add(name)
        fresh.append((where, replace(draft, id=name)))
    return fresh


def _write(
    collection: Collection,
    fresh: Sequence[tuple[str, Draft]],
    failed: list[tuple[str, str]],
) -> list[str]:
    """Write together; if the store refuses, one by one, so that only the bad ones are left out."""
    guard, embedder = collection.guard, collection.embedder.id
    records = [to_record(guard.admitted(draft), embedder) for _, draft in fresh]
    try:
        collection.put(records, reason="import")
        return [record.id for record in records]
    except StoreError:
        if len(records) == 1:
            raise
    written = []
    for (where, _), record in zip(fresh, records, strict=True):
        try:
            collection.put([record], reason="import")
            written.append(record.id)
        except StoreError as error:
            failed.append((where, str(error)))
    if not written:
        raise StoreError(failed[-1][1])
    return written


def _server_points(url: str, key_variable: str) -> Iterator[tuple[str, Any]]:
    """Id and payload of every point of ``http(s)://host:port/collection``."""
    from qdrant_client import QdrantClient

    from aiki_kernel.config import api_key

    parts = urlsplit(url)
    name = unquote(parts.path.strip("/")) or "mem0"
    key = api_key(key_variable)
    try:
        client = QdrantClient(
            url=f"{parts.scheme}://{parts.netloc}",
            api_key=key.get_secret_value() if key else None,
            check_compatibility=False,
            timeout=30,
        )
        yield from client_points(client, name)
    except StoreError:
        raise
    except Exception as error:
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise StoreError(
            f"{url} cannot be read ({cause}): write it as http://host:6333/collection."
        ) from error


def client_points(client: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Id and payload of every point that ``client`` sees in ``collection``."""
    after = None
    while True:
        found, after = client.scroll(name, limit=256, offset=after, with_payload=True)
        for record in found:
            yield str(record.id), record.payload or {}
        if after is None:
            return
