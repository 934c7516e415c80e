"""``aiki bench search``: a table whose ratios have their recall beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aiki_kernel.cli", "bench", "search", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_table_is_one_json_document(aiki_home: Path) -> None:
    done = bench("--sizes", "500", "--no-peers", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["method"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["numpy best, 1 thread"]["ratio"] == 1
    assert rows["numpy naive"]["recall"] == 1
    for name in ("mojo", "mojo-server"):
        if "missing" not in rows.get(name, {"missing": ""}):
            assert rows[name]["recall"] >= 0.99
            assert rows[name]["ratio"] > 0


@pytest.mark.parametrize("words", [("--sizes", "many"), ("--sizes", "10"), ("--data", "no.npz")])
def test_wrong_words_are_one_line(aiki_home: Path, words: tuple[str, ...]) -> None:
    done = bench(*words)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
