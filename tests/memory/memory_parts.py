"""What the tests of the memory share: an embedder that is real but costs nothing."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.memory.service import MemoryService

DATA = Path(__file__).parents[3] / "shared" / "data"
Open = Callable[..., MemoryService]


class WordBag:
    """Words hashed into a few dimensions: a plain embedder whose answers can be foreseen."""

    def __init__(self, id: str = "wordbag", dimension: int = 64) -> None:
        self.id, self.dimension = id, dimension

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        out = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(out, texts, strict=True):
            row[0] = 0.05
            for word in re.findall(r"\w+", text.lower()):
                row[zlib.crc32(word.encode()) % self.dimension] += 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.embed_documents([text])[0]
        return found
