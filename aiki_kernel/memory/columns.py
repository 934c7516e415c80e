"""What filters ask of each memory, as columns beside the vectors: a filter becomes a mask.

A word (a user, a kind, a turn) is kept as 64 bits of its BLAKE2b, so a column is a plain
array whatever it holds: two words are taken for one another once in 2**64. A time is
microseconds since 1970. Rows have the numbers of the vector index; a deleted row keeps its
number until the index is compacted.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.memory.store import Where
from aiki_kernel.memory.window import moment

WORDS = ("user_id", "agent_id", "run_id", "kind", "turn_id", "hash", "embedder")
ID = 16  # bytes
WIDTH = ID + 8 * (len(WORDS) + 1)
"""Bytes a row, as :meth:`Columns.pack` lays them down."""

NONE = np.uint64(0)
MANY = np.uint64(2**64 - 1)
"""A list of words, which the store compares with each of its words: see :meth:`Columns.mask`."""
NEVER = np.int64(-(2**63))

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


class Columns:
    """Ids and filter columns of ``size`` rows. Not thread-safe: the dense index sees to that."""

    def __init__(self) -> None:
        self.size = 0
        self.alive = np.empty(0, np.bool_)
        self._ids = np.empty((0, ID), np.uint8)
        self._words = {key: np.empty(0, np.uint64) for key in WORDS}
        self._times = np.empty(0, np.int64)
        self._fresh: dict[bytes, int] = {}
        self._heads = np.empty(0, np.uint64)
        self._order = np.empty(0, np.int64)

    @classmethod
    def unpack(cls, packed: NDArray[np.uint8], alive: Mask) -> Columns:
        """The reverse of :meth:`pack`; ``alive`` says which rows are not deleted."""
        columns, n = cls(), len(packed)
        flat = np.ascontiguousarray(packed).reshape(-1)
        columns.size = n
        columns.alive = alive.copy()
        columns._ids = flat[: n * ID].reshape(n, ID).copy()
        at = n * ID
        for key in WORDS:
            columns._words[key] = flat[at : at + 8 * n].view(np.uint64).copy()
            at += 8 * n
        columns._times = flat[at : at + 8 * n].view(np.int64).copy()
        columns._sort()
        return columns

    def pack(self) -> NDArray[np.uint8]:
        """All rows as ``(size, WIDTH)`` bytes, column after column."""
        n = self.size
        columns = [self._words[key][:n] for key in WORDS] + [self._times[:n].view(np.uint64)]
        parts = [self._ids[:n].reshape(-1), *(column.view(np.uint8) for column in columns)]
        return np.concatenate(parts).reshape(n, WIDTH)

    def find(self, ids: Sequence[str]) -> Rows:
        """The row of each id, -1 where there is none."""
        keys = [key_of(name) for name in ids]
        found = np.full(len(keys), -1, np.int64)
        heads = np.array([_head(key) for key in keys], np.uint64)
        begin = np.searchsorted(self._heads, heads, "left")
        end = np.searchsorted(self._heads, heads, "right")
        for place, key in enumerate(keys):
            row = self._fresh.get(key)
            if row is not None:
                found[place] = row
                continue
            for at in range(begin[place], end[place]):
                row = int(self._order[at])
                if self.alive[row] and self._ids[row].tobytes() == key:
                    found[place] = row
        return found

    def names(self, rows: Rows) -> list[str]:
        """The ids of rows."""
        raw = self._ids[rows].tobytes()
        return [_name(raw[at : at + ID]) for at in range(0, len(raw), ID)]

    def append(self, ids: Sequence[str], payloads: Sequence[Mapping[str, Any]]) -> None:
        """Add a row for each; the ids must be new."""
        first, last = self.size, self.size + len(ids)
        if last > len(self.alive):
            self._grow(max(last, last + last // 2, 256))
        for row, name in enumerate(ids, first):
            key = key_of(name)
            self._ids[row] = np.frombuffer(key, np.uint8)
            self._fresh[key] = row
        self.alive[first:last] = True
        self.size = last
        self.put(np.arange(first, last), payloads)

    def put(self, rows: Rows, payloads: Sequence[Mapping[str, Any]]) -> None:
        """Set the columns of rows that are there."""
        for key in WORDS:
            self._words[key][rows] = [word(payload.get(key)) for payload in payloads]
        self._times[rows] = [time_of(payload.get("created_at")) for payload in payloads]

    def delete(self, rows: Rows) -> None:
        """Forget whose rows these were."""
        for row in rows:
            self._fresh.pop(self._ids[row].tobytes(), None)
        self.alive[rows] = False

    def keep(self, rows: Rows) -> None:
        """Number ``rows`` anew from 0 and forget all others."""
        self.size = len(rows)
        self.alive, self._ids = self.alive[rows], self._ids[rows]
        self._words = {key: column[rows] for key, column in self._words.items()}
        self._times = self._times[rows]
        self._sort()

    def mask(self, where: Where) -> Mask | None:
        """Which rows ``where`` allows, ``(size,)``; deleted ones may be among them.

        None when only the store can tell: it finds a list of words by each word in it.
        """
        n = self.size
        allowed = np.ones(n, np.bool_)
        for key, value in where.matches().items():
            column = self._words[key][:n]
            if (column == MANY).any():
                return None
            if isinstance(value, str):
                allowed &= column == np.uint64(word(value))
            else:
                allowed &= np.isin(column, np.array([word(v) for v in value], np.uint64))
        for key, unwanted in (
            ("turn_id", where.exclude_turns),
            ("embedder", () if where.not_embedder is None else (where.not_embedder,)),
        ):
            if unwanted:
                column = self._words[key][:n]
                if (column == MANY).any():
                    return None
                allowed &= ~np.isin(column, np.array([word(v) for v in unwanted], np.uint64))
        if where.ids:
            rows = self.find(where.ids)
            named = np.zeros(n, np.bool_)
            named[rows[rows >= 0]] = True
            allowed &= named
        if where.since or where.until:
            times = self._times[:n]
            allowed &= times != NEVER
            if where.since:
                allowed &= times >= time_of(where.since)
            if where.until:
                allowed &= times <= time_of(where.until)
        return allowed

    def _grow(self, capacity: int) -> None:
        extra = capacity - len(self.alive)
        self.alive = np.concatenate([self.alive, np.zeros(extra, np.bool_)])
        self._ids = np.concatenate([self._ids, np.zeros((extra, ID), np.uint8)])
        for key in WORDS:
            self._words[key] = np.concatenate([self._words[key], np.zeros(extra, np.uint64)])
        self._times = np.concatenate([self._times, np.full(extra, NEVER)])

    def _sort(self) -> None:
        """Make all ids findable without an object for each: by their first eight bytes."""
        self._fresh = {}
        heads = self._ids[: self.size, :8].copy().view(">u8").reshape(-1).astype(np.uint64)
        self._order = np.argsort(heads, kind="stable")
        self._heads = heads[self._order]


def key_of(name: str) -> bytes:
    """An id as the 16 bytes of its UUID."""
    return bytes.fromhex(name.replace("-", "")) if len(name) == 36 else uuid.UUID(name).bytes


def _name(key: bytes) -> str:
    text = key.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _head(key: bytes) -> int:
    return int.from_bytes(key[:8], "big")


def word(value: Any) -> int:
    """A payload's value as a column holds it. What is no text matches no text."""
    if isinstance(value, str):
        return _digest(value)
    return int(MANY) if isinstance(value, list) and value else int(NONE)


@lru_cache(maxsize=4096)
def _digest(text: str) -> int:
    found = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return min(max(int.from_bytes(found, "little"), 1), 2**64 - 2)


def time_of(value: Any) -> int:
    """A date as microseconds since 1970; :data:`NEVER` when it cannot be read."""
    seconds = moment(value) if isinstance(value, str) else None
    return int(NEVER) if seconds is None else round(seconds * 1e6)
