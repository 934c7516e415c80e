"""How fast one core reads memory here: the floor under every search.

A search must read its vectors, or their codes, at least once. What it must read divided by the
bandwidth at that size is a time that no method on one thread can beat, however clever its
arithmetic.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

SECONDS = 0.15  # that one way of reading may take at one size


def read_bandwidth(size: int) -> float:
    """Bytes a second at which one thread reads ``size`` bytes over and over.

    The best of two ways, a BLAS dot product and the search for a byte that is not there: both
    read each byte once and do less with it than any search of vectors. What fits into a cache
    is read from the cache, as it would be by a search that runs again.
    """
    numbers = np.ones(max(16, size // 4), np.float32)
    best = _best(lambda: np.dot(numbers, numbers))
    text = numbers.tobytes()
    best = min(best, _best(lambda: text.find(b"\xff")))
    return len(text) / best


def _best(read: Callable[[], object]) -> float:
    """The least seconds that one call takes."""
    read()
    least = float("inf")
    until = time.perf_counter() + SECONDS
    while True:
        started = time.perf_counter()
        read()
        ended = time.perf_counter()
        least = min(least, ended - started)
        if ended > until:
            return least
