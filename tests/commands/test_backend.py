"""``backend``: shown, compared and switched on a real memory, in a session and in a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aiki_kernel.commands.command import Context, Result
from aiki_kernel.commands.registry import complete, run
from aiki_kernel.compute import native as libraries
from aiki_kernel.compute.native import native
from aiki_kernel.config import load
from aiki_kernel.errors import UsageError
from aiki_kernel.memory.backends import NAMES
from aiki_kernel.memory.records import Draft, Scope
from aiki_kernel.mind.conversation import Conversation

Call = Callable[..., Result]
FAST = "mojo" if native().kernels else "numpy"


@pytest.fixture
def context(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setenv("AIKI_DAEMON", "off")
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    made = Context("magic", conversation=Conversation())
    yield made
    made.close()


@pytest.fixture
def call(context: Context) -> Call:
    return lambda *words: run(["backend", *words], context)


@pytest.fixture
def remembered(context: Context) -> Context:
    """Two hundred memories."""
    drafts = [
        Draft(f"memory {n} about topic {n % 9}", Scope(context.settings.memory.user_id))
        for n in range(200)
    ]
    admin = context.aiki.connection.admin
    context.aiki.run(admin.add_many(drafts))
    return context


def test_an_empty_memory_is_shown_and_compares_nothing(call: Call) -> None:
    shown = call()
    assert {row["name"] for row in shown.data["backends"]} == set(NAMES) - {"auto"}
    assert "0 memories" in shown.text
    assert "nothing to compare" in call("--compare", "anything at all").text


def test_the_table_says_what_there_is_and_what_was_chosen(remembered: Context, call: Call) -> None:
    shown = call()
    assert shown.data["chosen"]["name"] == FAST
    assert shown.data["chosen_by"] == "settings"
    assert f"{FAST} searches 200 memories: auto chose it" in shown.text
    remembered.aiki.memory.search("topic 3")
    rows = {row["name"]: row for row in call().data["backends"]}
    assert rows[FAST]["last_ms"] > 0
    assert json.loads(call("--json").text)["wanted"] == "auto"


def test_a_session_switches_for_itself(remembered: Context, call: Call) -> None:
    text = call("numpy").text
    assert text.startswith("numpy searches from now on in this session: numpy was chosen.")
    assert "--save" in text
    assert load().compute.backend == "auto"
    found = run(["memory", "search", "topic", "3"], remembered)
    assert found.data["backend"]["name"] == "numpy"
    other = Context("magic", make_aiki=lambda: remembered.aiki, conversation=Conversation())
    assert run(["memory", "search", "topic", "3"], other).data["backend"]["name"] == FAST
    assert call("qdrant").data["chosen"]["name"] == "qdrant"
    assert call().data["chosen_by"] == "session"


def test_a_terminal_writes_its_choice_down(aiki_home: Path, remembered: Context) -> None:
    terminal = Context("cli", make_aiki=lambda: remembered.aiki)
    result = run(["backend", "numpy"], terminal)
    assert str(aiki_home / "aiki.toml") in result.text
    assert load().compute.backend == "numpy"


def test_save_counts_here_and_for_new_sessions(
    remembered: Context, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "in this session and in new sessions" in call("qdrant", "--save").text
    assert load().compute.backend == "qdrant"
    monkeypatch.setenv("AIKI_COMPUTE__BACKEND", "numpy")
    assert "AIKI_COMPUTE__BACKEND is set" in call("qdrant", "--save").text


def test_all_are_compared_and_agree(remembered: Context, call: Call) -> None:
    result = call("--compare", "what about topic 3")
    timed = [row for row in result.data["rows"] if "ms" in row]
    assert {"numpy", "qdrant"} <= {row["name"] for row in timed}
    assert all(row["same"] == row["of"] == 100 for row in timed)
    assert "all found the same" in result.text
    assert "x numpy" in result.text


def test_html_keeps_to_the_colours_of_the_page(remembered: Context, call: Call) -> None:
    class Styles(HTMLParser):
        found = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += "".join(f"{value};" for name, value in attrs if name == "style")

    for words in ((), ("--compare", "topic <b>3</b>")):
        html = call(*words).html
        assert html is not None
        assert "<b>" not in html
        styles = Styles()
        styles.feed(html)
        assert ";color:" not in f";{styles.found}"
        assert "#fff" not in styles.found
        assert "#000" not in styles.found


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mojoo"], "did you mean mojo?"),
        (["gpu"], "only auto, numpy, mojo, mojo-server, qdrant"),
        (["--compare", "x", "numpy"], "leave out the name"),
        (["--save"], "wants the name"),
        (["--compair=x"], "did you mean --compare?"),
    ],
)
def test_a_mistake_is_one_line(context: Context, words: list[str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(["backend", *words], context)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tab_knows_the_names(context: Context) -> None:
    assert complete(["backend"], "", context)[: len(NAMES)] == list(NAMES)
    assert complete(["backend"], "mojo", context) == ["mojo", "mojo-server"]
    assert "--compare" in complete(["backend"], "--", context)


def test_help_says_where_the_choice_counts(call: Call) -> None:
    assert "counts for this session" in " ".join(call("-h").text.split())


def test_what_is_not_here_cannot_be_chosen(
    remembered: Context, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_again() -> None:
        for remembered_ in (libraries.native, libraries.load_best, libraries.runnable):
            remembered_.cache_clear()

    monkeypatch.setattr(libraries, "FOLDER", tmp_path)  # as an install without Mojo has it
    look_again()
    try:
        with pytest.raises(UsageError, match="not to be had here") as caught:
            call("mojo")
        assert "numpy, qdrant" in str(caught.value)
        assert "not here: installed without compiled kernels" in " ".join(call().text.split())
    finally:
        monkeypatch.undo()
        look_again()
