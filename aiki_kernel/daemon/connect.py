"""One call from settings to a working memory: through the daemon, or in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiki_kernel.config import Paths, Settings
from aiki_kernel.daemon.admin import MemoryAdmin
from aiki_kernel.daemon.client import DaemonDoor, MemoryClient
from aiki_kernel.mind.ports import MemoryPort

if TYPE_CHECKING:
    import httpx2

    from aiki_kernel.daemon.door import Door


@dataclass(frozen=True)
class Connection:
    """What a kernel, a terminal or a script holds of the daemon (or of the engine itself)."""

    memory: MemoryPort
    admin: MemoryAdmin
    door: Door

    def local_client(self) -> httpx2.AsyncClient:
        """The HTTP client for the models of this machine, base URL ``http://aiki.local``."""
        return self.door.local_client()

    async def health(self) -> dict[str, Any]:
        """The engine's account of itself; starts the daemon if need be."""
        answer: dict[str, Any] = await self.door.call("GET", "/health", timeout_s=30.0)
        return answer

    async def aclose(self) -> None:
        """Close connections; the in-process engine finishes its writes and is closed."""
        await self.door.aclose()


def connect(settings: Settings, paths: Paths) -> Connection:
    """A connection. Nothing is opened or started before the first call."""
    door: Door
    if settings.daemon == "off":
        from aiki_kernel.daemon.inprocess import InProcessDoor

        door = InProcessDoor(settings, paths)
    else:
        door = DaemonDoor(settings, paths)
    return Connection(MemoryClient(door, paths), MemoryAdmin(door), door)
