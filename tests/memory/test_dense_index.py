"""The index beside the store gives what the store's own search gives, whatever happens."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from memory_parts import Open

from aiki_kernel.compute import native as native_module
from aiki_kernel.compute.index_file import stamp_of
from aiki_kernel.compute.native import native
from aiki_kernel.config import Compute
from aiki_kernel.errors import StoreError, UsageError
from aiki_kernel.memory.backends import NAMES, agreement
from aiki_kernel.memory.columns import Columns
from aiki_kernel.memory.dense import FILE, DenseIndex
from aiki_kernel.memory.edge import EdgeStore
from aiki_kernel.memory.history import History
from aiki_kernel.memory.records import Draft, Scope
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.memory.store import Either, Point, Where

KARI = Scope("kari")
DIM = 64
HERE = [name for name in NAMES if name not in ("auto", "qdrant")]
needs_kernels = pytest.mark.skipif(native().kernels is None, reason=native().reason)


@pytest.fixture
def kind() -> str:
    return "embedded"  # a server's memories are searched by the server


class Pair:
    """A store and its index, changed together as a collection does it."""

    def __init__(self, folder: Path) -> None:
        self.store = EdgeStore(folder, DIM, "wordbag")
        self.log = History(folder / "history.db")
        self.write = threading.RLock()
        self.index = DenseIndex(self.store, self.log, folder, self.write)

    def put(self, points: list[Point]) -> None:
        with self.write:
            with self.index.moving([point.id for point in points]):
                self.store.upsert(points, wait=False)
            self.index.upsert(points)

    def delete(self, ids: list[str]) -> None:
        with self.write:
            with self.index.moving(ids):
                self.store.delete(ids, wait=False)
            self.index.delete(ids)

    def agree(self, vector: np.ndarray, where: Where, limit: int, backend: str = "auto") -> int:
        """Assert that both answer alike; how many there were."""
        judge = self.store.search(vector, {}, where, limit)["dense"]
        answer = self.index.search(vector, where, limit, backend)
        assert answer is not None
        assert len(answer.scored) == len(judge), where
        ours = [score for _, score in answer.scored]
        assert ours == pytest.approx([score for _, score in judge], abs=2e-6)
        assert agreement(answer.scored, judge) == len(judge), where
        return len(judge)

    def close(self) -> None:
        self.index.close()
        self.log.close()
        self.store.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path / "memory")
    made.index.load()
    made.index.build(threading.Event())
    assert made.index.ready
    yield made
    made.close()


class Some:
    """Random points and filters over a few users, runs, kinds and turns."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.known: list[str] = []

    def vector(self) -> np.ndarray:
        return self.numbers.standard_normal(DIM).astype(np.float32)

    def point(self, id: str | None = None) -> Point:
        chance = self.chance
        payload: dict[str, object] = {
            "user_id": chance.choice(["kari", "ola", "åse"]),
            "kind": chance.choice(["message", "fact"]),
            "hash": chance.choice("abcdef"),
            "created_at": f"2026-0{chance.randint(1, 9)}-11T10:00:0{chance.randint(0, 9)}.5+00:00",
            "embedder": chance.choice(["wordbag", "other"]),
            "data": "x",
        }
        for key, values in (("agent_id", ["a", "b"]), ("run_id", ["r1", "r2", "r3"])):
            if chance.random() < 0.7:
                payload[key] = chance.choice(values)
        if chance.random() < 0.6:
            payload["turn_id"] = f"t{chance.randint(0, 9)}"
        for key, words in (("tags", "uvwxyz"), ("entities", "klm"), ("categories", "pq")):
            if chance.random() < 0.4:
                payload[key] = chance.sample(words, chance.randint(0, 2))
        if chance.random() < 0.1:
            payload["tags"] = "u"  # one word that is no list, as mem0's users may write it
        if chance.random() < 0.6:
            payload["trust"] = chance.choice(["user", "model", "import"])
        if chance.random() < 0.7:
            payload["role"] = chance.choice(["user", "assistant", "k"])
        if chance.random() < 0.2:
            payload["quarantined"] = chance.choice([True, True, False])
        if chance.random() < 0.4:
            ended = ["2026-05-01", "2026-05-01T10:00:00Z", "2026-09-01T00:00:00+02:00", "soon"]
            payload["valid_to"] = chance.choice(ended)
        name = id or str(uuid.UUID(int=chance.getrandbits(128), version=4))
        return Point(name, payload, self.vector())

    def where(self) -> Where:
        chance = self.chance

        def maybe(*values: str) -> str | None:
            return chance.choice(values) if chance.random() < 0.3 else None

        def some(*values: str) -> tuple[str, ...]:
            return tuple(chance.sample(values, 2)) if chance.random() < 0.2 else ()

        turns = [f"t{n}" for n in range(10)]
        return Where(
            user_id=maybe("kari", "ola", "åse", "nobody"),
            agent_id=maybe("a", "b"),
            run_id=maybe("r1", "r2"),
            kind=maybe("message", "fact"),
            turn_ids=some(*turns),
            hashes=some(*"abcdef"),
            ids=tuple(chance.sample(self.known, min(9, len(self.known))))
            if self.known and chance.random() < 0.15
            else (),
            exclude_turns=some(*turns),
            since=maybe("2026-04-11T10:00:03.5+00:00", "2026-04-11T12:00:03.5+02:00"),
            until=maybe("2026-08-11T10:00:03Z", "2026-08-11"),
            not_embedder=maybe("wordbag", "nobody"),
            agent_ids=some("a", "b", ""),
            kinds=some("message", "fact", "insight"),
            exclude_kinds=some("fact", "insight", "sensor"),
            tags=some(*"uvwxyz", ""),
            entities=some(*"klm", "n"),
            categories=some(*"pq", "r"),
            trusts=some("user", "model", "import"),
            roles=some("user", "assistant", ""),
            either=tuple(Either(("role", "entities"), words) for words in [some(*"klm")] if words),
            quarantined=chance.choice([None, None, None, False, False, True]),
            valid_at=maybe("2026-05-01T10:00:00Z", "2026-06-11", "2026-12-11T00:00:00+00:00"),
        )


