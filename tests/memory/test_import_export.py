"""Memories come in from everywhere, once; go out; and come back the same."""

from __future__ import annotations

import hashlib
import json
import pickle
import sqlite3
from pathlib import Path

import pytest
from memory_parts import DATA

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.foreign import read_storage
from aiki_kernel.memory.intake import client_points
from aiki_kernel.memory.records import Scope
from aiki_kernel.memory.service import MemoryService

KARI = Scope("kari")


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_an_export_imports_back_to_the_same_memories(memory: MemoryService, tmp_path: Path) -> None:
    from test_memory_service import turn

    memory.remember(turn(1))
    memory.add(
        "en setning med æøå", Scope("kari", "tutor", "run"), metadata={"data": "x", "t": [1]}
    )
    memory.add("plain", KARI, created_at="2020-02-02T02:02:02Z", kind="insight", role="tool")
    rows = list(memory.export(KARI))
    file = write_jsonl(tmp_path / "out.jsonl", rows)
    again = memory.import_(file, KARI)
    assert (again.added, again.skipped, again.failed) == (0, 4, ())
    for row in rows:
        memory.forget(row["id"])
    report = memory.import_(file, KARI)
    assert (report.added, report.skipped, report.failed) == (4, 0, ())
    # Who vouches for a memory is not taken from a file.
    plain = [{**row, "trust": "import"} for row in rows]
    assert list(memory.export(KARI)) == plain


@pytest.mark.parametrize("kind", ["embedded"])
def test_a_folder_of_json_of_many_shapes(memory: MemoryService, tmp_path: Path) -> None:
    tmp_path = tmp_path / "notes"
    (tmp_path / "deep").mkdir(parents=True)
    documents = {
        "one.json": {"text": "a text", "timestamp": 1700000000, "tags": ["x"], "odd": float("nan")},
        "list.json": [
            {"content": "from a list", "created_at": "2024-05-06T07:08:09"},
            [{"memory": "inner"}],
        ],
        "deep/chat.json": {
            "session_id": "s1",
            "messages": [
                {"role": "user", "content": "hello there"},
                {"role": "assistant", "content": [{"type": "text", "text": "well met"}]},
            ],
        },
        "pair.json": {"user": "what is it", "assistant": "it is this", "date": "2024-01-01"},
        "mem0.json": {
            "results": [{"id": "not-a-uuid", "memory": "likes tea", "hash": "0", "user_id": "bob"}]
        },
        "empty.json": {"nothing": 1},
    }
    for name, document in documents.items():
        (tmp_path / name).write_text(json.dumps(document), "utf-8")
    (tmp_path / "broken.json").write_text("{", "utf-8")
    (tmp_path / "latin.json").write_bytes(b'{"text": "\xe6"}')
    (tmp_path / "nest.json").write_text("[" * 100_000, "utf-8")
    (tmp_path / "lines.jsonl").write_text('{"text": "line one"}\nnot json\n', "utf-8")
    (tmp_path / ".hidden.json").write_text('{"text": "hidden"}', "utf-8")
    seen: list[tuple[int, int]] = []
    report = memory.import_(tmp_path, KARI, progress=lambda *step: seen.append(step))
    found = {record.data: record for record in memory.list(KARI, limit=50)}
    assert set(found) == {
        "a text",
        "from a list",
        "inner",
        "hello there",
        "well met",
        "what is it",
        "it is this",
        "likes tea",
        "line one",
    }
    assert report.added == len(found)
    assert {where for where, _ in report.failed} == {
        "broken.json",
        "latin.json",
        "nest.json",
        "lines.jsonl:2",
        "empty.json",
    }
    assert seen[-1] == (9, 9)
    assert found["a text"].created_at.startswith("2023-11-14T22:13:20")
    assert found["a text"].metadata == {"tags": ["x"], "odd": "nan"}
    assert found["from a list"].created_at.startswith("2024-05-06T07:08:09")
    assert found["hello there"].role == "user"
    assert found["it is this"].turn_id == found["what is it"].turn_id
    assert found["likes tea"].provenance["imported_user_id"] == "bob"
    assert {record.trust for record in found.values()} == {"import"}
    again = memory.import_(tmp_path, KARI)
    assert (again.added, again.skipped) == (0, 9)


