"""Unigram vocabularies: text to pieces, in plain Python, and as an image for the kernels.

Characters are mapped one by one, runs of spaces become one, a space goes in front, spaces
become U+2581. Of all ways to cut the result the one with the greatest sum of scores is
taken. A character may always be an unknown piece, ten below the worst score; neighbouring
unknowns stay apart, as in the reader that made the vectors people already have stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.encoder import Ids

META = "\u2581"
LINE = 64
_BASIS, _PRIME = np.uint64(1469598103934665603), np.uint64(1099511628211)  # FNV-1a
_SPACES = re.compile(" {2,}")


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Pieces as UTF-8 in ``blob`` between ``offsets`` (n + 1,) uint32, ``scores`` (n,) float32,
    and the characters that are mapped: ``characters`` (m,) uint32 rising, ``ends`` (m + 1,) uint32
    into ``instead``, uint32.
    """

    blob: bytes
    offsets: NDArray[np.uint32]
    scores: NDArray[np.float32]
    characters: NDArray[np.uint32]
    ends: NDArray[np.uint32]
    instead: NDArray[np.uint32]
    unknown: int

    @cached_property
    def unknown_score(self) -> float:
        """What an unknown character costs."""
        return float(self.scores.min()) - 10

    @cached_property
    def longest(self) -> int:
        """Characters of the longest piece: bytes that do not continue a character."""
        starts = np.frombuffer(self.blob, np.uint8) & 0xC0 != 0x80
        before = np.concatenate([[0], np.cumsum(starts)])
        return int(np.diff(before[self.offsets]).max())

    @cached_property
    def slots(self) -> int:
        """Size of the hash table, at most half full."""
        return 1 << (2 * len(self.scores)).bit_length()

    def image(self) -> bytearray:
        """What `mojo/encoder/pieces.mojo` reads."""
        parts = [
            np.array([self.unknown_score]),
            self.offsets,
            self.scores,
            self.characters,
            self.ends,
            self.instead,
            self._table(),
        ]
        made = bytearray()
        for part in parts:
            made += part.tobytes()
            made += bytes(-len(made) % LINE)
        return made + self.blob

    @property
    def sizes(self) -> tuple[int, int, int, int, int, int, int]:
        """What the kernels are told beside the image."""
        n, m = len(self.scores), len(self.characters)
        return n, m, len(self.instead), self.slots, len(self.blob), self.unknown, self.longest

    def _table(self) -> NDArray[np.uint32]:
        """(slots, 2) uint32: the folded hash of a piece and its number plus one, in the first free
        slot from the one that the hash names.
        """
        hashes = self._hashes()
        short = (hashes ^ (hashes >> np.uint64(32))).astype(np.uint32)
        lengths = np.diff(self.offsets)
        mask = np.int64(self.slots - 1)
        left = np.flatnonzero(lengths)
        place = short.astype(np.int64) & mask
        table = np.zeros((self.slots, 2), np.uint32)
        while len(left):
            wanted = place[left]
            free = table[wanted, 1] == 0
            _, first = np.unique(wanted, return_index=True)
            chosen = np.zeros(len(left), bool)
            chosen[first] = True
            chosen &= free
            table[wanted[chosen], 0] = short[left[chosen]]
            table[wanted[chosen], 1] = left[chosen] + 1
            left = left[~chosen]
            place[left] = (place[left] + 1) & mask
        return table

    def _hashes(self) -> NDArray[np.uint64]:
        blob = np.frombuffer(self.blob, np.uint8)
        lengths = np.diff(self.offsets).astype(np.int64)
        found = np.full(len(lengths), _BASIS, np.uint64)
        for i in range(int(lengths.max(initial=0))):
            some = np.flatnonzero(lengths > i)
            byte = blob[self.offsets[some].astype(np.int64) + i]
            found[some] = (found[some] ^ byte) * _PRIME
        return found


class PlainTokenizer:
    """The tokenizer in Python. Its dictionary costs half a second and 60 MB."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        v = vocabulary
        at, scores = v.offsets.tolist(), v.scores.tolist()
        self._pieces = {
            v.blob[at[i] : at[i + 1]].decode("utf-8", "replace"): (i, scores[i])
            for i in reversed(range(len(scores)))
            if at[i] < at[i + 1] and i != v.unknown
        }
        instead, ends = "".join(map(chr, v.instead.tolist())), v.ends.tolist()
        self._mapping = {
            character: instead[ends[i] : ends[i + 1]]
            for i, character in enumerate(v.characters.tolist())
        }
        self._unknown, self._longest = v.unknown, v.longest
        self._unknown_score = v.unknown_score

    def tokens(self, text: str) -> Ids:
        text = _SPACES.sub(" ", text.translate(self._mapping))
        text = (text if text.startswith(" ") else " " + text).replace(" ", META)
        n = len(text)
        best = [0.0] + [-1e30] * n
        back = [(0, 0)] * (n + 1)
        for begin in range(n):
            so_far = best[begin]
            for end in range(begin + 1, min(n, begin + self._longest) + 1):
                piece = self._pieces.get(text[begin:end])
                if piece is not None and so_far + piece[1] > best[end]:
                    best[end] = so_far + piece[1]
                    back[end] = begin, piece[0]
            if so_far + self._unknown_score > best[begin + 1]:
                best[begin + 1] = so_far + self._unknown_score
                back[begin + 1] = begin, self._unknown
        found = []
        at = n
        while at > 0:
            at, piece_id = back[at]
            found.append(piece_id)
        return np.array(found[::-1], np.int32)
