"""``aiki route``: explain, pins, judgements, training and evaluation, over real files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context
from aiki_kernel.errors import AikiError, UsageError
from aiki_kernel.mind.conversation import Conversation, Exchange
from aiki_kernel.mind.labels import Label, Labels

TOML = """
daemon = "off"
[routing]
smart = ["test/smart"]
cheap = ["test/cheap"]
standard = []
local = []
[endpoints.test]
base_url = "http://127.0.0.1:9/v1"
[models.cards."test/smart"]
tier = "smart"
input_price = 10.0
output_price = 50.0
[models.cards."test/cheap"]
tier = "cheap"
input_price = 1.0
output_price = 5.0
"""


@pytest.fixture
def talk(aiki_home: Path) -> Iterator[Context]:
    """A notebook's context with one answer in its conversation; no model can be reached."""
    (aiki_home / "aiki.toml").write_text(TOML, "utf-8")
    context = Context("magic", conversation=Conversation())
    assert context.conversation is not None
    context.conversation.put(
        Exchange("t1", "What is 6 * 7?", "42", "test/cheap", "2026-11-01T00:00:00+00:00")
    )
    yield context
    context.close()


def table_file(path: Path, count: int = 240) -> Path:
    """Four domains of one set, in which the weak model fails the long questions."""
    random = np.random.default_rng(3)
    rows = []
    for number in range(count):
        hard = number % 2 == 0
        prompt = f"Question {number}: add {' and '.join(['12'] * (9 if hard else 2))}."
        domain = f"sums_{number % 4}"
        weak = bool(random.random() < (0.3 if hard else 0.9))
        rows.append({"prompt": prompt, "weak": weak, "strong": True, "domain": domain})
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    return path


def test_explain_shows_a_table_and_calls_nothing(talk: Context) -> None:
    result = registry.run(["route", "explain", "Prove it, and analyse the design"], talk)
    assert result.data["model"] == "test/smart"
    assert {one["model"] for one in result.data["candidates"]} == {"test/smart", "test/cheap"}
    assert all(one["quality"] and one["cost_usd"] for one in result.data["candidates"])
    assert "proof and derivation (prove)" in result.text
    assert "But local answers" in result.text
    assert result.html
    json.dumps(result.data)
    named = registry.run(["route", "explain", "--router", "length", "hei"], talk)
    assert named.data["router"] == "length"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["route", "explain"], "explain"),
        (["route", "explain", "--router", "rulez", "hei"], "did you mean rules"),
        (["route", "smrt"], "did you mean smart"),
        (["route", "standard"], "No standard model"),
        (["route", "train"], "0 labels"),
        (["route", "eval"], "0 messages"),
        (["route", "eval", "--data", "/nowhere.jsonl"], "no file"),
    ],
)
def test_a_mistake_is_one_line(talk: Context, words: list[str], told: str) -> None:
    with pytest.raises(AikiError, match=told) as caught:
        registry.run(words, talk)
    assert "\n" not in str(caught.value)


def test_pins_are_kept_by_the_session(talk: Context) -> None:
    assert talk.conversation is not None
    talk.conversation.model = "test/cheap"
    assert registry.run(["route", "smart"], talk).data["model"] == "test/smart"
    assert (talk.conversation.model, talk.conversation.route) == (None, "smart")
    assert "Pinned to smart" in registry.run(["route"], talk).text
    assert registry.run(["route", "explain", "hei"], talk).data["model"] == "test/smart"
    registry.run(["route", "auto"], talk)
    assert talk.conversation.route == ""
    assert registry.run(["route"], talk).data["deciding"] == "rules"


def test_a_judgement_is_a_label_and_the_last_word_counts(talk: Context) -> None:
    registry.run(["route", "good"], talk)
    registry.run(["route", "bad"], talk)
    (label,) = Labels(talk.paths.ledger).all()
    assert (label.message, label.model, label.tier) == ("What is 6 * 7?", "test/cheap", "cheap")
    assert (label.source, label.good) == ("bad", 0.0)
    assert registry.run(["route"], talk).data["labels"]["bad"] == 1


