"""``aiki persona`` and ``aiki chat --persona`` in a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fault_server import FaultServer

from aiki_kernel.cli import call
from aiki_kernel.commands import registry
from aiki_kernel.commands.chat import completions
from aiki_kernel.commands.command import Context
from aiki_kernel.config import load
from aiki_kernel.errors import AikiError, ConfigError, UsageError


def run(line: str) -> registry.Result:
    return registry.run(line.split(), Context("cli"))


def test_outside_a_session_the_choice_is_written_down(aiki_home: Path) -> None:
    assert "in new sessions" in run("persona trisha").text
    assert load().persona == "trisha"
    assert run("persona list --json").data["current"] == "trisha"
    with pytest.raises(UsageError, match="did you mean trisha"):
        run("persona trsha")
    assert load().persona == "trisha"


def test_a_copy_is_a_file_of_your_own(aiki_home: Path) -> None:
    made = run("persona new regnskap --from trisha").data
    text = Path(made["file"]).read_text("utf-8")
    assert 'name = "regnskap"' in text
    assert run("persona show regnskap").data["read"] == ["own", "shared"]
    for line, why in (
        ("persona new regnskap", "is there already"),
        ("persona new trisha --from curator", "is a persona already"),
        ("persona new Ola", "no name"),
        ("persona new list", "means something else"),
        ("persona new ola --from nobody", "There is no persona 'nobody'"),
    ):
        with pytest.raises(AikiError, match=why):
            run(line)
    assert [path.name for path in (aiki_home / "personas").iterdir()] == ["regnskap.toml"]
    run("persona new trisha --from trisha")
    assert run("persona show trisha").data["source"].endswith("personas/trisha.toml")


def test_a_broken_file_is_listed_with_its_line_and_hides_nobody(aiki_home: Path) -> None:
    (aiki_home / "personas").mkdir()
    (aiki_home / "personas" / "kari.toml").write_text("nme = 'kari'", "utf-8")
    data = {one["name"]: one for one in run("persona list").data["personas"]}
    assert "kari.toml" in data["kari"]["problem"]
    assert data["trisha"]["voices"]["no"]["title"] == "Trisha fra regnskap"
    with pytest.raises(ConfigError):
        run("persona show kari")


def test_show_says_what_each_may(aiki_home: Path) -> None:
    shown = run("persona show curator")
    assert "user (privileged)" in shown.text
    assert "memory.forget" in shown.text
    assert "You are the Memory Curator" in shown.text
    assert "new NAME" in run("persona -h").text


def test_tab_in_the_conversation(aiki_home: Path) -> None:
    context = Context("magic")
    assert completions(context, "@tr") == (["@trisha"], "@tr")
    assert completions(context, "hello @tr") == ([], "")
    assert "trisha" in completions(context, "/persona ")[0]


def test_chat_answers_as_one(
    aiki_home: Path,
    fault_server: FaultServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in fault_server.environment("ok", "test").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIKI_DAEMON", "off")
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")

    def system() -> str:
        return str(fault_server.requests[-1].body["messages"][0]["content"])

    assert call(["chat", "--json", "--persona", "analyst", "why", "is", "it", "so?"]) == 0
    assert json.loads(capsys.readouterr().out)["persona"] == "analyst"
    assert system().startswith("You are the Technical Analyst.")
    assert call(["chat", "@trisha", "hva", "er", "mva?"]) == 0
    assert system().startswith("Du er Trisha fra regnskap.")
    assert "@trisha" in capsys.readouterr().err, "the status line says who"
    assert call(["chat", "@trsha", "hello"]) == 0
    assert "did you mean @trisha?" in capsys.readouterr().err
    assert call(["chat", "-p", "nobody", "hello"]) == 2
