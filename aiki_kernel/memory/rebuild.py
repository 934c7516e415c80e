"""Re-embedding: every memory anew, beside the old collection, then both are switched.

The old collection serves until the end. What is written meanwhile is noted by the collection
and carried over, the last of it under the write lock. A process that is killed on the way
leaves the old collection as it was; running it again starts afresh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.payload import from_payload
from aiki_kernel.memory.records import Record
from aiki_kernel.memory.store import MemoryStore, Where

if TYPE_CHECKING:
    from aiki_kernel.memory.collection import Collection

_BATCH = 64
_FEW = 16


def reembed(collection: Collection, progress: Callable[[int, int], None] | None) -> int:
    """Embed all memories with the embedder of the settings; how many there were.

    Raises :class:`StoreError` when another re-embedding runs in this process.
    """
    if not collection.rebuilding.acquire(blocking=False):
        raise StoreError("The memories are being embedded anew already: wait until that is done.")
    try:
        with ExitStack() as held:
            with collection.write:
                collection.touched = set()
            total = collection.store.count(Where())
            done = 0

            def fill(beside: MemoryStore) -> None:
                nonlocal done
                after = None
                while True:
                    points, after = collection.store.scroll(Where(), _BATCH, after)
                    carry(collection, beside, [from_payload(p.id, p.payload) for p in points])
                    done += len(points)
                    if progress:
                        progress(min(done, total), total)
                    if after is None:
                        break
                while len(collection.touched or ()) > _FEW:
                    _catch_up(collection, beside)
                held.enter_context(collection.write)
                _catch_up(collection, beside)

            collection.store.rebuild(collection.embedder.dimension, collection.embedder.id, fill)
            collection.look_again()
            return done
    finally:
        collection.touched = None
        collection.rebuilding.release()


def carry(collection: Collection, beside: MemoryStore, records: Sequence[Record]) -> None:
    """Write ``records``, embedded anew, into ``beside``; windows come from the live store."""
    if not records:
        return
    fresh = [replace(record, embedder=collection.embedder.id) for record in records]
    vectors = collection.embedder.embed_documents([record.data for record in fresh])
    texts = collection.window_texts(fresh).own
    beside.upsert(
        [
            collection.point(record, texts[record.id], vector)
            for record, vector in zip(fresh, vectors, strict=True)
        ]
    )


def _catch_up(collection: Collection, beside: MemoryStore) -> None:
    with collection.write:
        ids = sorted(collection.touched or ())
        collection.touched = set()
    points = collection.store.get(ids)
    carry(collection, beside, [from_payload(point.id, point.payload) for point in points])
    gone = sorted(set(ids) - {point.id for point in points})
    if gone:
        beside.delete(gone)
