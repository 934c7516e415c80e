"""Settings of ranking: what counts beside meaning and words when memories are recalled."""

from __future__ import annotations

from pydantic import Field

from aiki_kernel.config_routing import Section


class Ranking(Section):
    """``[memory.ranking]``. Every weight is 0, which is off: `aiki bench recall` measures what
    each is worth on data of yours, in the units of a list's weight."""

    recency: float = Field(0.0, ge=0, le=10, description="what a memory of this moment gains")
    recency_half_life_days: float = Field(
        30.0, gt=0, description="days until half of that gain is gone"
    )
    importance: float = Field(
        0.0, ge=0, le=10, description="what a memory of importance 1 gains; one without has 0.5"
    )
    importance_half_life_days: float = Field(
        365.0, gt=0, description="days until half of that gain is gone"
    )
    diversity: float = Field(
        0.0, ge=0, le=1, description="MMR: 0 ranks by score alone, 1 by unlikeness alone"
    )
    pool: int = Field(40, ge=1, le=400, description="how many of the best are ranked anew")

    @property
    def on(self) -> bool:
        """Whether any of it changes an order."""
        return bool(self.recency or self.importance or self.diversity)