@pytest.mark.parametrize("seed", range(3))
def test_filters_deletes_and_updates_leave_it_like_the_store(pair: Pair, seed: int) -> None:
    some = Some(seed)
    found = 0
    for step in range(25):
        fresh = [some.point() for _ in range(some.chance.randint(1, 40))]
        again = some.chance.sample(some.known, min(len(some.known), some.chance.randint(0, 6)))
        pair.put(fresh + [some.point(name) for name in again])
        some.known += [point.id for point in fresh]
        if some.chance.random() < 0.5:
            gone = some.chance.sample(some.known, min(len(some.known), 12))
            pair.delete([*gone, str(uuid.uuid4())])
            some.known = [name for name in some.known if name not in gone]
            if some.chance.random() < 0.5:  # what was forgotten may come back under its id
                back = some.point(gone[0])
                pair.put([back])
                some.known.append(back.id)
        assert pair.index.rows == len(some.known) == pair.store.count(Where())
        for _ in range(12):
            backend = some.chance.choice(["auto", "numpy"])
            found += pair.agree(some.vector(), some.where(), some.chance.randint(1, 60), backend)
        if step % 8 == 7:
            pair.index.save()
    assert found > 500
    names = some.chance.sample(some.known, 20)
    vector = some.vector()
    ours = pair.index.similarity(vector, [*names, names[0], str(uuid.uuid4())])
    assert ours == pytest.approx(pair.store.similarity(vector, names), abs=2e-6)


@needs_kernels
def test_every_backend_finds_the_same(pair: Pair) -> None:
    some = Some(5)
    pair.put([some.point() for _ in range(700)])
    for backend in HERE:
        for _ in range(10):
            pair.agree(some.vector(), some.where(), 100, backend)


def test_a_list_of_words_in_a_payload_is_left_to_the_store(pair: Pair) -> None:
    some = Some(1)
    point = some.point()
    pair.put([Point(point.id, {**point.payload, "turn_id": ["t1", "t2"]}, point.vector)])
    assert pair.index.search(some.vector(), Where(turn_ids=("t1",)), 5, "auto") is None
    assert pair.index.search(some.vector(), Where(kind="fact"), 5, "auto") is not None


def test_columns_come_back_as_they_were_packed() -> None:
    some = Some(2)
    columns, points = Columns(), [some.point() for _ in range(500)]
    columns.append([point.id for point in points], [point.payload for point in points])
    columns.delete(columns.find([points[3].id]))
    again = Columns.unpack(columns.pack(), columns.alive[:500])
    names = [point.id for point in points]
    assert again.find(names).tolist() == columns.find(names).tolist()
    assert again.find(names)[3] == -1
    assert again.names(np.arange(500)) == names
    for _ in range(50):
        where = some.where()
        assert (again.mask(where) == columns.mask(where)).all()  # type: ignore[union-attr]


# --- the file -----------------------------------------------------------------------------


