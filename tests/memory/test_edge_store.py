"""The embedded store's folder: one owner, and whole after any kill."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path

import pytest
from memory_parts import WordBag

from aiki_kernel.config import Paths, Settings
from aiki_kernel.errors import StoreError
from aiki_kernel.memory.edge import EdgeStore
from aiki_kernel.memory.records import Scope
from aiki_kernel.memory.service import MemoryService

HERE = Path(__file__).parent
KARI = Scope("kari")


def test_a_second_process_is_told_who_has_the_folder(edge: EdgeStore) -> None:
    script = (
        "import sys; from pathlib import Path; from aiki_kernel.memory.edge import EdgeStore\n"
        "from aiki_kernel.errors import StoreError\n"
        "try: EdgeStore(Path(sys.argv[1]), 64, 'wordbag')\n"
        "except StoreError as error: print(error)"
    )
    out = subprocess.run(
        [sys.executable, "-c", script, str(edge.folder)], capture_output=True, text=True, check=True
    )
    assert out.stdout.count("\n") == 1
    assert "in use by another process" in out.stdout
    assert out.stderr == ""


def test_shards_that_were_never_finished_are_swept_away(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    EdgeStore(folder, 64, "wordbag").close()
    (folder / "shards" / "orphan").mkdir()
    (folder / "collection.new").write_text("{")
    EdgeStore(folder, 64, "wordbag").close()
    assert len(list((folder / "shards").iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"version": 99}', "newer"),
        ('{"version": 1, "shard": "gone", "embedder": "x", "dimension": 1}', "cannot be opened"),
    ],
)
def test_a_damaged_folder_is_one_line_and_stays_as_it_is(
    tmp_path: Path, content: str, match: str
) -> None:
    folder = tmp_path / "memory"
    EdgeStore(folder, 64, "wordbag").close()
    (folder / "collection.json").write_text(content)
    with pytest.raises(StoreError, match=match) as caught:
        EdgeStore(folder, 64, "wordbag")
    assert "\n" not in str(caught.value)
    assert (folder / "collection.json").read_text() == content


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path / "memory", 64, "wordbag")
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.get(["95331a49-bc63-494e-b5e1-c4199fff7569"])


WRITER = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from memory_parts import WordBag
from aiki_kernel.config import Memory, Paths, load
from aiki_kernel.memory.records import Turn
from aiki_kernel.memory.service import MemoryService
home, first, mode = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
settings = load(memory=Memory(embedder="wordbag", user_id="kari"))
service = MemoryService(settings, Paths(home), embedder=WordBag())
print("open", flush=True)
n = first
while True:
    if mode == "reembed" and n % 7 == 3:
        service.reembed()
    when = f"2026-01-01T00:00:00.{{n:06d}}+00:00"
    turn = Turn(f"t{{n}}", "kari", "s", f"question {{n}}", f"answer {{n}}", "m", when)
    service.remember(turn)
    print(n, flush=True)
    n += 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["remember", "reembed"])
def test_nothing_acknowledged_is_lost_to_kill_9(
    tmp_path: Path, aiki_home: Path, settings: Settings, mode: str
) -> None:
    """Killed at random moments: while creating, opening, writing and rebuilding."""
    chance = random.Random(7)
    acknowledged: set[int] = set()
    home = tmp_path / "killed"
    script = WRITER.format(here=str(HERE))
    said = tmp_path / "said"
    for round_ in range(8):
        first = 1000 * round_
        with said.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", script, str(home), str(first), mode], stdout=out
            )
        # A quarter of the rounds may be killed before the store is open, the others after.
        while round_ % 4 and not said.stat().st_size and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.05, 0.8))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        lines = said.read_text().split("\n")[:-1]
        acknowledged |= {int(line) for line in lines if line.isdigit()}
    service = MemoryService(settings, Paths(home), embedder=WordBag())
    try:
        stored = {record.data for record in service.list(KARI, limit=100_000)}
        lost = {n for n in acknowledged if not {f"question {n}", f"answer {n}"} <= stored}
        assert not lost
        assert acknowledged
        assert len(stored) == service.stats()["memories"]
        assert len(list((home / "memory" / "shards").iterdir())) == 1
    finally:
        service.close()


def _tampered(file: Path, out: Path, change: str) -> Path:
    parts: list[tuple[str, bytes]] = []
    with tarfile.open(file) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            assert stream is not None
            parts.append((member.name, stream.read()))
    if change == "points":
        parts[1] = (parts[1][0], parts[1][1].replace(b"fact", b"fake"))
    elif change == "traversal":
        parts[1] = ("../../points.jsonl", parts[1][1])
    elif change == "missing":
        del parts[2]
    elif change == "manifest":
        parts[0] = (parts[0][0], b"{}")
    elif change == "count":
        manifest = json.loads(parts[0][1])
        parts[0] = (parts[0][0], json.dumps({**manifest, "memories": 99}).encode())
    with tarfile.open(out, "w:gz") as archive:
        for name, data in parts:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, BytesIO(data))
    if change == "cut":
        out.write_bytes(out.read_bytes()[:-200])
    elif change == "noise":
        out.write_bytes(b"no tar at all")
    return out


@pytest.mark.parametrize(
    "change", ["points", "traversal", "missing", "manifest", "count", "cut", "noise"]
)
@pytest.mark.parametrize("kind", ["embedded"])
def test_a_damaged_snapshot_changes_nothing(
    memory: MemoryService, tmp_path: Path, change: str
) -> None:
    memory.add("fact one", KARI)
    file = memory.snapshot(tmp_path / "whole.tar.gz")
    bad = _tampered(file, tmp_path / "bad.tar.gz", change)
    memory.add("fact two", KARI)
    with pytest.raises(StoreError, match="nothing was changed") as caught:
        memory.restore(bad)
    assert "\n" not in str(caught.value)
    assert {record.data for record in memory.list(KARI)} == {"fact one", "fact two"}
    assert not list(memory.collection.paths.memory.glob(".restore-*"))
    assert file.stat().st_mode & 0o077 == 0
