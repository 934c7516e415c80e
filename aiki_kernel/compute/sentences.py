"""Vectors to measure search with: real sentence embeddings where there are any, else made ones.

Real ones come from an ``.npz`` with ``codes`` (any number type, ``(n, dim)``) and ``queries``;
every row is divided by its length. Asked for more rows than the file holds, new ones are put
between neighbours, with some noise.

Made ones imitate what search meets in sentence embeddings: a common direction, topics within
topics of uneven size, and variance that falls off over the dimensions. Measured against 100,000
real embeddings (MiniLM, 384 dimensions) they have the same spread of random pairs (0.11 ± 0.09;
real 0.14 ± 0.10), tenth-best scores (0.54; real 0.57) and recall of a 1-bit scan (0.994 of the
best ten among the first 100 of 100,000; real 0.985).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.errors import VectorError

Floats = NDArray[np.float32]
VARIABLE = "AIKI_BENCH_DATA"
NAME = "sentence_embeddings_100k.npz"
QUERIES = 200
DIM = 384
CHUNK = 20_000  # rows made at a time: what temporary copies may take


@dataclass(frozen=True)
class Vectors:
    """Unit rows ``(n, dim)``, unit queries ``(q, dim)``, and in words where they come from."""

    rows: Floats
    queries: Floats
    source: str
    real: int
    """How many of the rows are embeddings of sentences; the others are made."""


def find_data(home: Path | None = None) -> Path | None:
    """Real embeddings that are here already: named by ``AIKI_BENCH_DATA``, in the folder
    ``bench`` of ``home``, or in ``shared/data`` beside a checkout.
    """
    places = [Path(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else []
    places += [home / "bench" / NAME] if home else []
    places.append(Path(__file__).resolve().parents[2].parent / "shared" / "data" / NAME)
    return next((place for place in places if place.is_file()), None)


def sentence_vectors(
    n: int,
    data: Path | None = None,
    *,
    queries: int = QUERIES,
    step: Callable[[int, int], None] = lambda done, total: None,
) -> Vectors:
    """``n`` unit rows and at most ``queries`` queries that are not among them.

    Without ``data`` they are made, always the same ones. Raises VectorError for a file that
    does not hold embeddings. ``step`` is told rows done and of how many, for long work.
    """
    if data is None:
        rows, asked = _made(n, queries, step)
        return Vectors(rows, asked, "MADE vectors that imitate sentence embeddings", 0)
    rows, asked = _read(data, n, queries)
    real = len(rows)
    if real == n:
        return Vectors(rows, asked, f"real sentence embeddings ({data.name})", real)
    source = f"{real:,} real sentence embeddings ({data.name}) and {n - real:,} points between them"
    return Vectors(_extended(rows, n, step), asked, source, real)


def _read(data: Path, n: int, queries: int) -> tuple[Floats, Floats]:
    try:
        with np.load(data, allow_pickle=False) as stored:
            rows = stored["codes"][:n].astype(np.float32)
            asked = stored["queries"][:queries].astype(np.float32)
    except (KeyError, ValueError, OSError, AttributeError, TypeError) as error:
        raise VectorError(f"{data} has no codes and queries: {error}.") from error
    if rows.ndim != 2 or asked.ndim != 2 or rows.shape[1] != asked.shape[1] or not len(asked):
        raise VectorError(f"{data}: codes and queries must be rows of one dimension.")
    return _unit(rows), _unit(asked)


def _unit(rows: Floats) -> Floats:
    """Rows divided by their lengths, in place."""
    for at in range(0, len(rows), CHUNK):
        some = rows[at : at + CHUNK]
        some /= np.maximum(np.linalg.norm(some, axis=1, keepdims=True), 1e-12)
    return rows


def _extended(real: Floats, n: int, step: Callable[[int, int], None]) -> Floats:
    """``n`` rows: the real ones, then points between one of them and its nearest of a sample."""
    rng = np.random.default_rng(11)
    rows = np.empty((n, real.shape[1]), np.float32)
    rows[: len(real)] = real
    for at in range(len(real), n, 2000):
        some = min(2000, n - at)
        one = real[rng.integers(0, len(real), some)]
        sample = real[rng.integers(0, len(real), 2000)]
        near = sample[np.argmax(one @ sample.T, axis=1)]
        part = rng.uniform(0.15, 0.5, (some, 1)).astype(np.float32)
        new = one * (1 - part) + near * part
        new += rng.standard_normal(new.shape, np.float32) * 0.012
        rows[at : at + some] = new
        step(at + some, n)
    _unit(rows[len(real) :])
    return rows


def _made(n: int, queries: int, step: Callable[[int, int], None]) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(11)
    total = n + queries
    falling = (np.arange(DIM) + 6.0) ** -0.55 * (1.02 - np.arange(DIM) / DIM)
    spectrum = np.sqrt(falling / falling.sum()).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].astype(np.float32)

    def drawn(count: int) -> Floats:
        normal: Floats = rng.standard_normal((count, DIM), np.float32)
        normal *= spectrum
        return normal

    topics = drawn(64) * np.float32(0.45) + drawn(1) * np.float32(0.38)
    themes = topics[_uneven(rng, 64, max(16, total // 100), 0.8)]
    themes += drawn(len(themes)) * np.float32(0.5)
    matters = themes[_uneven(rng, len(themes), max(32, total // 8), 0.6)]
    matters += drawn(len(matters)) * np.float32(0.5)
    about = _uneven(rng, len(matters), total, 0.4)
    both = np.empty((total, DIM), np.float32)
    for at in range(0, total, CHUNK):
        of = about[at : at + CHUNK]
        own = rng.uniform(0.34, 1.275, (len(of), 1)).astype(np.float32)
        both[at : at + CHUNK] = (matters[of] + drawn(len(of)) * own) @ turn
        step(min(at + CHUNK, total), total)
    _unit(both)
    return both[queries:], both[:queries].copy()


def _uneven(rng: np.random.Generator, kinds: int, count: int, falling: float) -> NDArray[np.int64]:
    """``count`` draws of ``kinds`` things, the first ones much more often than the last."""
    weights = (1.0 + np.arange(kinds)) ** -falling
    return rng.choice(kinds, count, p=weights / weights.sum())