def _filled(memory: MemoryService, n: int = 300) -> None:
    memory.add_many([Draft(f"memory number {i} about topic {i % 17}", KARI) for i in range(n)])
    _ready(memory)


def _ready(memory: MemoryService) -> DenseIndex:
    index = memory.collection.dense
    assert index is not None
    for _ in range(600):
        if index.ready:
            return index
        threading.Event().wait(0.05)
    raise AssertionError(index.standing)


def _all_found(memory: MemoryService, texts: list[str], backend: str = "numpy") -> None:
    for text in texts:
        recall = memory.recall(text, KARI, 3, backend=backend)
        assert recall.backend.name == backend, recall.backend
        assert text in {hit.text for hit in recall.hits}


def test_the_file_brings_back_what_was_saved(open_memory: Open, aiki_home: Path) -> None:
    memory = open_memory()
    _filled(memory)
    memory.close()
    assert (aiki_home / "memory" / FILE).exists()
    again = open_memory()
    index = again.collection.dense
    assert index is not None
    assert index.ready  # at once: it was not built
    assert index.rows == 300
    _all_found(again, ["memory number 7 about topic 7", "memory number 299 about topic 10"])


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone", "other store"])
def test_a_file_that_cannot_be_used_is_built_anew(
    open_memory: Open, aiki_home: Path, damage: str
) -> None:
    memory = open_memory()
    _filled(memory)
    memory.close()
    path = aiki_home / "memory" / FILE
    whole = path.read_bytes()
    if damage == "flip":
        path.write_bytes(whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:])
    elif damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "gone":
        path.unlink()
    else:
        stamp = stamp_of(path).split()
        path.write_bytes(whole.replace(stamp[1].encode(), b"0" * len(stamp[1])))
    again = open_memory()
    recall = again.recall("memory number 7 about topic 7", KARI, 3, backend="numpy")
    assert recall.hits[0].text == "memory number 7 about topic 7"  # by the store, or the index
    if recall.backend.name == "qdrant":
        assert "buil" in recall.backend.reason
    assert _ready(again).rows == 300
    _all_found(again, ["memory number 7 about topic 7"])


def test_an_older_file_is_brought_up_to_date_row_by_row(open_memory: Open, aiki_home: Path) -> None:
    memory = open_memory()
    _filled(memory)
    index = _ready(memory)
    index.save()
    path = aiki_home / "memory" / FILE
    old = path.read_bytes()
    added = memory.add("the newest of all", KARI)
    changed = memory.update(memory.list(KARI, limit=400)[50].id, "rewritten from scratch")
    gone = memory.list(KARI, limit=400)[60]
    memory.forget(gone.id)
    index.unsaved = 0  # as if killed: closing does not write the file
    memory.close()
    assert path.read_bytes() == old
    log = History(aiki_home / "memory" / "history.db")
    assert set(log.moved_since(int(stamp_of(path).split()[-1])) or ()) == {
        added.id,
        changed.id,
        gone.id,
    }
    log.close()
    again = open_memory()
    assert again.collection.dense is not None
    assert again.collection.dense.ready  # at once: three rows were read, not three hundred
    assert _ready(again).rows == 300
    _all_found(again, ["the newest of all", "rewritten from scratch"])
    assert gone.data not in {hit.text for hit in again.recall(gone.data, KARI, 3).hits}


def test_a_file_older_than_what_is_known_of_it_is_not_believed(
    open_memory: Open, aiki_home: Path
) -> None:
    memory = open_memory()
    _filled(memory, 60)
    index = _ready(memory)
    index.save()
    old = index.path.read_bytes()
    memory.add("the newest of all", KARI)
    memory.close()  # writes the file, and what moved before that is no longer noted
    index.path.write_bytes(old)
    again = open_memory()
    assert _ready(again).rows == 61
    _all_found(again, ["the newest of all"])


