"""Counters of the ledger for metrics: they only grow, over restarts too, as the ledger does.

Each look reads only the rows that came since the last one. A ledger that was put aside and begun
anew is counted from nothing, which a scraper takes for a restart.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

HITS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Upper bounds in memories."""

BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds in seconds; the last bucket is without bound."""

_ROWS = """SELECT id, stage, {name}, persona, input_tokens, output_tokens, cached_tokens, cost_usd,
 latency_s, first_token_s, error IS NOT NULL AND NOT interrupted, interrupted, {stages}
 FROM entry WHERE id > ? ORDER BY id"""
_HAS_REMEMBERED = "SELECT 1 FROM sqlite_master WHERE name = 'remembered'"
_REMEMBERED = "SELECT id, seconds FROM remembered WHERE id > ? ORDER BY id"
_STAGES = "recall_s, route_s, hits, backend"
_NAME = "CASE name WHEN '' THEN model WHEN 'local' THEN 'local/' || model ELSE name END"


class Histogram:
    """Counts by bucket, and the sum of what was observed."""

    def __init__(self, bounds: tuple[float, ...] = BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        bounds = self.bounds
        place = next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds))
        self.counts[place] += 1
        self.total += value

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Bucket bounds as Prometheus writes them, each with all that is not above it."""
        count = 0
        for bound, own in zip((*(f"{b:g}" for b in self.bounds), "+Inf"), self.counts, strict=True):
            count += own
            yield bound, count


class _Key(NamedTuple):
    model: str
    persona: str


class Counters:
    """Sums over all of the ledger. For one thread."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Count from nothing."""
        self.last = self.last_remembered = 0
        self.tokens: dict[tuple[str, str, str], int] = {}
        self.cost: dict[_Key, float] = {}
        self.unpriced: dict[_Key, int] = {}
        self.calls: dict[tuple[str, str], int] = {}
        self.errors: dict[tuple[str, str], int] = {}
        self.interrupted: dict[tuple[str, str], int] = {}
        self.stages: dict[str, Histogram] = {}
        self.first_token = Histogram()
        self.hits = Histogram(HITS)
        self.backends: dict[str, int] = {}

    def update(self, ledger: sqlite3.Connection) -> None:
        """Take in what is new."""
        (newest,) = ledger.execute("SELECT coalesce(max(id), 0) FROM entry").fetchone()
        if newest < self.last:
            self.begin()
        columns = {row[1] for row in ledger.execute("PRAGMA table_info(entry)")}
        sql = _ROWS.format(
            name=_NAME if "name" in columns else "model",
            stages=_STAGES if "recall_s" in columns else "NULL, NULL, NULL, ''",
        )
        for row in ledger.execute(sql, (self.last,)):
            self._take(*row)
            self.last = row[0]
        if ledger.execute(_HAS_REMEMBERED).fetchone():
            for row_id, seconds in ledger.execute(_REMEMBERED, (self.last_remembered,)):
                self.stages.setdefault("remember", Histogram()).observe(seconds)
                self.last_remembered = row_id

    def _take(
        self,
        _id: int,
        stage: str,
        model: str,
        persona: str,
        tokens_in: int,
        tokens_out: int,
        cached: int,
        cost: float | None,
        latency: float,
        first: float | None,
        failed: int,
        stopped: int,
        recall: float | None,
        route: float | None,
        hits: int | None,
        backend: str,
    ) -> None:
        key, place = _Key(model, persona), (stage, model)
        counted = (("input", tokens_in), ("output", tokens_out), ("cached", cached))
        for direction, count in counted:
            name = (direction, model, persona)
            self.tokens[name] = self.tokens.get(name, 0) + count
        if cost is None:
            self.unpriced[key] = self.unpriced.get(key, 0) + 1
        else:
            self.cost[key] = self.cost.get(key, 0.0) + cost
        self.calls[place] = self.calls.get(place, 0) + 1
        self.errors[place] = self.errors.get(place, 0) + failed
        self.interrupted[place] = self.interrupted.get(place, 0) + stopped
        self.stages.setdefault(stage, Histogram()).observe(latency)
        if first is not None:
            self.first_token.observe(first)
        for before, seconds in (("recall", recall), ("route", route)):
            if seconds is not None:
                self.stages.setdefault(before, Histogram()).observe(seconds)
        if hits is not None:
            self.hits.observe(hits)
        if backend:
            self.backends[backend] = self.backends.get(backend, 0) + 1
