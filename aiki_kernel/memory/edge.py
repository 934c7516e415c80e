"""EdgeStore: Qdrant's engine inside this process, in one folder.

::

    memory/
      lock               flock: one process at a time
      collection.json    which shard is live, its embedder and dimension
      shards/<hex>/      the shard; any other folder here is an unfinished one

``collection.json`` is replaced atomically and only after its shard is whole on disk, so
a process killed while a shard is being created or rebuilt leaves the old state.
``flush`` (an fsync of a few ms) follows every write: what was acknowledged outlives a
power cut. Search is exact: under about 100,000 memories it costs a few ms at most.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import qdrant_edge as edge

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.edge_folder import fsync, lock
from aiki_kernel.memory.edge_points import (
    condition,
    native,
    nearest_waves,
    point,
    sparse,
    wave_slot,
)
from aiki_kernel.memory.gate import Gate
from aiki_kernel.memory.lexical import Sparse
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
from aiki_kernel.memory.wave import SLOT as WAVE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 256
_FORMAT = 1


class EdgeStore:
    """A :class:`~aiki_kernel.memory.store.MemoryStore` in a folder of this machine."""

    kind = "embedded"
    slots = frozenset(SLOTS)
    _with_waves: Any = None
    """The shard that is known to have the vector for wave patterns."""

    def __init__(self, folder: Path, dimension: int, embedder: str) -> None:
        """Open ``folder``, or create it for ``embedder``.

        An existing shard keeps its own dimension and embedder: see :meth:`identity`.
        Raises :class:`StoreError` when another process has it, or it cannot be read.
        """
        self.folder = folder
        self._gate = Gate()
        self._lock = lock(folder)
        try:
            self._meta, self._shard = self._open(dimension, embedder)
        except BaseException:
            self._lock.close()
            raise
        self._open_for_work = True

    @property
    def dimension(self) -> int:
        return int(self._meta["dimension"])

    @property
    def generation(self) -> str:
        """Names the shard that is live; :meth:`rebuild` puts another in its place."""
        return str(self._meta["shard"])

    def identity(self) -> tuple[str | None, int]:
        return self._meta["embedder"], self.dimension

    def upsert(self, points: Sequence[Point], *, wait: bool = True) -> None:
        with self._at_work() as shard:
            if any(WAVE in one.payload for one in points):
                self._hold_waves(shard)
            for start in range(0, len(points), _BATCH):
                batch = [native(one) for one in points[start : start + _BATCH]]
                shard.update(edge.UpdateOperation.upsert_points(batch))
            if points and wait:
                shard.flush()

    def set_sparse(self, vectors: Mapping[str, Mapping[str, Sparse]]) -> None:
        with self._at_work() as shard:
            ids = [uuid.UUID(name) for name in vectors]
            alive = {str(r.id) for r in shard.retrieve(ids, with_payload=False, with_vector=False)}
            changed = [
                edge.PointVectors(
                    id=uuid.UUID(name), vector={k: sparse(v) for k, v in slots.items()}
                )
                for name, slots in vectors.items()
                if name in alive
            ]
            if changed:
                # Not flushed: it is in the write-ahead log, and can be made again from the texts.
                shard.update(edge.UpdateOperation.update_vectors(changed))

    def set_payloads(self, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        with self._at_work() as shard:
            ids = [uuid.UUID(name) for name in payloads]
            found = shard.retrieve(ids, with_payload=False, with_vector=False)
            for record in found:
                payload = dict(payloads[str(record.id)])
                shard.update(edge.UpdateOperation.overwrite_payload([record.id], payload))

    def delete(self, ids: Sequence[str], *, wait: bool = True) -> None:
        with self._at_work() as shard:
            shard.update(edge.UpdateOperation.delete_points([uuid.UUID(name) for name in ids]))
            if wait:
                shard.flush()

    def get(self, ids: Sequence[str]) -> list[Point]:
        with self._at_work() as shard:
            found = shard.retrieve(
                [uuid.UUID(name) for name in ids], with_payload=True, with_vector=False
            )
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
            requests["dense"] = edge.QueryRequest(
                query=edge.Query.Nearest(vector.tolist()),
                limit=limit,
                filter=matching,
                params=edge.SearchParams(exact=True),
            )
        for slot, words in words_by_slot.items():
            if words:
                requests[slot] = edge.QueryRequest(
                    query=edge.Query.Nearest(sparse(words), using=slot),
                    limit=limit,
                    filter=matching,
                )
        if not requests:
            return {}
        with self._at_work() as shard:
            answers = shard.query_batch(edge.QueryBatchRequest(list(requests.values())))
        return {
            name: [(str(hit.id), float(hit.score)) for hit in hits]
            for name, hits in zip(requests, answers, strict=True)
        }

    def search_waves(self, rows: NDArray[np.float32], where: Where, limit: int) -> Scored:
        with self._at_work() as shard:
            try:
                hits = shard.query(nearest_waves(rows.tolist(), where, limit))
            except Exception as error:
                if "Not existing vector name" in str(error):  # nothing was captured yet
                    return []
                raise
        return [(str(hit.id), float(hit.score) / len(rows)) for hit in hits]

    def similarity(self, vector: NDArray[np.float32], ids: Sequence[str]) -> dict[str, float]:
        if not ids:
            return {}
        with self._at_work() as shard:
            hits = shard.query(
                edge.QueryRequest(
                    query=edge.Query.Nearest(vector.tolist()),
                    limit=len(ids),
                    filter=condition(Where(ids=tuple(ids))),
                    params=edge.SearchParams(exact=True),
                )
            )
        return {str(hit.id): float(hit.score) for hit in hits}

    def latest(self, where: Where, limit: int, *, oldest_first: bool = False) -> list[Point]:
        if limit < 1:
            return []
        order = edge.OrderBy(
            "created_at", edge.Direction.Asc if oldest_first else edge.Direction.Desc
        )
        with self._at_work() as shard:
            found, _ = shard.scroll(
                edge.ScrollRequest(
                    limit=limit, filter=condition(where), with_payload=True, order_by=order
                )
            )
        return [point(record) for record in found]

    def scroll(
        self, where: Where, limit: int, after: str | None = None, *, vectors: bool = False
    ) -> tuple[list[Point], str | None]:
        with self._at_work() as shard:
            found, offset = shard.scroll(
                edge.ScrollRequest(
                    offset=uuid.UUID(after) if after else None,
                    limit=limit,
                    filter=condition(where),
                    with_payload=True,
                    with_vector=vectors,
                )
            )
        return [point(record) for record in found], str(offset) if offset is not None else None

    def count(self, where: Where) -> int:
        with self._at_work() as shard:
            return int(shard.count(edge.CountRequest(exact=True, filter=condition(where))))

    def tally(self, key: str, where: Where) -> dict[str, int]:
        with self._at_work() as shard:
            found = shard.facet(
                edge.FacetRequest(key=key, limit=10_000, exact=True, filter=condition(where))
            )
        return {str(hit.value): int(hit.count) for hit in found.hits}

    def rebuild(self, dimension: int, embedder: str, fill: Callable[[MemoryStore], None]) -> None:
        with self._at_work():
            meta, shard = self._create(dimension, embedder)
        beside = _Beside(self.folder, meta, shard)
        try:
            fill(beside)
            shard.flush()
        except BaseException:
            shard.close()
            shutil.rmtree(self._path(meta), ignore_errors=True)
            raise
        with self._gate.alone():
            old_meta, old_shard = self._meta, self._shard
            self._write_meta(meta)
            self._meta, self._shard = meta, shard
            old_shard.close()
        shutil.rmtree(self._path(old_meta), ignore_errors=True)

    def flush(self) -> None:
        """Everything written so far is on disk when this returns."""
        with self._at_work() as shard:
            shard.flush()

    def complete(self) -> None:
        """Add the payload indexes that a collection of an older version lacks.

        Filters find the same without them, but slowly. Some 5 s each for a million memories.
        """
        with self._at_work() as shard:
            _index_payload(shard)

    def close(self) -> None:
        with self._gate.alone():
            if not self._open_for_work:
                return
            self._open_for_work = False
            self._shard.flush()
            self._shard.close()
            self._lock.close()

    def _hold_waves(self, shard: Any) -> None:
        """See to it that ``shard`` has the vector ``wave``; one that has it keeps what is in it."""
        if self._with_waves is not shard:
            shard.update(wave_slot())
            self._with_waves = shard

    @contextmanager
    def _at_work(self) -> Iterator[Any]:
        with self._gate.shared():
            if not self._open_for_work:
                raise StoreError("The memory is closed: open it again.")
            try:
                yield self._shard
            except StoreError:
                raise
            except Exception as error:
                raise StoreError(
                    f"The memory in {self.folder} refused ({_short(error)}): "
                    "check free space and permissions there."
                ) from error

    def _path(self, meta: Mapping[str, Any]) -> Path:
        return self.folder / "shards" / str(meta["shard"])

    def _open(self, dimension: int, embedder: str) -> tuple[dict[str, Any], Any]:
        file = self.folder / "collection.json"
        try:
            meta = json.loads(file.read_text("utf-8"))
            if meta["version"] > _FORMAT:
                raise StoreError(
                    f"{file} was written by a newer AIKI: update with `pip install -U aiki-kernel`."
                )
            self._sweep(keep=meta["shard"])
            return meta, edge.EdgeShard.load(str(self._path(meta)))
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{file} is damaged ({_short(error)}): "
                "bring it back with `aiki memory restore SNAPSHOT`."
            ) from error
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(
                f"The memory in {self.folder} cannot be opened ({_short(error)}): "
                "bring it back with `aiki memory restore SNAPSHOT`, or move the folder away."
            ) from error
        self._sweep(keep="")
        meta, shard = self._create(dimension, embedder)
        self._write_meta(meta)
        return meta, shard

    def _sweep(self, keep: str) -> None:
        """Remove shards that were never finished, or not yet removed."""
        shards = self.folder / "shards"
        if shards.is_dir():
            for left in shards.iterdir():
                if left.name != keep:
                    shutil.rmtree(left, ignore_errors=True)

    def _create(self, dimension: int, embedder: str) -> tuple[dict[str, Any], Any]:
        meta = {
            "version": _FORMAT,
            "shard": uuid.uuid4().hex,
            "embedder": embedder,
            "dimension": dimension,
        }
        path = self._path(meta)
        path.mkdir(parents=True)
        shard = edge.EdgeShard.create(
            str(path),
            edge.EdgeConfig(
                vectors={"": edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine)},
                sparse_vectors={
                    slot: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf) for slot in SLOTS
                },
            ),
        )
        _index_payload(shard)
        return meta, shard

    def _write_meta(self, meta: Mapping[str, Any]) -> None:
        file = self.folder / "collection.json"
        fresh = file.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as out:
            json.dump(meta, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
        fsync(self.folder / "shards")
        fsync(self.folder)


class _Beside(EdgeStore):
    """A shard that is being filled beside the live one; it has no lock of its own."""

    def __init__(self, folder: Path, meta: dict[str, Any], shard: Any) -> None:
        self.folder, self._meta, self._shard = folder, meta, shard
        self._gate = Gate()
        self._open_for_work = True


def _index_payload(shard: Any) -> None:
    there = shard.info().payload_schema
    kinds = dict.fromkeys(KEYWORDS, edge.PayloadSchemaType.Keyword)
    kinds.update(dict.fromkeys(TIMES, edge.PayloadSchemaType.Datetime))
    kinds[FLAG] = edge.PayloadSchemaType.Bool
    missing = [key for key in kinds if key not in there]
    for key in missing:
        shard.update(edge.UpdateOperation.create_field_index(key, kinds[key]))
    if missing:
        shard.flush()


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
