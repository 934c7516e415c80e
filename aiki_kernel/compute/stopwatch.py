"""How the benchmark times a search: fairly, more than once, with recall from the same calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Search = Callable[[Floats], NDArray[np.int64]]

ROUNDS = 5
SECONDS = 0.3  # of one round of one method
PATIENCE = 5.0  # seconds for the first round: a slow method answers fewer queries
FEWEST = 5  # queries in the first round, however slow
SAME = 1e-6  # scores that float32 sums cannot tell apart


@dataclass(frozen=True)
class Exam:
    """Queries, and of each the score that a right answer must reach: its ``k``-th best in
    float64. ``rows`` are those that are searched.
    """

    rows: Floats
    queries: Floats
    bars: NDArray[np.float64]
    k: int

    def right(self, query: int, answer: NDArray[np.int64]) -> int:
        """How many of an answer's rows are among the best ``k``. Ties count, repeats do not."""
        known = np.unique(np.asarray(answer, np.int64)[: self.k])
        known = known[(known >= 0) & (known < len(self.rows))]
        scores = self.rows[known].astype(np.float64) @ self.queries[query].astype(np.float64)
        return int(np.count_nonzero(scores >= self.bars[query] - SAME))


def bars(
    rows: Floats,
    queries: Floats,
    k: int,
    step: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float64]:
    """The ``k``-th best score of each query among all rows, in float64."""
    asked = queries.astype(np.float64)
    best = np.full((len(queries), k), -np.inf)
    for at in range(0, len(rows), 50_000):
        scores = asked @ rows[at : at + 50_000].T.astype(np.float64)
        both = np.concatenate([best, scores], axis=1)
        best = np.partition(both, both.shape[1] - k, axis=1)[:, -k:]
        step(min(at + 50_000, len(rows)), len(rows))
    worst: NDArray[np.float64] = best.min(axis=1)
    return worst


@dataclass
class Times:
    """Rounds of one method: seconds of every call, and how many answers were right."""

    rounds: list[NDArray[np.float64]] = field(default_factory=list)
    right: int = 0
    asked: int = 0

    def figures(self, k: int) -> dict[str, Any]:
        """``p50_ms`` and ``p95_ms`` of the round with the least median (the one that other work
        on the machine disturbed least; every method has as many rounds), ``recall``, ``calls``.
        """
        quiet = min(self.rounds, key=lambda one: float(np.median(one)))
        return {
            "p50_ms": float(np.median(quiet)) * 1e3,
            "p95_ms": float(np.percentile(quiet, 95)) * 1e3,
            "recall": self.right / (k * self.asked),
            "calls": sum(len(one) for one in self.rounds),
        }


def measured(methods: Mapping[str, Search], exam: Exam) -> dict[str, dict[str, Any]]:
    """Time every method in turn, ``ROUNDS`` times over, so that what else the machine does
    falls on all alike.
    """
    times = {name: Times() for name in methods}
    for name, search in methods.items():
        _first(search, exam, times[name])
    for _ in range(ROUNDS - 1):
        for name, search in methods.items():
            times[name].rounds.append(_round(search, exam.queries))
    return {name: times[name].figures(exam.k) for name in methods}


def _first(search: Search, exam: Exam, times: Times) -> None:
    """The round in which answers are checked. The first call only warms up."""
    search(exam.queries[-1])
    seconds, answers = [], []
    until = time.perf_counter() + PATIENCE
    for number, query in enumerate(exam.queries):
        started = time.perf_counter()
        answer = search(query)
        seconds.append(time.perf_counter() - started)
        answers.append(answer)
        if number + 1 >= FEWEST and time.perf_counter() > until:
            break
    times.rounds.append(np.array(seconds))
    times.asked = len(answers)
    times.right = sum(exam.right(i, answer) for i, answer in enumerate(answers))


def _round(search: Search, queries: Floats) -> NDArray[np.float64]:
    seconds: list[float] = []
    until = time.perf_counter() + SECONDS
    while True:
        for query in queries:
            started = time.perf_counter()
            search(query)
            ended = time.perf_counter()
            seconds.append(ended - started)
            if ended > until:
                return np.array(seconds)
