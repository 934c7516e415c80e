"""Reading a folder that qdrant-client's local mode wrote, as mem0 uses it, without trust.

Such a folder keeps every point as a pickle, and unpickling what somebody else wrote runs
what they want. Here the only names that a pickle may use are the few classes a point is
made of, and they become inert records; a point that wants anything else is refused and
reported. The database is opened read-only and immutable: not a byte of it changes.
"""

from __future__ import annotations

import io
import pickle
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiki_kernel.errors import StoreError

_LARGEST = 16 * 2**20
_MODELS = "qdrant_client.http.models.models"


class _Plain:
    """Stands for a foreign class: keeps the fields it is given and does nothing."""

    def __new__(cls, *_args: object, **_named: object) -> _Plain:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_named: object) -> None:
        self.fields: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and state and isinstance(state[0], dict):
            state = state[0]
        inner = state.get("__dict__", state) if isinstance(state, dict) else {}
        self.fields = dict(inner) if isinstance(inner, dict) else {}


class _PointStruct(_Plain):
    pass


class _SparseVector(_Plain):
    pass


_ALLOWED: Mapping[tuple[str, str], type[_Plain]] = {
    (_MODELS, "PointStruct"): _PointStruct,
    (_MODELS, "SparseVector"): _SparseVector,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Plain]:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


@dataclass(frozen=True)
class ForeignPoint:
    """One row: where it was, and its id and payload, or why it was refused."""

    where: str
    id: str = ""
    payload: Mapping[str, Any] | None = None
    refused: str = ""


def find_storages(path: Path) -> list[Path]:
    """The ``storage.sqlite`` files of memories under ``path``, without mem0's side collections."""
    if path.name == "storage.sqlite":
        return [path]
    found = sorted(path.glob("**/collection/*/storage.sqlite"))
    if not found and path.parent.name == "collection":
        found = sorted(path.glob("storage.sqlite"))
    return [
        one
        for one in found
        if not one.parent.name.endswith("_entities") and one.parent.name != "mem0migrations"
    ]


def read_storage(path: Path) -> Iterator[ForeignPoint]:
    """Every point of one ``storage.sqlite``. Raises :class:`StoreError` when it cannot be read."""
    for leftover in ("-journal", "-wal"):
        beside = path.with_name(path.name + leftover)
        if beside.exists() and beside.stat().st_size:
            raise StoreError(
                f"{path} is being written: stop the program that uses it, then import again."
            )
    database = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True)
    try:
        for number, (blob,) in enumerate(database.execute("SELECT point FROM points"), 1):
            yield _read(f"{path.parent.name}:{number}", blob)
    except sqlite3.Error as error:
        raise StoreError(f"{path} is not a Qdrant collection ({error}).") from error
    finally:
        database.close()


def _read(where: str, blob: object) -> ForeignPoint:
    if not isinstance(blob, bytes) or len(blob) > _LARGEST:
        return ForeignPoint(where, refused="it is not a point")
    try:
        found = _Reader(io.BytesIO(blob)).load()
    except Exception as error:
        return ForeignPoint(where, refused=f"it is not a plain point: {error}")
    if not isinstance(found, _PointStruct) or not isinstance(found.fields.get("payload"), dict):
        return ForeignPoint(where, refused="it is not a point with a payload")
    return ForeignPoint(where, str(found.fields.get("id") or ""), found.fields["payload"])
