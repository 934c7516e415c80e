"""``memory``: every verb on a real store, opened once for each test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiki_kernel.commands.command import Context, Face, Result
from aiki_kernel.commands.registry import complete, run
from aiki_kernel.errors import AikiError, UsageError

Call = Callable[..., Result]


@pytest.fixture
def context(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setenv("AIKI_DAEMON", "off")
    made = Context("cli", report=lambda what, done, total: None)
    yield made
    made.close()


@pytest.fixture
def call(context: Context) -> Call:
    def run_it(*words: str, face: Face = "cli") -> Result:
        context.face = face
        return run(["memory", *words], context)

    return run_it


def test_a_memory_from_birth_to_death(call: Call) -> None:
    id = call("add", "Kari", "likes", "blåbær", "--meta", "source=talk").data["id"]
    call("add", "The budget is 300 kroner.", "--kind", "note")
    hits = call("search", "what berries does Kari like?").data["hits"]
    assert hits[0]["id"] == id
    assert [m["kind"] for m in call("list", "--kind", "note").data["memories"]] == ["note"]
    assert call("show", id[:8]).data["metadata"]["source"] == "talk"
    call("update", id[:8], "Kari likes tyttebær")
    assert "tyttebær" in call("show", id).text
    assert len(call("history", id).data) == 2
    call("forget", id[:8], "--yes")
    with pytest.raises(AikiError, match="No memory"):
        call("show", id)
    assert call("stats").data["memories"] == 1
    assert len(call("history", id).data) == 3


def test_forgetting_in_a_notebook_shows_first_what_it_would_do(call: Call) -> None:
    id = call("add", "a secret wish").data["id"]
    shown = call("forget", id, face="magic")
    assert "say --yes" in shown.text
    assert "a secret wish" in shown.text
    assert call("stats").data["memories"] == 1
    with pytest.raises(UsageError, match="--yes"):
        call("forget", id)


def test_export_imports_back_without_doubling(call: Call, tmp_path: Path) -> None:
    for text in ("one", "to", "tre"):
        call("add", text)
    file = tmp_path / "all.jsonl"
    assert call("export", str(file)).data["memories"] == 3
    with pytest.raises(UsageError, match="is there already"):
        call("export", str(file))
    assert [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert call("import", str(file)).data == {"added": 0, "skipped": 3, "failed": []}
    for memory in call("list").data["memories"]:
        call("forget", memory["id"], "--yes")
    with pytest.raises(UsageError, match="There is no"):
        call("import", str(tmp_path / "nothing"))


def test_a_snapshot_brings_everything_back(call: Call, tmp_path: Path) -> None:
    call("add", "one")
    written = call("snapshot", str(tmp_path / "kept")).data["snapshot"]
    call("add", "two")
    assert "would replace" in call("restore", written, face="magic").text
    assert call("restore", written, "--yes").data["memories"] == 1
    assert [m["data"] for m in call("list").data["memories"]] == ["one"]
    assert call("reembed").data["memories"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "abc"], "too short"),
        (["show", "abcdef"], "No memory begins with"),
        (["list", "--limit", "0"], "at least 1"),
        (["add", "x", "--meta", "novalue"], "key=value"),
        (["add", " "], "nothing to remember"),
    ],
)
def test_mistakes_are_one_line(call: Call, words: list[str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(*words)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_memory_holds_can_steer_neither_terminal_nor_notebook(call: Call) -> None:
    call("add", "\x1b]0;owned\x07<script>alert(1)</script> [red]x[/red]")
    for words in (["list"], ["search", "owned"]):
        result = call(*words)
        assert "\x1b" not in result.text
        assert "[red]x[/red]" in result.text
        assert "<script>" not in (result.html or "")


def test_tab_knows_the_ids_of_an_open_memory(call: Call, context: Context) -> None:
    id = call("add", "here").data["id"]
    assert complete(["memory", "show"], id[:3], context) == [id]
