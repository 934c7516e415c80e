from __future__ import annotations

from pathlib import Path

import pytest

from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context, Result
from aiki_kernel.errors import ModelError, UsageError
from aiki_kernel.mind.conversation import Conversation

TOML = """
[endpoints.fjord]
base_url = "http://127.0.0.1:9/v1"
models = ["stor"]
[models.cards."fjord/liten"]
tier = "cheap"
window = 4096
input_price = 0.1
output_price = 0.2
"""


@pytest.fixture
def home(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (aiki_home / "aiki.toml").write_text(TOML, "utf-8")
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-test")
    return aiki_home


def run(words: str, talk: Conversation | None = None) -> Result:
    context = Context("magic" if talk else "cli", conversation=talk, width=160)
    return registry.run(words.split(), context)


def listed(words: str) -> list[str]:
    return [row["name"] for row in run(f"model list {words}").data["models"]]


@pytest.mark.usefixtures("home")
def test_the_short_list_has_yours_the_tiers_and_this_machine() -> None:
    result = run("model list")
    names = [row["name"] for row in result.data["models"]]
    assert {"fjord/liten", "fjord/stor", "openai/gpt-6-luna", "local/smollm2-135m"} <= set(names)
    assert len(names) < 20
    rows = {row["name"]: row for row in result.data["models"]}
    assert rows["fjord/liten"]["window"] == 4096
    assert (rows["fjord/liten"]["usable"], rows["fjord/liten"]["state"]) == (True, "no key needed")
    assert rows["openai/gpt-6-luna"]["state"] == "OPENAI_API_KEY not set"
    assert rows["openrouter/openai/gpt-6-luna"]["usable"]
    assert rows["fjord/stor"]["input_usd_per_million"] is None
    assert rows["local/smollm2-135m"]["current"]
    assert "genai-prices" in result.text
    assert rows["openai/gpt-6-luna"]["price_date"] >= "2026"
    (line,) = (line for line in result.text.splitlines() if "fjord/stor" in line)
    assert line.split()[1:3] == ["?", "?"], "unknown, not nothing"
    assert "<table>" in (result.html or "")


@pytest.mark.usefixtures("home")
def test_the_list_is_filtered() -> None:
    assert listed("--endpoint fjord") == ["fjord/liten", "fjord/stor"]
    assert set(listed("--endpoint openai --tier smart")) >= {"openai/gpt-6.1-sol", "openai/gpt-4o"}
    assert listed("gpt 4.1 nano --endpoint openai") == ["openai/gpt-4.1-nano"]
    cheap = run("model list --tier cheap").data["models"]
    assert {row["tier"] for row in cheap} == {"cheap"}
    prices = [row["output_usd_per_million"] for row in cheap]
    assert max(prices) <= 2.5
    assert len(listed("--all")) > 900


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("model list lunna", "did you mean"),
        ("model list luna --tier smart", "No model of tier smart has 'luna'"),
        ("model list --endpoint fjor", "did you mean fjord?"),
        ("model list --tier best", "only smart, standard, cheap, local"),
    ],
)
@pytest.mark.usefixtures("home")
def test_nothing_found_is_one_line(words: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(words)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("home")
def test_auto_hands_over_to_the_router_and_back() -> None:
    talk = Conversation()
    talk.route = "smart"
    result = run("model auto", talk)
    assert (talk.model, talk.route) == ("auto", "")
    assert "The router (rules) chooses" in result.text
    assert run("model", talk).data == {"name": "auto", "chosen_by": "chosen in this session"}
    assert run("model list", talk).data["current"] == "auto"
    told = run("model fjord/liten", talk)
    assert talk.model == "fjord/liten"
    assert "$0.1 in, $0.2 out per million tokens" in told.text
    assert "cheap tier" in run("model", talk).text
    assert "4,096 tokens" in run("model", talk).text


def test_auto_is_written_where_there_is_no_session(home: Path) -> None:
    run("model auto")
    assert 'model = "auto"' in (home / "aiki.toml").read_text("utf-8")
    assert run("model").data["name"] == "auto"


@pytest.mark.usefixtures("home")
def test_a_model_without_a_key_is_taken_and_the_key_asked_for() -> None:
    talk = Conversation()
    assert "aiki config key OPENAI_API_KEY" in run("model openai/gpt-6-luna", talk).text
    with pytest.raises(ModelError, match="did you mean"):
        run("model opnai/gpt-6-luna", talk)
    assert talk.model == "openai/gpt-6-luna"


@pytest.mark.usefixtures("home")
def test_names_are_completed() -> None:
    context = Context("magic")
    assert "auto" in registry.complete(["model"], "a", context)
    assert registry.complete(["model"], "fjord/l", context) == ["fjord/liten"]
    assert registry.complete(["model"], "openai/gpt-6-", context)
    assert registry.complete(["model", "list", "--tier"], "s", context) == ["smart", "standard"]
    assert registry.complete(["model", "list", "--endpoint"], "f", context) == ["fjord"]
