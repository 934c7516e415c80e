"""Snapshots: one file with every point, its vectors, and the history; and the way back.

The file is a gzipped tar of ``manifest.json`` (sizes and SHA-256 of the others, embedder,
dimension), ``points.jsonl`` and ``history.db``. It does not depend on where it was made:
a snapshot of the embedded store restores into a server, and the other way round. Restoring
reads these three names and no other, checks everything first, then switches collections.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.lexical import Sparse
from aiki_kernel.memory.records import now
from aiki_kernel.memory.store import MemoryStore, Point, Where

if TYPE_CHECKING:
    from aiki_kernel.memory.collection import Collection

_FORMAT = 1
_PARTS = ("points.jsonl", "history.db")
_BATCH = 256
_LARGEST_MANIFEST = 1_000_000


def snapshot(collection: Collection, target: Path) -> Path:
    """Write everything to ``target`` (a folder gets a dated name); writing waits meanwhile.

    The file appears whole or not at all.
    """
    target = target.expanduser()
    if target.is_dir() or not target.suffix:
        target = target / f"aiki-memory-{now()[:19].replace(':', '')}.tar.gz"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".aiki-snapshot-") as work:
            folder = Path(work)
            with collection.write:
                embedder, dimension = collection.store.identity()
                count = _write_points(collection.store, folder / "points.jsonl")
                collection.log.copy_to(folder / "history.db")
            manifest = {
                "format": _FORMAT,
                "created_at": now(),
                "embedder": embedder,
                "dimension": dimension,
                "memories": count,
                "files": {name: _fingerprint(folder / name) for name in _PARTS},
            }
            (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), "utf-8")
            whole = folder / "whole"
            with tarfile.open(whole, "w:gz", compresslevel=1) as archive:
                for name in ("manifest.json", *_PARTS):
                    archive.add(folder / name, arcname=name)
            with whole.open("rb+") as written:
                os.fsync(written.fileno())
            whole.chmod(0o600)
            whole.replace(target)
            collection.audit.record("memory.snapshot", count=count, embedder=embedder)
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written ({error.strerror}): choose another place."
        ) from error
    return target


def restore(collection: Collection, source: Path) -> int:
    """Put the memories of a snapshot in the place of those that are there; how many.

    Raises :class:`StoreError`, with nothing changed, when the file is not a whole snapshot.
    """
    source = source.expanduser()
    if not source.is_file():
        raise StoreError(f"{source} is not a file: give one that `aiki memory snapshot` wrote.")
    work_in = collection.paths.memory
    work_in.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work_in, prefix=".restore-") as work:
        folder = Path(work)
        manifest = _unpack(source, folder)
        dimension, embedder = manifest["dimension"], manifest["embedder"]
        expected = manifest["memories"]
        points = folder / "points.jsonl"
        if sum(1 for _ in _read_points(points, dimension)) != expected:
            raise _damaged(source, "it does not hold as many memories as it says")
        if not collection.rebuilding.acquire(blocking=False):
            raise StoreError("The memories are being embedded anew: restore when that is done.")
        try:
            with collection.write:
                collection.store.rebuild(
                    dimension,
                    embedder or "unknown",
                    lambda beside: _pour(beside, points, dimension),
                )
                collection.log.load_from(folder / "history.db")
                collection.look_again()
        finally:
            collection.rebuilding.release()
    collection.audit.record("memory.restore", count=int(expected), embedder=embedder)
    return int(expected)


def _write_points(store: MemoryStore, path: Path) -> int:
    count, after = 0, None
    with path.open("w", encoding="utf-8") as out:
        while True:
            points, after = store.scroll(Where(), _BATCH, after, vectors=True)
            for point in points:
                assert point.vector is not None
                line = {
                    "id": point.id,
                    "payload": point.payload,
                    "vector": base64.b64encode(point.vector.astype("<f4").tobytes()).decode(),
                    "sparse": {
                        slot: {"indices": words.indices, "values": words.values}
                        for slot, words in point.sparse.items()
                    },
                }
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
                count += 1
            if after is None:
                return count


def _read_points(path: Path, dimension: int) -> Iterator[Point]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                data = json.loads(line)
                vector = np.frombuffer(base64.b64decode(data["vector"]), "<f4").astype(np.float32)
                if len(vector) != dimension or not isinstance(data["payload"], dict):
                    raise ValueError("wrong shape")
                sparse = {
                    str(slot): Sparse(
                        tuple(int(i) for i in words["indices"]),
                        tuple(float(v) for v in words["values"]),
                    )
                    for slot, words in data["sparse"].items()
                }
                yield Point(str(data["id"]), data["payload"], vector, sparse)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise _damaged(path, f"line {number}: {error}") from error


def _pour(beside: MemoryStore, path: Path, dimension: int) -> None:
    batch: list[Point] = []
    for point in _read_points(path, dimension):
        batch.append(point)
        if len(batch) == _BATCH:
            beside.upsert(batch)
            batch = []
    beside.upsert(batch)


def _unpack(source: Path, folder: Path) -> dict[str, Any]:
    """Copy the parts to ``folder`` under our own names, checked against the manifest."""
    try:
        with tarfile.open(source, "r:gz") as archive:
            first = archive.next()
            if first is None or first.name != "manifest.json" or not first.isreg():
                raise _damaged(source, "it has no manifest")
            manifest = json.loads(_member(archive, first).read(_LARGEST_MANIFEST))
            if manifest["format"] > _FORMAT:
                raise StoreError(
                    f"{source} was written by a newer AIKI: "
                    "update with `pip install -U aiki-kernel`."
                )
            for name in _PARTS:
                member = archive.next()
                if member is None or member.name != name or not member.isreg():
                    raise _damaged(source, f"{name} is missing")
                _copy(_member(archive, member), folder / name, manifest["files"][name], source)
            int(manifest["dimension"]), int(manifest["memories"]), manifest["embedder"]
    except StoreError:
        raise
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(source, str(error) or type(error).__name__) from error
    found: dict[str, Any] = manifest
    return found


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    assert stream is not None
    return stream


def _copy(stream: IO[bytes], path: Path, expected: dict[str, Any], source: Path) -> None:
    left = int(expected["size"])
    digest = hashlib.sha256()
    with path.open("wb") as out:
        while block := stream.read(1 << 20):
            left -= len(block)
            if left < 0:
                break
            digest.update(block)
            out.write(block)
    if left or digest.hexdigest() != expected["sha256"]:
        raise _damaged(source, f"{path.name} does not match its checksum")


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def _damaged(source: Path, why: str) -> StoreError:
    return StoreError(f"{source.name} is not a whole snapshot ({why}): nothing was changed.")
