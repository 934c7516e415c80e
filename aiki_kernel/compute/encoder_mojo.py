"""The encoder in Mojo: 8-bit matrix products, the rest in float32, the lock released.

A call takes the tokens of several texts without padding. Long calls are cut into groups, so
that a group's states stay near the core; with more than one thread the groups are shared
out, by threads that sleep when there is nothing to do. Results do not depend on the number of
threads or on which texts share a call.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.encoder import Floats, Ids, Shape, Words
from aiki_kernel.compute.encoder_pieces import Vocabulary
from aiki_kernel.compute.errors import BackendError
from aiki_kernel.compute.native import load_best, load_library

GROUP = 360  # tokens a call of the kernels; a text is never cut
KINDS = {"Q4_0": 0, "F32": 1}
ROOM = 1 << 23  # NumPy asks for large pages from 4 MiB on; only what is touched takes memory
_NONE = np.empty(0, np.float32)


class Kernels(Protocol):
    """The functions of a library; `mojo/encoder/native_encoder.mojo` documents them."""

    def bind_model(self, *arguments: Any) -> Any: ...

    def bind_pieces(self, *arguments: Any) -> Any: ...

    def tokens(self, vocabulary: Any, text: bytes, ids: Any, /) -> int: ...

    def room(self, model: Any, tokens: int, longest: int, /) -> int: ...

    def encode(self, *arguments: Any) -> int: ...

    def variant(self) -> int: ...


def kernels(variant: str = "") -> tuple[Kernels, str]:
    """A variant's library and its name, the best by default; BackendError when there is none."""
    if variant:
        try:
            return load_library("encoder", variant), variant
        except ImportError as error:
            raise BackendError(f"No Mojo encoder here: {error}.") from None
    loaded = load_best("encoder")
    if loaded.library is None:
        raise BackendError(f"No Mojo encoder here: {loaded.reason}.")
    return loaded.library, loaded.variant


class MojoTokenizer:
    """See :class:`~aiki_kernel.compute.encoder.Tokenizer`. ``image`` is the vocabulary's own."""

    def __init__(self, vocabulary: Vocabulary, image: memoryview, variant: str = "") -> None:
        self._kernels, _ = kernels(variant)
        self._pieces = self._kernels.bind_pieces(image, *vocabulary.sizes)

    def tokens(self, text: str) -> Ids:
        raw = text.encode("utf-8")
        ids = np.empty(len(raw) + 2, np.int32)
        found = self._kernels.tokens(self._pieces, raw, ids)
        if found < 0:  # characters that become many
            ids = np.empty(-found, np.int32)
            found = self._kernels.tokens(self._pieces, raw, ids)
        return ids[:found]


class MojoEncoder:
    """See :class:`~aiki_kernel.compute.encoder.Encoder`. Nothing is copied: ``image`` and the
    words stay where they are mapped.
    """

    name = "mojo"

    def __init__(
        self, shape: Shape, words: Words, image: memoryview, *, threads: int = 1, variant: str = ""
    ) -> None:
        self.shape, self.threads = shape, max(1, threads)
        self._kernels, self.variant = kernels(variant)
        s = shape
        try:
            self._model = self._kernels.bind_model(
                image,
                words.raw,
                KINDS[words.kind],
                s.layers,
                s.width,
                s.heads,
                s.feed,
                s.positions,
                s.vocabulary,
            )
        except ValueError as error:
            raise BackendError(f"Mojo cannot run this encoder: {error}.") from None
        self._spare: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def detail(self) -> str:
        return f"8 bits, {self.variant}"

    def means(self, texts: Sequence[Ids]) -> Floats:
        found = np.empty((len(texts), self.shape.width), np.float32)
        groups = list(_groups(texts))
        if self.threads == 1 or len(groups) < 2:
            for first, last in groups:
                self._encode(texts[first:last], found[first:last])
            return found
        pool = self._threads()
        list(pool.map(lambda g: self._encode(texts[g[0] : g[1]], found[g[0] : g[1]]), groups))
        return found

    def tops(self, texts: Sequence[Ids]) -> Floats:
        """(layers, 2, width): the largest magnitudes of the columns that `image_of` balances."""
        found = np.zeros((self.shape.layers, 2, self.shape.width), np.float32)
        means = np.empty((1, self.shape.width), np.float32)
        for ids in texts:
            self._encode([ids], means, found)
        return found

    def _encode(self, texts: Sequence[Ids], means: Floats, tops: Floats = _NONE) -> None:
        lengths = [len(ids) for ids in texts]
        ids = np.concatenate(texts) if len(texts) > 1 else np.ascontiguousarray(texts[0])
        starts = np.zeros(len(texts) + 1, np.int32)
        np.cumsum(lengths, out=starts[1:])
        scratch = self._scratch(self._kernels.room(self._model, len(ids), max(lengths)))
        try:
            self._kernels.encode(self._model, ids, starts, scratch, means, tops)
        finally:
            self._spare.append(scratch)

    def _scratch(self, size: int) -> NDArray[np.uint8]:
        """Working memory: what an earlier call left, if it is long enough."""
        try:
            spare = self._spare.pop()
        except IndexError:
            spare = np.empty(max(size, ROOM), np.uint8)
        return spare if len(spare) >= size else np.empty(size, np.uint8)

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, "aiki-encoder")
            return self._pool


def _groups(texts: Sequence[Ids]) -> Iterator[tuple[int, int]]:
    """Neighbours that together have at most GROUP tokens, as (first, last + 1)."""
    first = tokens = 0
    for i, ids in enumerate(texts):
        if i > first and tokens + len(ids) > GROUP:
            yield first, i
            first, tokens = i, 0
        tokens += len(ids)
    if first < len(texts):
        yield first, len(texts)
