"""BrowseAdmin: looking through the memory, awaited, through whichever door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiki_kernel.daemon.client import record_from_json, scope_to_json
from aiki_kernel.daemon.door import Door
from aiki_kernel.memory.records import Record, Scope

Found = dict[str, Any]


class BrowseAdmin:
    """Pages, what there is to filter by, a timeline, and tags. ``wanted`` has the fields of
    :class:`aiki_kernel.memory.browsing.Wanted`."""

    door: Door

    async def browse(
        self, wanted: Mapping[str, Any], scope: Scope, *, after: str = "", limit: int = 20
    ) -> Found:
        """A page: ``rows``, ``next`` (where the page after begins, or ""), ``total``, ``note``."""
        where = {"wanted": dict(wanted), "after": after, "limit": limit}
        return await self._ask("browse", scope, **where)

    async def labels(self, scope: Scope) -> Found:
        """What there is to filter by, each value with its count, and how many memories."""
        return await self._ask("labels", scope)

    async def timeline(self, wanted: Mapping[str, Any], scope: Scope) -> Found:
        """How many memories fit in each day, month or year."""
        return await self._ask("timeline", scope, wanted=dict(wanted))

    async def opened(self, id: str, scope: Scope) -> Found:
        """One memory whole: ``record``, ``row``, ``related``, ``history`` and ``note``."""
        return await self._ask("opened", scope, id=id)

    async def tag(self, id: str, tags: Sequence[str], scope: Scope) -> Record:
        """Give a memory these tags and no others; its history keeps the old ones."""
        return record_from_json(await self._ask("tag", scope, id=id, tags=list(tags)))

    async def gone(
        self, scope: Scope, query: str = "", *, after: str = "", limit: int = 20
    ) -> Found:
        """What left the memory and can be brought back, as a page."""
        return await self._ask("gone", scope, query=query, after=after, limit=limit)

    async def _ask(self, name: str, scope: Scope, **fields: Any) -> Found:
        body = {**fields, "scope": scope_to_json(scope)}
        found: Found = await self.door.call("POST", f"/memory/{name}", body)
        return found
