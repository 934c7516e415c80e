"""Words to numbers and texts to vectors, and what both are worth on a small probe."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge
from hypothesis import given
from hypothesis import strategies as st
from memory_parts import DATA

from aiki_kernel.config import load
from aiki_kernel.errors import ConfigError, UsageError
from aiki_kernel.memory.bench import OURS, bench_recall
from aiki_kernel.memory.embedders import embedder
from aiki_kernel.memory.lexical import Lexicon, date_words, word_id
from aiki_kernel.memory.recall import fuse, mem0_order, reciprocal_ranks


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyzæøå", min_size=1, max_size=20))
def test_words_have_the_numbers_that_the_engine_gives_them(word: str) -> None:
    plain = qdrant_edge.Bm25(
        qdrant_edge.Bm25Config(
            stopwords=qdrant_edge.StopwordsSet(languages=set(), custom=set()),
            stemmer=qdrant_edge.DisabledStemmer(),
        )
    )
    assert plain.embed_query(word).indices == [word_id(word)]


def test_english_words_meet_the_vectors_of_mem0() -> None:
    theirs = set(qdrant_edge.Bm25().embed_document("the dogs were running quickly").indices)
    assert theirs == set(Lexicon().document("the dogs were running quickly").indices)


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("Hunden min er redd for fyrverkeri", "hva er hundene redde for?"),
        ("Vi var på hytta i går", "når var vi på hytter?"),
        ("I was running with Anna's dogs", "who runs with a dog?"),
        ("JWT-tokenet var utløpt", "jwt token"),
    ],
)
def test_forms_of_a_word_meet(stored: str, asked: str) -> None:
    lexicon = Lexicon()
    assert set(lexicon.document(stored).indices) & set(lexicon.query(asked).indices)


@pytest.mark.parametrize("text", ["", "?!", "the and of", "_" * 50, "x" * 5000, "\0\ud800"])
def test_texts_without_words_have_empty_vectors(text: str) -> None:
    assert not Lexicon().document(text)


def test_an_unknown_language_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="norwegian"):
        Lexicon(("klingon",))


def test_dates_are_words_in_both_languages() -> None:
    assert date_words("2023-05-08T13:56:00+00:00") == "8 may mai 2023"
    assert date_words("2023-04-01") == "1 april 2023"
    assert date_words("soon") == ""


def test_fusion_is_a_weighted_sum_of_standard_scores() -> None:
    lists = {"dense": [("a", 0.9), ("b", 0.5)], "bm25": [("c", 4.0), ("b", 2.0)]}
    found = fuse(lists, {"a": 0.9, "b": 0.5, "c": 0.1}, 10, {"dense": 1.0, "bm25": 2.0})
    # Three are too few to say what is usual: seventeen others are imagined, all of them far.
    dense = np.array([0.9, 0.5, 0.1] + 17 * [0.1])
    words = np.array([0.0, 2.0, 4.0] + 17 * [0.0])
    expected = (dense - dense.mean()) / dense.std() + 2 * (words - words.mean()) / words.std()
    got = {one.id: one.score for one in found}
    assert [got[name] for name in "abc"] == pytest.approx(list(expected[:3]))
    assert found[0].id == "c"
    assert {one.id: dict(one.ranks) for one in found} == {
        "a": {"dense": 1},
        "b": {"dense": 2, "bm25": 2},
        "c": {"bm25": 1},
    }
    assert fuse({"dense": []}, {}, 10, {}) == []


def test_the_rivals_formulas_do_what_their_sources_say() -> None:
    lists = {"x": [("a", 9.0), ("b", 1.0)], "y": [("b", 1.0)]}
    assert reciprocal_ranks(lists, 10)[0] == "b"
    assert mem0_order([("a", 0.5), ("b", 0.45), ("z", 0.05)], {"b": 9.0, "c": 99.0}, 3) == [
        "b",
        "a",
    ]


def test_the_default_embedder_tells_meanings_apart() -> None:
    model = embedder("multilingual-e5-small")
    documents = model.embed_documents(["Hunden min heter Balto", "Serveren bruker port 6333", ""])
    assert documents.shape == (3, 384)
    assert documents.dtype == np.float32
    assert np.linalg.norm(documents, axis=1) == pytest.approx([1, 1, 1], abs=1e-3)
    scores = documents[:2] @ model.embed_query("What is my pet called?")
    assert scores[0] > scores[1]
    assert model.embed_query("a\0b\ud800").shape == (384,)
    assert model.embed_query("same") is model.embed_query("same")
    assert model.embed_documents([]).shape == (0, 384)


def test_the_fast_embedder_reads_the_files_itself() -> None:
    if importlib.util.find_spec("wordllama") is None:
        pytest.skip("the extra `english` is not installed")
    model = embedder("wordllama")
    documents = model.embed_documents(["my dog likes fish", "the server is down", ""])
    assert documents.shape == (3, 256)
    scores = documents[:2] @ model.embed_query("what does my pet eat?")
    assert scores[0] > scores[1]
    assert np.isfinite(documents).all()


def test_an_embedder_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="did you mean 'wordllama'"):
        embedder("wordlama")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pip install"):
        embedder("wordllama")


@pytest.mark.skipif(not (DATA / "norwegian_probe_dev.json").is_file(), reason="data not here")
def test_norwegian_memories_are_found_in_norwegian_and_english(
    aiki_home: Path, tmp_path: Path
) -> None:
    file = DATA / "norwegian_probe_dev.json"
    table = bench_recall(file, settings=load(), cache=tmp_path)
    assert table.row(group="norwegian").recall5 >= 0.70
    assert table.row(group="english").recall5 >= 0.85
    assert json.loads(json.dumps(table.to_json()))["embedder"] == "multilingual-e5-small"
    assert OURS in table.to_text()


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not (DATA / "locomo_dev.json").is_file(), reason="data not here")
def test_evidence_of_long_conversations_is_found(aiki_home: Path, tmp_path: Path) -> None:
    table = bench_recall(DATA / "locomo_dev.json", settings=load(), cache=tmp_path)
    assert table.row().recall10 >= 0.72


def test_a_small_conversation_is_measured_with_every_method(
    aiki_home: Path, tmp_path: Path
) -> None:
    turns = [
        {"speaker": "Ada", "dia_id": "D1:1", "text": "Where did you go?"},
        {"speaker": "Bo", "dia_id": "D1:2", "text": "To Sirdal.", "blip_caption": "a ski slope"},
        {"speaker": "Ada", "dia_id": "D1:3", "text": "I stayed at home and read."},
    ]
    data = [
        {
            "sample_id": "c1",
            "conversation": {"session_1_date_time": "1:56 pm on 8 May, 2023", "session_1": turns},
            "qa": [
                {"question": "Who went skiing in Sirdal?", "evidence": ["D1:2"], "category": 1},
                {"question": "Left out", "evidence": ["D9:9"], "category": 1},
                {"question": "Left out", "evidence": ["D1:1"], "category": 5},
            ],
        }
    ]
    file = tmp_path / "small.json"
    file.write_text(json.dumps(data))
    table = bench_recall(file, settings=load())
    methods = {row.method for row in table.rows}
    assert len(methods) == 13
    assert {row.questions for row in table.rows} == {1}
    assert table.row().recall5 == 1


def test_a_file_of_another_kind_is_one_line(aiki_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"a": 1}')
    with pytest.raises(UsageError, match="neither"):
        bench_recall(file, settings=load())
