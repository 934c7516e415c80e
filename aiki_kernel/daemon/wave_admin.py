"""WaveAdmin: the sensor side of the memory, awaited.

Arrays are reduced to patterns here, in the client's own process and in a thread of it: what
goes to the daemon is a few kB, however long the recording was. NumPy is imported then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.daemon.client import recall_from_json, record_from_json, scope_to_json
from aiki_kernel.daemon.door import Door
from aiki_kernel.errors import UsageError
from aiki_kernel.memory.records import Recall, Record, Scope, new_id
from aiki_kernel.memory.wave import MOST_CHANNELS, WavePattern, pattern_in

if TYPE_CHECKING:
    from aiki_kernel.memory.patterns import Patterns

_ANY = "wave"
_S = 60.0


class WaveAdmin:
    """Capturing, finding and comparing sensor memories through whichever door."""

    door: Door

    async def capture(
        self,
        channels: Mapping[str, Any] | WavePattern,
        scope: Scope,
        *,
        at: Any = None,
        note: str = "",
        language: str = "",
        id: str | None = None,
    ) -> Record:
        """Store what ``channels`` hold; durable when this returns.

        See :meth:`aiki_kernel.aiki.MemoryFacade.capture`. Raises :class:`UsageError`, one line,
        for what cannot be captured.
        """
        begun = _moment(at)
        pattern = await _pattern(channels)
        provenance = {}
        if not isinstance(channels, WavePattern):
            files = {k: Path(v).name for k, v in channels.items() if isinstance(v, str | Path)}
            provenance = {"files": files} if files else {}
        body = {
            "pattern": pattern.to_json(),
            "scope": scope_to_json(scope),
            "at": begun,
            "note": note,
            "language": language,
            "provenance": provenance,
            "id": id or new_id(),
        }
        return record_from_json(await self.door.call("POST", "/memory/capture", body, timeout_s=_S))

    async def like(self, wave: Any, scope: Scope, limit: int = 8, *, query: str = "") -> Recall:
        """Memories with a pattern like ``wave``: a channel, ``{name: channel}``, a pattern, or a
        sensor memory. Named channels are looked for under their names."""
        names: list[str] = []
        if isinstance(wave, Record):
            pattern = pattern_in(wave.metadata)
            if pattern is None:
                raise UsageError(f"Memory {wave.id} has no wave pattern: give a sensor memory.")
        elif isinstance(wave, WavePattern | Mapping):
            pattern = await _pattern(wave)
            names = pattern.names if isinstance(wave, Mapping) else []
        else:
            pattern = await _pattern({_ANY: wave})
        body = {
            "pattern": pattern.to_json(),
            "channels": names,
            "scope": scope_to_json(scope),
            "limit": limit,
            "query": query,
        }
        return recall_from_json(await self.door.call("POST", "/memory/like", body, timeout_s=_S))

    async def patterns(self, period: Any, scope: Scope, *, language: str = "") -> Patterns:
        """Cycles, trends and links in what was captured in ``period``."""
        from aiki_kernel.memory.patterns import Patterns
        from aiki_kernel.memory.period import period_of

        since, until = period_of(period)
        body = {
            "since": since,
            "until": until,
            "scope": scope_to_json(scope),
            "language": language,
        }
        return Patterns.from_json(
            await self.door.call("POST", "/memory/patterns", body, timeout_s=_S)
        )


async def _pattern(channels: Mapping[str, Any] | WavePattern) -> WavePattern:
    if isinstance(channels, WavePattern):
        if not 1 <= len(channels.channels) <= MOST_CHANNELS:
            raise UsageError("That pattern has no channels: make it with aiki.memory.capture.")
        return channels

    def work() -> WavePattern:
        from aiki_kernel.memory.wave_analysis import analyse

        return analyse(channels)

    return await asyncio.to_thread(work)


def _moment(at: Any) -> str | None:
    """``at`` as ISO-8601. Raises :class:`UsageError`."""
    if at is None or at == "":
        return None
    if isinstance(at, datetime):
        return (at if at.tzinfo else at.astimezone()).isoformat()
    if isinstance(at, str):
        try:
            when = datetime.fromisoformat(at)
        except ValueError:
            raise UsageError(f"{at!r} is no time: write it as 2026-11-21T09:30:00+01:00.") from None
        return (when if when.tzinfo else when.astimezone()).isoformat()
    raise UsageError(f"at={at!r} is no time: give a datetime, or text as 2026-11-21T09:30.")
