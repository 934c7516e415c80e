"""``aiki bench recall --data FILE``: how the issue and the README call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = [
    {
        "memory": f"{name} bor i {town}.",
        "norwegian": f"Hvor bor {name}?",
        "english": f"Where does {name} live?",
    }
    for name, town in (("Kari", "Bergen"), ("Ola", "Oslo"), ("Nils", "Bodø"), ("Siri", "Molde"))
]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aiki_kernel.cli", "bench", "recall", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_probe_is_measured_through_the_real_memory(aiki_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "probe.json"
    file.write_text(json.dumps(PROBE), "utf-8")
    done = bench("--data", str(file), "--embedder", "wordllama", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["group"] for row in rows} == {"norwegian", "english"}
    assert all(0 <= row["recall5"] <= row["recall10"] <= 1 for row in rows)


@pytest.mark.parametrize("words", [(), ("--data", "no.json")])
def test_a_missing_file_is_one_line(aiki_home: Path, words: tuple[str, ...]) -> None:
    done = bench(*words)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
