"""Which rows have which words under one key that holds a list: tags, entities, categories.

Pairs of a row and a word (64 bits, see ``columns.py``), in the order in which they came. A
search that asks for no label touches none of this; one that does compares one array, 3 ms
for five million pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

NONE = np.uint64(0)
_PAIR = 12
"""Bytes a pair, as :meth:`Postings.pack` lays it down."""


class Postings:
    """The pairs of one key. Not thread-safe."""

    def __init__(self) -> None:
        self.size = 0
        self._rows = np.empty(0, np.int32)
        self._words = np.empty(0, np.uint64)

    @classmethod
    def unpack(cls, packed: NDArray[np.uint8]) -> Postings:
        """The reverse of :meth:`pack`."""
        postings, n = cls(), len(packed) // _PAIR
        postings.size = n
        postings._words = packed[: 8 * n].view(np.uint64).copy()
        postings._rows = packed[8 * n :].view(np.int32).copy()
        return postings

    def pack(self) -> NDArray[np.uint8]:
        """All pairs as bytes: the words, then the rows."""
        kept = np.flatnonzero(self._words[: self.size] != NONE)
        return np.concatenate([self._words[kept].view(np.uint8), self._rows[kept].view(np.uint8)])

    def append(self, rows: Iterable[int], words: Iterable[Sequence[int]]) -> None:
        """Give new rows their words."""
        pairs = [(row, word) for row, some in zip(rows, words, strict=True) for word in some]
        if not pairs:
            return
        last = self.size + len(pairs)
        if last > len(self._rows):
            extra = max(last + last // 2, 64) - len(self._rows)
            self._rows = np.concatenate([self._rows, np.zeros(extra, np.int32)])
            self._words = np.concatenate([self._words, np.zeros(extra, np.uint64)])
        self._rows[self.size : last] = [row for row, _ in pairs]
        self._words[self.size : last] = [word for _, word in pairs]
        self.size = last

    def drop(self, rows: NDArray[np.int64]) -> None:
        """Take all their words from rows."""
        if self.size:
            self._words[: self.size][np.isin(self._rows[: self.size], rows)] = NONE

    def keep(self, rows: NDArray[np.int64], size: int) -> None:
        """Number ``rows``, of ``size`` that there were, anew from 0 and forget all others."""
        number = np.full(size, -1, np.int32)
        number[rows] = np.arange(len(rows), dtype=np.int32)
        fresh = number[self._rows[: self.size]]
        kept = np.flatnonzero((fresh >= 0) & (self._words[: self.size] != NONE))
        self._rows, self._words = fresh[kept], self._words[: self.size][kept]
        self.size = len(kept)

    def having(self, words: NDArray[np.uint64], size: int, *, none: bool) -> NDArray[np.bool_]:
        """Which of ``size`` rows have one of ``words``, or with ``none`` have no word at all."""
        found = np.zeros(size, np.bool_)
        here = self._words[: self.size]
        found[self._rows[: self.size][np.isin(here, words)]] = True
        if none:
            some = np.zeros(size, np.bool_)
            some[self._rows[: self.size][here != NONE]] = True
            found |= ~some
        return found