def test_an_id_of_another_user_does_not_hide_an_import(
    memory: MemoryService, tmp_path: Path
) -> None:
    theirs = memory.add("shared text", Scope("ola"))
    file = write_jsonl(tmp_path / "x.jsonl", [{"id": theirs.id, "text": "shared text"}])
    assert memory.import_(file, KARI).added == 1
    assert memory.import_(file, KARI).skipped == 1
    assert memory.get(theirs.id).user_id == "ola"
    assert len(memory.list(KARI)) == 1


@pytest.mark.parametrize("kind", ["embedded"])
def test_the_fixture_of_mem0_opens_and_reads_right(memory: MemoryService) -> None:
    folder = DATA / "mem0_fixture"
    if not folder.is_dir():
        pytest.skip("the fixture is not beside this checkout")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    report = memory.import_(folder, KARI)
    assert (report.added, report.skipped, report.failed) == (3, 0, ())
    found = {record.data: record for record in memory.list(KARI)}
    assert set(found) == {"Hunden min heter Balto", "Fint navn!", "User's dog is named Balto II"}
    dog = found["Hunden min heter Balto"]
    assert dog.id == "ab7e3258-03c1-48ae-9a45-4abf8f4a2b7c"
    assert (dog.role, dog.created_at) == ("user", "2026-11-21T02:08:29.193449+00:00")
    assert dog.provenance["imported_user_id"] == "jovnna"
    renamed = found["User's dog is named Balto II"]
    assert [row["event"] for row in memory.history(renamed.id)].count("UPDATE") == 1
    assert memory.import_(folder, KARI).skipped == 3
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


class _Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def test_a_pickle_that_wants_more_is_refused_and_does_not_run(tmp_path: Path) -> None:
    from qdrant_client import models

    folder = tmp_path / "collection" / "notes"
    folder.mkdir(parents=True)
    marker = tmp_path / "ran"
    good = models.PointStruct(
        id="95331a49-bc63-494e-b5e1-c4199fff7569",
        vector={"": [0.5], "bm25": models.SparseVector(indices=[1], values=[1.0])},
        payload={"data": "kept"},
    )
    evil_inside = models.PointStruct(id=1, vector=[0.5], payload={"data": "x"})
    evil_inside.payload = {"data": _Evil(marker)}
    rows = [
        pickle.dumps(good),
        pickle.dumps(_Evil(marker)),
        pickle.dumps(evil_inside),
        b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cqdrant_client.http.models.models\nPointStruct.__init__\n.",
        b"not a pickle",
        pickle.dumps({"a": 1}),
        pickle.dumps(good)[:-40],
    ]
    with sqlite3.connect(folder / "storage.sqlite") as database:
        database.execute("CREATE TABLE points (id TEXT PRIMARY KEY, point BLOB)")
        database.executemany("INSERT INTO points VALUES (?, ?)", list(enumerate(rows)))
    database.close()
    digest = hashlib.sha256((folder / "storage.sqlite").read_bytes()).hexdigest()
    points = list(read_storage(folder / "storage.sqlite"))
    assert [point.payload for point in points] == [{"data": "kept"}] + [None] * 8
    assert all("\n" not in point.refused for point in points)
    assert not marker.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["storage.sqlite"]
    assert hashlib.sha256((folder / "storage.sqlite").read_bytes()).hexdigest() == digest


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["embedded"])
def test_a_folder_of_qdrant_local_mode_imports(memory: MemoryService, tmp_path: Path) -> None:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(tmp_path / "q"))
    client.create_collection("mem0", models.VectorParams(size=4, distance=models.Distance.COSINE))
    client.upsert(
        "mem0",
        [
            models.PointStruct(
                id=f"95331a49-bc63-494e-b5e1-c4199fff756{n}",
                vector=[1, 0, 0, n],
                payload={"data": f"remark {n}", "user_id": "bob"},
            )
            for n in range(3)
        ],
    )
    assert len(list(client_points(client, "mem0"))) == 3
    client.close()
    assert memory.import_(tmp_path / "q", KARI).added == 3


@pytest.mark.parametrize("kind", ["embedded"])
@pytest.mark.parametrize("source", ["missing.json", "empty-folder"])
def test_a_source_with_nothing_to_read_is_one_line(
    memory: MemoryService, tmp_path: Path, source: str
) -> None:
    (tmp_path / "empty-folder").mkdir()
    with pytest.raises(StoreError) as caught:
        memory.import_(tmp_path / source, KARI)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["embedded"])
def test_a_server_that_is_away_is_one_line(memory: MemoryService) -> None:
    with pytest.raises(StoreError, match="cannot be read") as caught:
        memory.import_("http://127.0.0.1:9/notes", KARI)
    assert "\n" not in str(caught.value)
