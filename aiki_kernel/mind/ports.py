"""The two doors of the mind. The daemon's client and the in-process engine fit both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aiki_kernel.memory.records import Recall, Scope, Stored, Turn
from aiki_kernel.models.chat import ModelPort as ModelPort


class MemoryPort(Protocol):
    """Recall and remember, nothing more."""

    async def recall(
        self,
        query: str,
        *,
        scope: Scope,
        limit: int,
        exclude: Sequence[str] = (),
        backend: str = "",
    ) -> Recall:
        """The ``limit`` best memories for ``query`` within ``scope``.

        ``exclude`` holds ids of turns that the context already has; ``backend`` searches
        the vectors, by default the one that the memory's own settings name.
        """
        ...

    async def remember(self, turn: Turn) -> Stored:
        """Return when the turn is durable: in the store, or spooled. Never loses, never doubles."""
        ...
