"""``memory ask``: understood, sifted, answered by a model over HTTP, and its citations checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_server import FaultServer, Scenario, failing

from aiki_kernel.commands.command import Context, Face, Result
from aiki_kernel.commands.registry import complete, run
from aiki_kernel.errors import UsageError
from aiki_kernel.mind.citation import check

Call = Callable[..., Result]


@pytest.fixture
def context(
    aiki_home: Path, monkeypatch: pytest.MonkeyPatch, fault_server: FaultServer
) -> Iterator[Context]:
    monkeypatch.setenv("AIKI_DAEMON", "off")
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    for name, value in fault_server.environment().items():
        monkeypatch.setenv(name, value)
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
    """A decision and a message about the budget."""
    made = [
        call("add", "We decided that the budget is 300 kroner", "--kind", "decision"),
        call("add", "Ola thinks that the budget is too small"),
    ]
    return [result.data["id"] for result in made]


IDS = ["95331a49-bc63-494e-b5e1-c4199fff7569", "0e331a49-bc63-494e-b5e1-c4199fff7569"]


@pytest.mark.parametrize(
    ("answer", "text", "cited", "removed"),
    [
        ("It is 300 [1].", "It is 300 [95331a49].", IDS[:1], ()),
        ("A [1, 2] and B [2].", "A [95331a49][0e331a49] and B [0e331a49].", IDS, ()),
        ("It is [7] so [95331a49].", "It is [?] so [95331a49].", IDS[:1], ("7",)),
        (f"Whole [{IDS[1]}].", "Whole [0e331a49].", IDS[1:], ()),
        ("Made up [deadbeef].", "Made up [?].", [], ("deadbeef",)),
        ("[memory 2] [Minne 1]", "[0e331a49] [95331a49]", [IDS[1], IDS[0]], ()),
        ("a [link](http://x) and [x]", "a [link](http://x) and [x]", [], ()),
    ],
)
def test_citations(answer: str, text: str, cited: list[str], removed: tuple[str, ...]) -> None:
    made = check(answer, IDS)
    assert (made.text, list(made.ids), made.removed) == (text, cited, removed)
    assert bool(made.notes) == (bool(removed) or not cited)


def test_an_answer_cites_and_what_it_made_up_is_removed_visibly(
    call: Call, ids: list[str], fault_server: FaultServer, context: Context
) -> None:
    fault_server.script(Scenario(text="The budget is 300 kroner [1]. It is final [9]."))
    result = call("ask", "what", "did", "we", "decide", "about", "the", "budget", "today?")
    answer = result.data["answer"]
    assert answer["text"] == f"The budget is 300 kroner [{ids[0][:8]}]. It is final [?]."
    assert (answer["cited"], answer["removed"]) == ([ids[0]], ["9"])
    assert "1 citation was removed, which no memory has: [9]." in result.text
    asked = fault_server.requests[0].body["messages"][1]["content"]
    assert "300 kroner" in asked
    assert "Ola" not in asked  # the filter kept it out
    assert [part["name"] for part in result.data["asked"]["parts"]] == ["time", "kind"]
    assert "said by" not in result.text
    rows = context.aiki.ledger.rows()
    assert [row.stage for row in rows] == ["ask"]
    assert "<blockquote>" in str(result.html)
    json.dumps(result.data)


def test_without_a_model_there_is_the_list_itself(
    call: Call, ids: list[str], fault_server: FaultServer
) -> None:
    quiet = call("ask", "the budget", "--no-answer")
    assert {hit["id"] for hit in quiet.data["hits"]} == set(ids)
    assert quiet.data["answer"] is None
    assert not fault_server.requests
    fault_server.script(failing(401))
    broken = call("ask", "the budget")
    assert "No answer was written, so here are the memories." in broken.text
    assert len(broken.data["hits"]) == 2


def test_a_model_reads_what_the_rules_could_not(
    call: Call, ids: list[str], fault_server: FaultServer
) -> None:
    read = {"since": "2026-01-01", "until": "", "person": ""}
    fault_server.script(Scenario(text=json.dumps(read)), Scenario(text="300 [1]."))
    result = call("ask", "what about the budget since the new year began")
    part = result.data["asked"]["parts"][0]
    assert (part["name"], part["by"]) == ("time", "model")
    assert part["since"][:10] in ("2025-12-31", "2026-01-01")  # midnight of the machine's zone
    schema = fault_server.requests[0].body["response_format"]["json_schema"]["schema"]
    assert schema["additionalProperties"] is False
    assert result.data["answer"]["cited"]


@pytest.mark.parametrize("text", ["no json", '{"since": "2999-01-01", "until": "", "person": ""}'])
def test_what_a_model_misreads_costs_nothing_but_a_note(
    call: Call, ids: list[str], fault_server: FaultServer, text: str
) -> None:
    fault_server.script(Scenario(text=text), Scenario(text="300 [1]."))
    result = call("ask", "what about the budget before the party")
    assert len(result.data["hits"]) == 2
    assert result.data["notes"]


def test_nothing_found_says_which_filter_it_was(call: Call, ids: list[str]) -> None:
    result = call("ask", "what did we decide in 2020", face="magic")
    assert "this filter removed all 2" in result.text
    assert "--without time" in str(result.html)
    assert result.data["answer"] is None
    relaxed = call("ask", "what did we decide in 2020", "--without", "time", "--no-answer")
    assert [hit["id"] for hit in relaxed.data["hits"]] == ids[:1]


def test_options_say_more_than_the_question(call: Call, ids: list[str]) -> None:
    words = ["ask", "the budget last year", "--since", "i går", "--kind", "decisions"]
    result = call(*words, "--no-answer")
    assert [hit["id"] for hit in result.data["hits"]] == ids[:1]
    assert {part["by"] for part in result.data["asked"]["parts"]} == {"option"}
    with pytest.raises(UsageError, match="no time that is understood"):
        call("ask", "x", "--since", "blue")
    with pytest.raises(UsageError, match="later"):
        call("ask", "x", "--since", "today", "--until", "yesterday")


def test_tab_offers_what_this_memory_has(call: Call, ids: list[str], context: Context) -> None:
    assert "decision" in complete(["memory", "ask", "--kind"], "", context)
    assert complete(["memory", "ask", "--without"], "ti", context) == ["time"]
    assert "ask" in complete(["memory"], "a", context)
