"""``aiki consult``: the replay of a trace, and what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context
from aiki_kernel.errors import UsageError
from aiki_kernel.mind import insight
from aiki_kernel.mind.insight import Insight, stored
from aiki_kernel.mind.ledger import Entry, Ledger

TOML = """
daemon = "off"
[memory]
embedder = "wordllama"
[routing]
smart = ["test/smart"]
cheap = ["test/cheap"]
[endpoints.test]
base_url = "http://127.0.0.1:9/v1"
[models.cards."test/smart"]
tier = "smart"
input_price = 5.0
output_price = 25.0
cache_read_price = 0.5
[models.cards."test/cheap"]
tier = "cheap"
input_price = 1.0
output_price = 5.0
cache_read_price = 0.1
"""


@pytest.fixture
def context(aiki_home: Path) -> Iterator[Context]:
    (aiki_home / "aiki.toml").write_text(TOML, "utf-8")
    made = Context("cli")
    yield made
    made.close()


def trace_file(path: Path, *, labelled: bool) -> Path:
    rows = [
        {
            "context_tokens": 4000 * (n + 1),
            "output_tokens": 1500,
            **({"smart": 1, "cheap": n % 2, "consult": 1} if labelled else {}),
        }
        for n in range(6)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return path


def test_a_trace_goes_through_three_policies(context: Context, tmp_path: Path) -> None:
    words = ["consult", "eval", "--trace", str(trace_file(tmp_path / "t.jsonl", labelled=True))]
    result = registry.run(words, context)
    assert result.data["messages"] == 6
    cold, warm, half = (section["rows"] for section in result.data["sections"])
    assert [row["policy"] for row in cold] == ["smart-only", "cheap-only"] + ["consultant"] * 4
    assert [row.get("reuse") for row in cold[2:]] == [0.0, 0.25, 0.5, 0.75]
    saved = [row["saved"] for row in cold[2:]]
    assert saved == sorted(saved)
    assert 0.4 < saved[0] < 0.8
    assert warm[2]["saved"] < cold[2]["saved"]
    assert half[2]["saved"] < warm[2]["saved"]
    assert [row["right"] for row in cold[:3]] == [1.0, 0.5, 1.0]
    assert cold[1]["usd_per_correct"] == pytest.approx(2 * cold[1]["usd_per_message"])
    assert "used again" in result.text
    json.dumps(result.data)


def test_without_labels_there_is_no_cost_of_a_correct_answer(
    context: Context, tmp_path: Path
) -> None:
    words = ["consult", "eval", "--trace", str(trace_file(tmp_path / "t.jsonl", labelled=False))]
    result = registry.run([*words, "--reuse", "0.5", "--escalated", "1"], context)
    rows = result.data["sections"][0]["rows"]
    assert len(rows) == 3
    assert rows[2]["usd_per_correct"] is None
    assert rows[2]["saved"] < 0, "advice that is never trusted costs more"


def test_the_own_ledger_is_a_trace(context: Context) -> None:
    with pytest.raises(UsageError, match="no answers to replay"):
        registry.run(["consult", "eval"], context)
    Ledger(context.paths.ledger).record(
        Entry("2026-11-01T00:00:00+00:00", "s", "t", "m", "p", input_tokens=900, output_tokens=80)
    )
    assert registry.run(["consult", "eval"], context).data["messages"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--trace", "/nowhere"], "no file"),
        (["--reuse", "2"], "share from 0 to 1"),
        (["--smart", "nobody/x", "--trace", "T"], "nobody"),
    ],
)
def test_a_mistake_is_one_line(
    context: Context, tmp_path: Path, words: list[str], told: str
) -> None:
    path = str(trace_file(tmp_path / "t.jsonl", labelled=False))
    words = [path if word == "T" else word for word in words]
    with pytest.raises(Exception, match=told) as caught:
        registry.run(["consult", "eval", *words], context)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line", ['{"context_tokens": 5}', "[]", "{", '{"context_tokens": -1, "output_tokens": 1}']
)
def test_a_bad_trace_names_its_line(context: Context, tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"context_tokens": 5, "output_tokens": 5}\n' + line, "utf-8")
    with pytest.raises(UsageError, match="Line 2"):
        registry.run(["consult", "eval", "--trace", str(path)], context)


def test_stored_insights_are_listed(context: Context) -> None:
    assert "No insight" in registry.run(["consult", "list"], context).text
    one = Insight("Copy the keys first.", "It is iterated over.", 0.9, ("copy",), "a dict changes")
    kept = stored(
        one, problem="p", question="q?", model="test/smart", cost_usd=0.002, tokens=9, days=3
    )
    context.aiki.memory.add(kept.text, kind=insight.KIND, metadata=kept.metadata())
    found = registry.run(["consult", "list"], context)
    assert found.data["insights"][0]["insight"] == "Copy the keys first."
    assert "test/smart" in found.text
    assert registry.run(["consult"], context).data["insights"] == 1