def test_without_a_session_there_is_nothing_to_judge(aiki_home: Path) -> None:
    with pytest.raises(UsageError, match="no session to judge"):
        registry.run(["route", "good"], Context("cli"))
    with pytest.raises(UsageError, match="no answer to judge"):
        registry.run(["route", "good"], Context("magic", conversation=Conversation()))


def test_own_labels_train_the_router_that_then_decides(talk: Context) -> None:
    labels = Labels(talk.paths.ledger)
    for number in range(60):
        hard = number % 2 == 0
        message = f"Prove lemma {number} of the book" if hard else f"Say hello to guest {number}"
        labels.put(
            Label(
                "2026-11-01T00:00:00+00:00",
                f"turn {number}",
                message,
                "test/cheap",
                "bad" if hard else "good",
                0.0 if hard else 1.0,
                tier="" if number % 3 == 0 else "cheap",
            )
        )
    told = registry.run(["route", "train", "--no-embed"], talk)
    assert told.data["labels"] == 60
    assert Path(told.data["file"]).exists()
    result = registry.run(
        ["route", "explain", "--router", "learned", "Prove lemma 99 of the book"], talk
    )
    easy = registry.run(["route", "explain", "--router", "learned", "Say hello to guest 99"], talk)
    assert result.data["complexity"] > easy.data["complexity"]
    assert "learned from 60 labels" in result.text
    assert registry.run(["route"], talk).data["learned"]["labels"] == 60


def test_one_sided_labels_are_refused(talk: Context) -> None:
    labels = Labels(talk.paths.ledger)
    for number in range(50):
        labels.put(
            Label("2026-11-01", f"t{number}", f"m{number}", "test/cheap", "bad", 0.0, tier="cheap")
        )
    with pytest.raises(AikiError, match="0 of 50 labels are good"):
        registry.run(["route", "train", "--no-embed"], talk)


def test_eval_prints_a_table_for_each_set_and_way(talk: Context, tmp_path: Path) -> None:
    path = table_file(tmp_path / "table.jsonl.gz")
    result = registry.run(["route", "eval", "--data", str(path), "--embedder", "wordllama"], talk)
    sections = {(one["set"], one["held_out"]): one for one in result.data["sections"]}
    assert set(sections) == {("sums", "in-domain"), ("sums", "unseen")}
    for section in sections.values():
        rows = {row["router"]: row for row in section["rows"]}
        assert list(rows) == ["random", "rules", "length", "learned", "oracle"]
        assert rows["random"]["apgr"] == pytest.approx(0.5, abs=0.01)
        assert rows["learned"]["apgr"] > 0.6
        assert rows["oracle"]["apgr"] >= rows["learned"]["apgr"]
        assert 0.0 < rows["learned"]["cpt50"] < rows["learned"]["cpt80"] < 1.0
        assert section["best_single"] == {"model": "smart", "quality": 1.0}
    assert "APGR" in result.text
    json.dumps(result.data)
    words = ["route", "eval", "--data", str(path), "--embedder", "none", "--json", "--nested"]
    alone = json.loads(registry.run(words, talk).text)
    assert alone["embedder"] is None
    nested = [row["router"] for row in alone["sections"][0]["rows"]]
    assert nested[3:5] == ["learned", "learned, weights nested"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"prompt": "a", "weak": 1, "strong": 1}\n{"prompt"', "Line 2"),
        (b'{"prompt": "a", "weak": 7, "strong": 1}', "Line 1"),
        (b"[1, 2]", "Line 1"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"prompt": "a", "weak": 1, "strong": 1}', "1 messages have"),
    ],
)
def test_a_bad_file_names_its_line(
    talk: Context, tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=told):
        registry.run(["route", "eval", "--data", str(path)], talk)


def test_tab_offers_pins_verbs_and_routers(talk: Context) -> None:
    offers = registry.complete(["route"], "", talk)
    assert {"smart", "cheap", "local", "auto", "explain", "good", "bad", "train", "eval"} <= set(
        offers
    )
    assert registry.complete(["route", "explain", "--router"], "l", talk) == ["length", "learned"]
