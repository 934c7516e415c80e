"""What only a server has: collections that somebody else made, aliases, being away."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from aiki_kernel.config import Memory
from aiki_kernel.errors import StoreError
from aiki_kernel.memory.lexical import Sparse
from aiki_kernel.memory.server import ServerStore
from aiki_kernel.memory.store import MemoryStore, Point, Where

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ID = "95331a49-bc63-494e-b5e1-c4199fff7569"
UNIT = np.array([1, 0, 0, 0], np.float32)


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    yield client
    client.close()


def mem0_collection(client: QdrantClient, *, bm25: bool) -> None:
    """As mem0 makes it; before its version 3 without the sparse slot."""
    slots = {"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    client.create_collection(
        "mem0",
        models.VectorParams(size=4, distance=models.Distance.COSINE),
        sparse_vectors_config=slots if bm25 else None,
    )
    client.upsert(
        "mem0",
        [
            models.PointStruct(
                id=ID, vector={"": [1, 0, 0, 0]}, payload={"data": "x", "user_id": "u"}
            )
        ],
    )


@pytest.mark.parametrize("bm25", [True, False])
def test_a_collection_of_mem0_gets_the_slots_that_it_lacks(
    client: QdrantClient, bm25: bool
) -> None:
    mem0_collection(client, bm25=bm25)
    store = ServerStore(client, "mem0", 384, "memory")
    assert (store.dimension, store.identity()) == (4, (None, 4))
    assert store.get([ID])[0].payload["data"] == "x"
    words = {slot: Sparse((1,), (1.0,)) for slot in store.slots}
    store.upsert([Point(ID, {"data": "x", "user_id": "u"}, UNIT, words)])
    found = store.search(UNIT, words, Where(user_id="u"), 5)
    assert set(found) == {"dense", *store.slots}


@pytest.mark.parametrize("bm25", [True, False])
def test_recall_goes_on_without_a_slot_that_cannot_be_added(
    client: QdrantClient, bm25: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mem0_collection(client, bm25=bm25)

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("unknown endpoint")

    monkeypatch.setattr(client, "create_vector_name", refuse)
    store = ServerStore(client, "mem0", 384, "memory")
    assert store.slots == ({"bm25"} if bm25 else set())
    words = {slot: Sparse((1,), (1.0,)) for slot in ("bm25", "bm25_turn")}
    store.upsert([Point(ID, {"data": "x", "user_id": "u"}, UNIT, words)])
    assert set(store.search(UNIT, words, Where(user_id="u"), 5)) == {"dense", *store.slots}


def _fill(store: MemoryStore) -> None:
    store.upsert([Point(ID, {"data": "new"}, np.ones(8, np.float32))])


def test_a_rebuild_leaves_one_collection_behind_the_same_name(client: QdrantClient) -> None:
    mem0_collection(client, bm25=True)
    store = ServerStore(client, "mem0", 4, "memory")
    for _ in range(2):  # first the name is a collection, then an alias
        store.rebuild(8, "other", _fill)
        assert store.get([ID])[0].payload == {"data": "new"}
        assert store.dimension == 8
        assert len(client.get_collections().collections) == 1
        assert [one.alias_name for one in client.get_aliases().aliases] == ["mem0"]


def test_a_rebuild_that_was_killed_between_its_two_steps_is_finished(
    client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    mem0_collection(client, bm25=True)
    store = ServerStore(client, "mem0", 4, "memory")
    honest = client.delete_collection

    def delete_then_die(name: str) -> bool:
        honest(name)
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "delete_collection", delete_then_die)
    with pytest.raises(KeyboardInterrupt):
        store.rebuild(8, "other", _fill)
    monkeypatch.undo()
    again = ServerStore(client, "mem0", 8, "memory")
    assert again.get([ID])[0].payload == {"data": "new"}
    assert [one.alias_name for one in client.get_aliases().aliases] == ["mem0"]


def test_a_collection_without_an_unnamed_vector_is_refused(client: QdrantClient) -> None:
    params = models.VectorParams(size=4, distance=models.Distance.COSINE)
    client.create_collection("named", {"dense": params})
    with pytest.raises(StoreError, match=r"memory\.collection"):
        ServerStore(client, "named", 4, "memory")


def test_a_server_that_is_away_is_one_line() -> None:
    from memory_parts import WordBag

    with pytest.raises(StoreError, match=r"memory\.url") as caught:
        ServerStore.connect(Memory(url="http://127.0.0.1:9"), WordBag())
    assert "\n" not in str(caught.value)
