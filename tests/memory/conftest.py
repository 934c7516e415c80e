"""Both stores behind one name, and an embedder that is real but costs nothing."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiki_kernel.config import Memory, Paths, Settings, load
from aiki_kernel.memory.edge import EdgeStore
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.memory.store import MemoryStore

sys.path.insert(0, str(Path(__file__).parent))

from memory_parts import Open, WordBag


@pytest.fixture
def settings(aiki_home: Path) -> Settings:
    return load(memory=Memory(embedder="wordbag", user_id="kari"))


@pytest.fixture(params=["embedded", "server"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_memory(kind: str, settings: Settings, aiki_home: Path) -> Iterator[Open]:
    """Open the memory of this test, again and again: with another embedder, or after closing."""
    paths = Paths(aiki_home)
    opened: list[MemoryService] = []
    client = None
    if kind == "server":
        from qdrant_client import QdrantClient

        from aiki_kernel.memory.server import ServerStore

        class _Kept(ServerStore):
            """Qdrant in memory ends with its client, so closing the store leaves it open."""

            def close(self) -> None:
                pass

        client = QdrantClient(":memory:")

    def open_(embedder: WordBag | None = None) -> MemoryService:
        embedder = embedder or WordBag()
        store: MemoryStore | None = None
        if client is not None:
            store = _Kept(client, "aiki_memories", embedder.dimension, "memory")
        service = MemoryService(settings, paths, embedder=embedder, store=store)
        opened.append(service)
        return service

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        yield open_
    for service in opened:
        service.close()
    if client is not None:
        client.close()


@pytest.fixture
def memory(open_memory: Open) -> MemoryService:
    return open_memory()


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[EdgeStore]:
    store = EdgeStore(tmp_path / "memory", 64, "wordbag")
    yield store
    store.close()