def test_a_write_that_breaks_off_makes_nobody_miss_anything(
    open_memory: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = open_memory()
    _filled(memory)
    upsert = EdgeStore.upsert

    def breaks_off(self: EdgeStore, points: list[Point], *, wait: bool = True) -> None:
        upsert(self, points[: len(points) // 2], wait=wait)
        raise StoreError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(EdgeStore, "upsert", breaks_off)
        with pytest.raises(StoreError, match="no space"):
            memory.add_many([Draft(f"half of these {i}", KARI) for i in range(10)])
    assert _ready(memory).rows == memory.collection.store.count(Where()) == 305
    texts = {record.data for record in memory.list(KARI, limit=400)}
    _all_found(memory, sorted(text for text in texts if text.startswith("half"))[:2])


def test_reembedding_and_restoring_bring_the_index_along(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    _filled(memory, 60)
    copy = memory.snapshot(tmp_path / "copy.tar.gz")
    memory.add("only after the snapshot", KARI)
    memory.reembed()
    _ready(memory)
    _all_found(memory, ["only after the snapshot", "memory number 3 about topic 3"])
    memory.restore(copy)
    recall = memory.recall("only after the snapshot", KARI, 5)
    assert "only after the snapshot" not in {hit.text for hit in recall.hits}
    assert _ready(memory).rows == 60
    _all_found(memory, ["memory number 3 about topic 3"])


# --- choosing, failing, telling -----------------------------------------------------------


def test_auto_says_why_and_a_name_is_kept(memory: MemoryService) -> None:
    _filled(memory, 40)
    auto = memory.recall("memory number 3", KARI, 3)
    assert auto.backend.name == ("mojo" if native().kernels else "numpy")
    assert "40 memories" in auto.backend.reason or native().kernels is None
    assert auto.backend.ms is not None
    own = memory.recall("memory number 3", KARI, 3, backend="qdrant")
    assert own.backend.name == "qdrant"
    assert [hit.id for hit in own.hits] == [hit.id for hit in auto.hits]
    with pytest.raises(UsageError, match="no backend 'mojoo'"):
        memory.recall("memory number 3", KARI, 3, backend="mojoo")
    data = memory.backends("numpy")
    assert data["chosen"]["name"] == "numpy"
    assert {row["name"] for row in data["backends"]} == set(NAMES) - {"auto"}
    assert memory.stats()["search"]["last"]["name"] == "qdrant"


def test_without_compiled_kernels_numpy_answers_and_it_is_seen(
    open_memory: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_module, "FOLDER", tmp_path)
    _look_for_kernels_again()
    try:
        memory = open_memory()
        _filled(memory, 40)
        recall = memory.recall("memory number 3 about topic 3", KARI, 3, backend="mojo")
        assert recall.hits[0].text == "memory number 3 about topic 3"
        assert recall.backend.name == "numpy"
        assert recall.backend.reason == "in the place of mojo"
        assert "mojo backend failed" in recall.note
        assert "mojo" in memory.stats()["search"]["failed"]
        rows = {row["name"]: row for row in memory.backends()["backends"]}
        assert not rows["mojo"]["available"]
        assert rows["mojo"]["reason"]
        assert memory.recall("memory number 3", KARI, 3).note == ""  # auto knows what there is
    finally:
        monkeypatch.undo()
        _look_for_kernels_again()


def _look_for_kernels_again() -> None:
    for remembered in (native_module.native, native_module.load_best, native_module.runnable):
        remembered.cache_clear()


@needs_kernels
def test_a_killed_search_server_is_answered_for_and_it_is_seen(memory: MemoryService) -> None:
    _filled(memory, 200)
    text = "memory number 9 about topic 9"
    assert memory.recall(text, KARI, 3, backend="mojo-server").backend.name == "mojo-server"
    index = memory.collection.dense
    assert index is not None
    assert index._index is not None
    server = index._index._made["mojo-server"]
    server._process.popen.kill()  # type: ignore[attr-defined]
    server._process.popen.wait()  # type: ignore[attr-defined]
    recall = memory.recall(text, KARI, 3, backend="mojo-server")
    assert recall.hits[0].text == text
    assert recall.backend.name == "numpy"
    assert "mojo-server" in recall.note
    assert memory.stats()["search"]["failed"]
    again = memory.recall(text, KARI, 3, backend="mojo-server")
    assert again.backend.name == "mojo-server"
    assert again.note == ""


def test_all_backends_are_compared_on_the_real_memory(memory: MemoryService) -> None:
    _filled(memory, 200)
    data = memory.compare("memory number 9", KARI)
    assert data["found"] == 100
    assert data["memories"] == 200
    for row in data["rows"]:
        if "missing" not in row:
            assert row["ms"] > 0
            assert row["same"] == row["of"] == 100, row
    assert {row["name"] for row in data["rows"]} == {*HERE, "qdrant"}


def test_an_empty_memory_compares_nothing(memory: MemoryService) -> None:
    assert memory.compare("anything", KARI)["found"] == 0
    assert memory.recall("anything", KARI, 3).hits == ()


def test_the_setting_names_the_backend(open_memory: Open) -> None:
    memory = open_memory()
    _filled(memory, 40)
    memory.compute = Compute(backend="qdrant")
    assert memory.recall("memory number 3", KARI, 3).backend.name == "qdrant"
    assert memory.stats()["search"]["backend"] == "qdrant"
