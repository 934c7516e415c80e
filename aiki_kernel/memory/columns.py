"""What filters ask of each memory, as columns beside the vectors: a filter becomes a mask.

A word (a user, a kind, a turn) is kept as 64 bits of its BLAKE2b, so a column is a plain
array whatever it holds: two words are taken for one another once in 2**64. A time is
microseconds since 1970. Rows have the numbers of the vector index; a deleted row keeps its
number until the index is compacted. Keys that hold lists of words are in ``postings.py``.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.memory.postings import NONE, Postings
from aiki_kernel.memory.store import FLAG, LABELS, Where
from aiki_kernel.memory.window import moment

WORDS = ("user_id", "agent_id", "run_id", "kind", "turn_id", "hash", "embedder", "trust", "role")
DATES = ("created_at", "valid_to")
LAYOUT = 3
"""Version of what :meth:`Columns.pack` lays down."""
ID = 16  # bytes
WIDTH = ID + 8 * (len(WORDS) + len(DATES)) + 1
"""Bytes a row at least; lists of words follow after all rows, spread over them."""

MANY = np.uint64(2**64 - 1)
"""A list of words, which the store compares with each of its words: see :meth:`Columns.mask`."""
NEVER = np.int64(-(2**63))
_LAST = 2**63 - 1

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


class Columns:
    """Ids and filter columns of ``size`` rows. Not thread-safe: the dense index sees to that."""

    def __init__(self) -> None:
        self.size = 0
        self.alive = np.empty(0, np.bool_)
        self._ids = np.empty((0, ID), np.uint8)
        self._words = {key: np.empty(0, np.uint64) for key in WORDS}
        self._dates = {key: np.empty(0, np.int64) for key in DATES}
        self._held = np.empty(0, np.bool_)
        self._labels = {key: Postings() for key in LABELS}
        self._first_end = _LAST
        self._some_held = False
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
        for key in DATES:
            columns._dates[key] = flat[at : at + 8 * n].view(np.int64).copy()
            at += 8 * n
        columns._held = flat[at : at + n].astype(np.bool_)
        at += n
        if packed.shape[1] > WIDTH:
            sizes = flat[at : at + 8 * len(LABELS)].view(np.uint64).tolist()
            at += 8 * len(LABELS)
            for key, size in zip(LABELS, sizes, strict=True):
                columns._labels[key] = Postings.unpack(flat[at : at + size])
                at += size
        columns._sort()
        columns._look()
        return columns

    def pack(self) -> NDArray[np.uint8]:
        """All rows as ``(size, WIDTH or more)`` bytes, column after column, then the lists."""
        n = self.size
        columns = [
            *(self._words[key][:n] for key in WORDS),
            *(self._dates[key][:n] for key in DATES),
            self._held[:n],
        ]
        parts = [self._ids[:n].reshape(-1), *(column.view(np.uint8) for column in columns)]
        labels = [postings.pack() for postings in self._labels.values()]
        width = WIDTH
        if any(map(len, labels)):
            sizes = np.array([len(part) for part in labels], np.uint64).view(np.uint8)
            length = sum(map(len, labels), len(sizes))
            width += -(-length // n)
            padding = np.zeros((width - WIDTH) * n - length, np.uint8)
            parts += [sizes, *labels, padding]
        return np.concatenate(parts).reshape(n, width)

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
        self._fill(np.arange(first, last), payloads)

    def put(self, rows: Rows, payloads: Sequence[Mapping[str, Any]]) -> None:
        """Set the columns of rows that are there."""
        for postings in self._labels.values():
            postings.drop(rows)
        self._fill(rows, payloads)

    def _fill(self, rows: Rows, payloads: Sequence[Mapping[str, Any]]) -> None:
        for key in WORDS:
            self._words[key][rows] = [word(payload.get(key)) for payload in payloads]
        for key in DATES:
            self._dates[key][rows] = [time_of(payload.get(key)) for payload in payloads]
        self._held[rows] = [payload.get(FLAG) is True for payload in payloads]
        for key, postings in self._labels.items():
            if any(payload.get(key) for payload in payloads):
                postings.append(rows.tolist(), [_labels(p.get(key)) for p in payloads])
        ends = self._dates["valid_to"][rows]
        self._first_end = min(self._first_end, *ends[ends != NEVER].tolist(), _LAST)
        self._some_held = self._some_held or bool(self._held[rows].any())

    def delete(self, rows: Rows) -> None:
        """Forget whose rows these were."""
        for row in rows:
            self._fresh.pop(self._ids[row].tobytes(), None)
        self.alive[rows] = False

    def keep(self, rows: Rows) -> None:
        """Number ``rows`` anew from 0 and forget all others."""
        for postings in self._labels.values():
            postings.keep(rows, self.size)
        self.size = len(rows)
        self.alive, self._ids = self.alive[rows], self._ids[rows]
        self._words = {key: column[rows] for key, column in self._words.items()}
        self._dates = {key: column[rows] for key, column in self._dates.items()}
        self._held = self._held[rows]
        self._sort()
        self._look()

    def needed(self, where: Where) -> Where:
        """``where`` without the conditions that every row meets: they cost the store time.

        Those are the two of every recall, that nothing is held back and nothing has ended.
        """
        if where.quarantined is False and not self._some_held:
            where = replace(where, quarantined=None)
        if where.valid_at is not None and self._first_end > time_of(where.valid_at):
            where = replace(where, valid_at=None)
        return where

    def mask(self, where: Where) -> Mask | None:
        """Which rows ``where`` allows, ``(size,)``; deleted ones may be among them.

        None when only the store can tell: it finds a list of words by each word in it.
        """
        n = self.size
        allowed = np.ones(n, np.bool_)
        for key, words in where.wanted():
            having = self._having(key, words)
            if having is None:
                return None
            allowed &= having
        for one in where.either:
            found = np.zeros(n, np.bool_)
            for key in one.keys:
                having = self._having(key, one.words)
                if having is None:
                    return None
                found |= having
            allowed &= found
        for key, words in where.unwanted():
            having = self._having(key, words)
            if having is None:
                return None
            allowed &= ~having
        if where.ids:
            rows = self.find(where.ids)
            named = np.zeros(n, np.bool_)
            named[rows[rows >= 0]] = True
            allowed &= named
        if where.since or where.until:
            times = self._dates["created_at"][:n]
            allowed &= times != NEVER
            if where.since:
                allowed &= times >= time_of(where.since)
            if where.until:
                allowed &= times <= time_of(where.until)
        if where.quarantined is not None:
            allowed &= self._held[:n] == where.quarantined
        if where.valid_at is not None:
            ends = self._dates["valid_to"][:n]
            allowed &= (ends == NEVER) | (ends > time_of(where.valid_at))
        return allowed

    def _having(self, key: str, words: Sequence[str]) -> Mask | None:
        """The rows with one of ``words`` under ``key``; None when only the store can tell."""
        digests = np.array([_digest(word) for word in words if word], np.uint64)
        if key in self._labels:
            return self._labels[key].having(digests, self.size, none="" in words)
        column = self._words[key][: self.size]
        if (column == MANY).any():
            return None
        found = column == digests[0] if len(digests) == 1 else np.isin(column, digests)
        return found | (column == NONE) if "" in words else found

    def _look(self) -> None:
        """Whether anything is held back or ends; it may be said too long, never too late."""
        self._some_held = bool((self._held & self.alive).any())
        ends = self._dates["valid_to"][: self.size]
        ends = ends[(ends != NEVER) & self.alive[: self.size]]
        self._first_end = int(ends.min()) if len(ends) else _LAST

    def _grow(self, capacity: int) -> None:
        extra = capacity - len(self.alive)
        self.alive = np.concatenate([self.alive, np.zeros(extra, np.bool_)])
        self._ids = np.concatenate([self._ids, np.zeros((extra, ID), np.uint8)])
        for key in WORDS:
            self._words[key] = np.concatenate([self._words[key], np.zeros(extra, np.uint64)])
        for key in DATES:
            self._dates[key] = np.concatenate([self._dates[key], np.full(extra, NEVER)])
        self._held = np.concatenate([self._held, np.zeros(extra, np.bool_)])

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


def _labels(value: Any) -> list[int]:
    """The words of a list, or of a lone word, each once."""
    words = value if isinstance(value, list) else [value]
    return sorted({_digest(word) for word in words if isinstance(word, str)})


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
