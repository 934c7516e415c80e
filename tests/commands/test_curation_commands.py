"""``aiki memory status`` and ``curate``, and ``aiki bench curate`` on a dialogue of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiki_kernel.commands.command import Context, Result
from aiki_kernel.commands.registry import run
from aiki_kernel.errors import UsageError
from aiki_kernel.memory.bench import read_cases
from aiki_kernel.memory.curation_bench import with_junk

SAID = [
    ("Anna", "Hey Ben! Good to see you!"),
    ("Ben", "Hi Anna! How are you?"),
    ("Anna", "I started at a pottery class in Bergen last Tuesday."),
    ("Ben", "Cool, I have been building a wooden boat in my garage since March."),
    ("Anna", "My sister Ingrid visits me on Friday, we will go to the aquarium."),
    ("Ben", "Thanks for telling me! My dog Balto is ill and sees the vet at noon."),
    ("Anna", "The kiln at the class broke, so I have to wait for my blue bowl."),
    ("Ben", "Bye Anna!"),
]


@pytest.fixture
def dialogue(tmp_path: Path) -> Path:
    """LoCoMo's format, with words of our own."""
    turns = [
        {"speaker": speaker, "dia_id": f"D1:{number}", "text": text}
        for number, (speaker, text) in enumerate(SAID, 1)
    ]
    one = {
        "sample_id": "ours",
        "conversation": {"session_1_date_time": "1:56 pm on 8 May, 2023", "session_1": turns},
        "qa": [
            {"question": "What does Anna learn?", "evidence": ["D1:3"], "category": 1},
            {"question": "What is Ben's dog called?", "evidence": ["D1:6"], "category": 4},
        ],
    }
    path = tmp_path / "dialogue.json"
    path.write_text(json.dumps([one]), "utf-8")
    return path


@pytest.fixture
def context(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    return Context("cli")


def bench(context: Context, *words: str) -> Result:
    return run(["bench", "curate", *words], context)


def test_the_stream_of_junk_is_the_same_for_the_same_seed(dialogue: Path) -> None:
    (case,) = read_cases(dialogue)
    one, two, other = with_junk(case, 2.0, 1), with_junk(case, 2.0, 1), with_junk(case, 2.0, 2)
    assert [r.data for r in one.records] == [r.data for r in two.records]
    assert [r.data for r in one.records] != [r.data for r in other.records]
    assert {draft.id for draft in case.memories} <= {record.id for record in one.records}
    assert not any(one.labels[str(draft.id)] for draft in case.memories)
    assert len(set(one.labels.values())) > 3
    assert [r.created_at for r in one.records] == sorted(r.created_at for r in one.records)
    assert len(with_junk(case, 0.0, 1).records) == len(SAID)


def test_the_bench_counts_junk_evidence_and_cost(context: Context, dialogue: Path) -> None:
    done = bench(context, "--data", str(dialogue), "--junk", "3")
    found = done.data
    assert done.status == 0
    assert found["evidence"] == 2
    assert found["evidence_kept"] == 1.0
    assert found["junk"][0] > found["junk"][1]
    assert found["junk_rate"][1] < found["junk_rate"][0]
    assert found["cost_usd"] == 0.0
    assert {row["text"] for row in found["lost"]} >= {"Bye Anna!"}
    assert "of the evidence is kept" in done.text


def test_the_bench_says_what_it_needs(context: Context, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--data"):
        bench(context)
    probe = tmp_path / "probe.json"
    probe.write_text('[{"memory": "a", "english": "b"}]', "utf-8")
    with pytest.raises(UsageError, match="no dialogues"):
        bench(context, "--data", str(probe))
    with pytest.raises(UsageError, match="below 0"):
        bench(context, "--data", str(probe), "--junk", "-1")


def test_status_and_curate(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    monkeypatch.setenv("AIKI_MEMORY__CURATE", "false")
    monkeypatch.setenv("AIKI_DAEMON", "off")
    context = Context("cli")
    run(["memory", "add", "Ingrid", "lives", "in", "Bergen."], context)
    before = run(["memory", "status"], context)
    assert "off (memory.curate = false)" in before.text
    assert before.data["curation"]["waiting"] == 1
    after = run(["memory", "curate"], context)
    assert after.data["curation"]["waiting"] == 0
    assert "1 kept" in after.text
    assert "nothing" in after.text
    context.aiki.close()
