"""``memory forget``, ``forgotten`` and ``undo``: shown, asked, done, undone."""

from __future__ import annotations

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
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    made = Context("cli", report=lambda what, done, total: None)
    yield made
    made.close()


@pytest.fixture
def call(context: Context) -> Call:
    def run_it(*words: str, face: Face = "cli") -> Result:
        context.face = face
        return run(["memory", *words], context)

    return run_it


@pytest.fixture
def ids(call: Call) -> list[str]:
    texts = ("The budget is 300 kroner", "Kari likes blåbær", "Ola lives in Oslo")
    return [call("add", text).data["id"] for text in texts]


def test_a_period_is_shown_then_forgotten_and_undone(call: Call, ids: list[str]) -> None:
    shown = call("forget", "--since", "i dag", face="magic")
    assert "This would forget these 3 memories (time: since " in shown.text
    assert "say --yes" in shown.text
    assert set(shown.data["would_forget"]) == set(ids)
    assert "Kari likes blåbær" in shown.text
    done = call("forget", "--since", "today", "--reason", "spring cleaning", "--yes")
    assert (set(done.data["forgotten"]), done.data["count"]) == (set(ids), 3)
    assert "nothing to forget" in call("forget", "--since", "today", "-y").text
    rows = call("forgotten")
    assert "spring cleaning" in rows.text
    assert {row["reason"] for row in rows.data} == {"forgotten: spring cleaning"}
    assert "forgotten: spring cleaning" in call("history", ids[0]).data[-1]["reason"]
    assert set(call("undo").data["restored"]) == set(ids)
    assert {memory["id"] for memory in call("list").data["memories"]} == set(ids)
    assert call("forgotten").text == "Nothing was forgotten."


def test_a_query_forgets_what_it_is_about(call: Call, ids: list[str]) -> None:
    shown = call("forget", "--query", "what berries does Kari like", face="magic")
    assert shown.data["would_forget"] == [ids[1]]
    call("forget", "--query", "what berries does Kari like", "--yes")
    assert len(call("list").data["memories"]) == 2
    assert call("undo", ids[1][:8]).data["restored"] == [ids[1]]


def test_what_is_not_clear_is_refused(call: Call, ids: list[str]) -> None:
    with pytest.raises(UsageError, match="Say what to forget"):
        call("forget")
    with pytest.raises(UsageError, match="either ids"):
        call("forget", ids[0], "--since", "today")
    with pytest.raises(UsageError, match="Nobody is there to ask"):
        call("forget", "--since", "today")
    with pytest.raises(UsageError, match="--until"):
        call("forget", "--since", "today", "--until", "yesterday", "--yes")
    with pytest.raises(AikiError, match="can be brought back"):
        call("undo", ids[0])
    assert len(call("list").data["memories"]) == 3


def test_tab_offers_what_was_forgotten(call: Call, ids: list[str], context: Context) -> None:
    call("forget", ids[2], "--yes")
    assert complete(["memory", "undo"], "", context) == [ids[2]]
    assert ids[2] not in complete(["memory", "forget"], "", context)
