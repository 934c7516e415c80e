"""ServerStore: the same memories in a Qdrant server or cluster, by ``qdrant-client``.

The client is imported here and only here: it takes seconds. A collection that mem0 made is
used as it is; sparse slots that it lacks are added where the server can, and otherwise
recall goes on without that list. Rebuilding makes a collection beside the old one and
lets an alias of the old name point to it, so other clients notice nothing.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from qdrant_client import QdrantClient, models

from aiki_kernel.errors import StoreError
from aiki_kernel.memory import server_switch
from aiki_kernel.memory.gate import Gate
from aiki_kernel.memory.lexical import Sparse
from aiki_kernel.memory.server_points import condition, native, point, sparse, wave_slot
from aiki_kernel.memory.store import (
    FLAG,
    KEYWORDS,
    SLOTS,
    TIMES,
    MemoryStore,
    Point,
    Scored,
    Where,
)
from aiki_kernel.memory.wave import KIND as SENSOR
from aiki_kernel.memory.wave import SLOT as WAVE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aiki_kernel.config import Memory
    from aiki_kernel.memory.embedders import Embedder

_BATCH = 256


class ServerStore:
    """A :class:`~aiki_kernel.memory.store.MemoryStore` behind a URL."""

    kind = "server"

    def __init__(self, client: QdrantClient, collection: str, dimension: int, where: str) -> None:
        """Use ``collection``, or create it. ``where`` names the server in messages.

        Raises :class:`StoreError` when the server is away or the collection is not usable.
        """
        self._client = client
        self.collection = collection
        self._where = where
        self._gate = Gate()
        self.slots: frozenset[str] = frozenset()
        self._waves = False
        self.dimension = dimension
        with self._asking():
            server_switch.finish(client, collection)
            if not client.collection_exists(collection):
                self._create(collection, dimension)
            self._look()

    @classmethod
    def connect(cls, settings: Memory, embedder: Embedder) -> ServerStore:
        """The store that ``settings.url`` names, with the key of ``settings.api_key_env``."""
        from aiki_kernel.config import api_key

        key = api_key(settings.api_key_env)
        try:
            client = QdrantClient(
                url=settings.url,
                api_key=key.get_secret_value() if key else None,
                check_compatibility=False,
                timeout=30,
            )
        except Exception as error:
            raise StoreError(
                f"memory.url {settings.url!r} cannot be used ({_short(error)}): "
                "write it as http://host:6333."
            ) from error
        try:
            return cls(client, settings.collection, embedder.dimension, settings.url)
        except BaseException:
            client.close()
            raise

    def identity(self) -> tuple[str | None, int]:
        with self._asking():
            total = self._client.count(self.collection, exact=True).count
            if not total:
                return None, self.dimension
            first, _ = self._client.scroll(self.collection, limit=1, with_payload=["embedder"])
            name = (first[0].payload or {}).get("embedder") if first else None
            if not name:
                return None, self.dimension
            others = self._client.count(
                self.collection, count_filter=condition(Where(not_embedder=name)), exact=True
            ).count
            return (None if others else str(name)), self.dimension

    def upsert(self, points: Sequence[Point], *, wait: bool = True) -> None:
        # The server's own log makes a write durable: it is always waited for.
        with self._asking():
            if any(WAVE in one.payload for one in points):
                self._hold_waves()
            for start in range(0, len(points), _BATCH):
                batch = [
                    native(one, self.slots, waves=self._waves)
                    for one in points[start : start + _BATCH]
                ]
                self._client.upsert(self.collection, batch, wait=True)

    def set_sparse(self, vectors: Mapping[str, Mapping[str, Sparse]]) -> None:
        with self._asking():
            found = self._client.retrieve(self.collection, list(vectors), with_payload=False)
            alive = {str(record.id) for record in found}
            changed = [
                models.PointVectors(id=name, vector={k: sparse(v) for k, v in slots.items()})
                for name, slots in vectors.items()
                if name in alive
            ]
            if changed:
                self._client.update_vectors(self.collection, changed, wait=True)

    def set_payloads(self, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        # A point that is gone is passed over by a server, but not by Qdrant in memory.
        there = {one.id for one in self.get(list(payloads))}
        with self._asking():
            for name in payloads:
                if name in there:
                    self._client.overwrite_payload(
                        self.collection, dict(payloads[name]), points=[name], wait=True
                    )

    def complete(self) -> None:
        """Nothing is left to do: it was done when the collection was opened."""

    def flush(self) -> None:
        """Nothing is left to do: every write was waited for."""

    def delete(self, ids: Sequence[str], *, wait: bool = True) -> None:
        with self._asking():
            self._client.delete(self.collection, models.PointIdsList(points=list(ids)), wait=True)

    def get(self, ids: Sequence[str]) -> list[Point]:
        if not ids:
            return []
        with self._asking():
            found = self._client.retrieve(self.collection, list(ids), with_payload=True)
        points = {str(record.id): point(record) for record in found}
        return [points[name] for name in ids if name in points]

    def search(
        self,
        vector: NDArray[np.float32] | None,
        words_by_slot: Mapping[str, Sparse],
        where: Where,
        limit: int,
    ) -> dict[str, Scored]:
        matching = condition(where)
        requests = {}
        if vector is not None:
            requests["dense"] = models.QueryRequest(
                query=vector.tolist(),
                limit=limit,
                filter=matching,
                params=models.SearchParams(exact=True),
            )
        for slot, words in words_by_slot.items():
            if words and slot in self.slots:
                requests[slot] = models.QueryRequest(
                    query=sparse(words), using=slot, limit=limit, filter=matching
                )
        if not requests:
            return {}
        with self._asking():
            answers = self._client.query_batch_points(self.collection, list(requests.values()))
        return {
            # Qdrant in memory returns points that share no word, scored zero; a server does not.
            name: [(str(hit.id), hit.score) for hit in answer.points if _counts(name, hit.score)]
            for name, answer in zip(requests, answers, strict=True)
        }

    def search_waves(self, rows: NDArray[np.float32], where: Where, limit: int) -> Scored:
        with self._asking():
            if not self._waves and not self._has_waves():
                if self._client.count(self.collection, condition(Where(kind=SENSOR))).count:
                    raise StoreError(
                        f"The Qdrant server at {self._where} cannot hold a second vector: update "
                        "it to 1.18 or later, then run `aiki memory reembed`."
                    )
                return []
            self._waves = True
            answer = self._client.query_points(
                self.collection,
                query=rows.tolist(),
                using=WAVE,
                query_filter=condition(where),
                limit=limit,
                search_params=models.SearchParams(exact=True),
            )
        return [(str(hit.id), hit.score / len(rows)) for hit in answer.points]

    def similarity(self, vector: NDArray[np.float32], ids: Sequence[str]) -> dict[str, float]:
        if not ids:
            return {}
        with self._asking():
            answer = self._client.query_points(
                self.collection,
                query=vector.tolist(),
                query_filter=condition(Where(ids=tuple(ids))),
                limit=len(ids),
                search_params=models.SearchParams(exact=True),
            )
        return {str(hit.id): hit.score for hit in answer.points}

    def latest(self, where: Where, limit: int, *, oldest_first: bool = False) -> list[Point]:
        if limit < 1:
            return []
        direction = models.Direction.ASC if oldest_first else models.Direction.DESC
        with self._asking():
            found, _ = self._client.scroll(
                self.collection,
                scroll_filter=condition(where),
                limit=limit,
                with_payload=True,
                order_by=models.OrderBy(key="created_at", direction=direction),
            )
        return [point(record) for record in found]

    def scroll(
        self, where: Where, limit: int, after: str | None = None, *, vectors: bool = False
    ) -> tuple[list[Point], str | None]:
        with self._asking():
            found, offset = self._client.scroll(
                self.collection,
                scroll_filter=condition(where),
                limit=limit,
                offset=after,
                with_payload=True,
                with_vectors=vectors,
            )
        return [point(record) for record in found], str(offset) if offset is not None else None

    def count(self, where: Where) -> int:
        with self._asking():
            return self._client.count(
                self.collection, count_filter=condition(where), exact=True
            ).count

    def tally(self, key: str, where: Where) -> dict[str, int]:
        with self._asking():
            found = self._client.facet(
                self.collection, key=key, facet_filter=condition(where), limit=10_000, exact=True
            )
        return {str(hit.value): hit.count for hit in found.hits}

    def rebuild(self, dimension: int, embedder: str, fill: Callable[[MemoryStore], None]) -> None:
        fresh = f"{self.collection}{server_switch.MARK}{uuid.uuid4().hex[:12]}"
        with self._asking():
            server_switch.sweep(self._client, self.collection)
        beside = ServerStore(self._client, fresh, dimension, self._where)
        try:
            fill(beside)
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to be told
                self._client.delete_collection(fresh)
            raise
        with self._gate.alone(), self._telling():
            server_switch.switch(self._client, self.collection, fresh)
            self._waves = False
            self._look()

    def close(self) -> None:
        self._client.close()

    def _create(self, name: str, dimension: int) -> None:
        self._client.create_collection(
            name,
            vectors_config=models.VectorParams(size=dimension, distance=models.Distance.COSINE),
            sparse_vectors_config={
                slot: models.SparseVectorParams(modifier=models.Modifier.IDF) for slot in SLOTS
            },
        )

    def _look(self) -> None:
        """Learn the collection's dimension and slots; add the slots and indexes it lacks."""
        info = self._client.get_collection(self.collection)
        params = info.config.params
        dense = params.vectors
        if isinstance(dense, dict):
            dense = dense.get("")
        if dense is None:
            raise StoreError(
                f"Collection {self.collection} has no unnamed vector, so it is not a memory: "
                "set memory.collection to another name."
            )
        self.dimension = dense.size
        slots = set(params.sparse_vectors or {})
        for slot in SLOTS:
            if slot not in slots:
                config = models.SparseVectorNameConfig(
                    sparse=models.SparseVectorConfig(modifier=models.Modifier.IDF)
                )
                # An older server cannot add a slot: `slots` then lacks it, and stats() shows it.
                with contextlib.suppress(Exception):
                    self._client.create_vector_name(self.collection, slot, config)
                    slots.add(slot)
        self.slots = frozenset(slots & set(SLOTS))
        keyword = models.KeywordIndexType.KEYWORD
        for key in KEYWORDS:
            if key not in info.payload_schema:
                schema = models.KeywordIndexParams(type=keyword, is_tenant=key == "user_id" or None)
                self._client.create_payload_index(self.collection, key, schema)
        kinds = dict.fromkeys(TIMES, models.PayloadSchemaType.DATETIME)
        for key, kind in (kinds | {FLAG: models.PayloadSchemaType.BOOL}).items():
            if key not in info.payload_schema:
                self._client.create_payload_index(self.collection, key, kind)

    def _has_waves(self) -> bool:
        dense = self._client.get_collection(self.collection).config.params.vectors
        return isinstance(dense, dict) and WAVE in dense

    def _hold_waves(self) -> None:
        """Add the vector ``wave``. A server before 1.18 cannot: then patterns are kept without
        it, and :meth:`search_waves` says so."""
        if self._waves or self._has_waves():
            self._waves = True
            return
        with contextlib.suppress(Exception):
            self._client.create_vector_name(self.collection, WAVE, wave_slot())
            self._waves = True

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._gate.shared(), self._telling():
            yield

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(
                f"The Qdrant server at {self._where} refused or is away ({_short(error)}): "
                "check memory.url and the server's log."
            ) from error


def _counts(method: str, score: float) -> bool:
    return method == "dense" or score > 0


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
