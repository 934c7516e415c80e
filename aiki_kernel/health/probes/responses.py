"""How often the response cache answered, and how full it is."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from aiki_kernel.health.moment import Moment
from aiki_kernel.health.reading import DEGRADED, OK, Reading, size

_WHOLE = "SELECT count(*), total(bytes) FROM answer"
_FIGURES = "SELECT name, value FROM figure"


class ResponseCache:
    """The cache's own figures, read only. None where no answer was ever kept."""

    name, title, timeout_s = "response_cache", "Response cache", 0.0

    def measure(self, moment: Moment) -> Reading | None:
        path = Path(moment.plan.home) / "cache" / "responses.sqlite"
        if not path.exists():
            return None
        try:
            with contextlib.closing(
                sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1.0)
            ) as db:
                count, weight = db.execute(_WHOLE).fetchone()
                figures = {str(name): float(value) for name, value in db.execute(_FIGURES)}
        except sqlite3.Error as error:
            reason = f"The response cache cannot be read ({error}): delete {path}."
            return Reading(DEGRADED, reason)
        hits, misses = int(figures.get("hits", 0)), int(figures.get("misses", 0))
        rate = hits / (hits + misses) if hits + misses else None
        saved = figures.get("saved_usd", 0.0)
        facts = {
            "answers": count,
            "bytes": int(weight),
            "hits": hits,
            "misses": misses,
            "hit_rate": rate,
            "saved_usd": saved,
        }
        share = "never asked" if rate is None else f"{hits} of {hits + misses} hit ({rate:.0%})"
        told = f"{share}, ${saved:.4f} saved; {count:,} answers, {size(weight)}."
        return Reading(OK, told, rate, "hit rate", facts)
