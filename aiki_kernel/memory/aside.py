"""What was said and recall has no use for: messages that curation turned away or merged.

Curation takes "thanks", a repeated answer and the like out of recall. They were said all the
same: a conversation that is brought back has them at their places. What its user forgot stays
forgotten, and so does what merely repeated it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiki_kernel.memory.curation import REASON
from aiki_kernel.memory.forgetting import read
from aiki_kernel.memory.records import Record, Scope

if TYPE_CHECKING:
    from aiki_kernel.memory.service import MemoryService


def listed(
    memory: MemoryService,
    scope: Scope,
    *,
    limit: int = 20,
    offset: int = 0,
    kind: str | None = None,
) -> list[Record]:
    """As :meth:`MemoryService.list`, with what curation took out of recall at its place."""
    view = memory.access.must(scope, "list")
    found = memory.list(scope, limit=limit + offset, kind=kind)
    graves = memory.collection.log.graves(REASON, scope.run_id or "")
    laid = {name: read(text) for name, text, _, _ in graves}
    for record in laid.values():
        if kind in (None, record.kind) and view.sees(record) and _stands(memory, record, laid):
            found.append(view.given(record))
    found.sort(key=lambda record: record.created_at, reverse=True)
    return found[offset : offset + limit]


def _stands(memory: MemoryService, record: Record, laid: dict[str, Record]) -> bool:
    """Whether what ``record`` was merged into, if it was, has not been forgotten since."""
    seen = {record.id}
    while twin := str(record.metadata.get("duplicate_of") or ""):
        if memory.collection.get(twin) is not None:
            return True
        if twin in seen:
            return False
        seen.add(twin)
        if twin not in laid:
            text, rows = memory.collection.log.buried(twin), memory.collection.log.of(twin)
            if not text or not str(rows[-1]["reason"] if rows else "").startswith(REASON):
                return False
            laid[twin] = read(text)
        record = laid[twin]
    return True
