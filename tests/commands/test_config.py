"""``config``: values, where they come from, and that a wrong one changes nothing."""

from __future__ import annotations

import io
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

from aiki_kernel.commands.command import Context, Result
from aiki_kernel.commands.registry import run
from aiki_kernel.config import api_key, load
from aiki_kernel.errors import ConfigError, UsageError

KEY = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0"


def call(*words: str) -> Result:
    return run(["config", *words], Context("cli"))


def shown(key: str) -> dict[str, Any]:
    return next(row for row in call("show").data["settings"] if row["key"] == key)


def test_show_names_the_source_of_each_value(
    aiki_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (aiki_home / "aiki.toml").write_text("[memory]\nrecall_k = 3\n", "utf-8")
    monkeypatch.setenv("AIKI_GENERATION__SEED", "7")
    assert shown("memory.recall_k") == {"key": "memory.recall_k", "value": 3, "source": "file"}
    assert shown("generation.seed")["source"] == "environment (AIKI_GENERATION__SEED)"
    assert shown("generation.top_p")["source"] == "default"


def test_keys_and_passwords_are_shown_only_as_set(
    aiki_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (aiki_home / "aiki.toml").write_text(
        '[endpoints.mine]\nbase_url = "http://me:secret@host/v1"\nheaders = {X-Auth = "hush"}\n',
        "utf-8",
    )
    result = call("show")
    everything = f"{result.data} {result.text} {result.html}"
    assert not [word for word in (KEY, "secret@", "hush") if word in everything]
    states = {row["variable"]: row["state"] for row in result.data["keys"]}
    assert states["OPENAI_API_KEY"] == "set in the environment"
    assert states["OPENROUTER_API_KEY"] == "not set"


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("generation.temperature", "0.2", 0.2),
        ("generation.max_tokens", "200", 200),
        ("generation.stop", '["END", "STOP"]', ["END", "STOP"]),
        ("memory.collection", "123", "123"),
        ("model", "openai/gpt-5-mini", "openai/gpt-5-mini"),
        ("daemon", "off", "off"),
        ("generation.system", "Svar på norsk, «kort».", "Svar på norsk, «kort»."),
        ("endpoints.mine.base_url", "http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1"),
    ],
)
def test_set_writes_the_value_in_its_own_type(
    aiki_home: Path, key: str, value: str, stored: object
) -> None:
    path = aiki_home / "aiki.toml"
    path.write_text("# mine\n[memory]\nrecall_k = 5  # few\n", "utf-8")
    call("set", key, value)
    text = path.read_text("utf-8")
    assert "# mine" in text
    assert "# few" in text
    found: Any = tomllib.loads(text)
    for part in key.split("."):
        found = found[part]
    assert found == stored
    load()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("generation.temperature", "hot", "generation.temperature: "),
        ("generation.temperature", "9", "less than or equal to 2"),
        ("generation.temprature", "1", "did you mean generation.temperature?"),
        ("memroy.url", "x", "did you mean memory.url?"),
        ("endpoints.mine.api_key_env", "MY_KEY", "base_url"),
        ("openai.api_key", "whatever", "aiki config key"),
        ("model", KEY, "aiki config key"),
        ("generation.system", f"use {KEY}", "aiki config key"),
    ],
)
def test_a_wrong_value_or_a_key_changes_nothing(
    aiki_home: Path, key: str, value: str, told: str
) -> None:
    path = aiki_home / "aiki.toml"
    path.write_text("[memory]\nrecall_k = 5\n", "utf-8")
    before = path.read_bytes()
    with pytest.raises(ConfigError) as caught:
        call("set", key, value)
    assert told in str(caught.value)
    assert KEY not in str(caught.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in aiki_home.iterdir()] == ["aiki.toml"]


def test_unset_brings_the_default_back(aiki_home: Path) -> None:
    call("set", "memory.recall_k", "3")
    call("unset", "memory.recall_k")
    assert shown("memory.recall_k")["source"] == "default"
    assert (aiki_home / "aiki.toml").read_text("utf-8").strip() == ""
    with pytest.raises(UsageError, match="is not set in"):
        call("unset", "memory.recall_k")


def test_set_says_when_the_environment_wins(
    aiki_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIKI_MODEL", "local")
    assert "no effect while AIKI_MODEL is set" in call("set", "model", "openai/gpt-5-mini").text


def test_a_key_is_kept_where_only_its_owner_reads_it(
    aiki_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEY}\n"))
    result = call("key", "OPENAI_API_KEY")
    path = aiki_home / "keys.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = api_key("OPENAI_API_KEY")
    assert kept is not None
    assert kept.get_secret_value() == KEY
    assert KEY not in f"{result}"
    call("key", "OPENAI_API_KEY", "--remove")
    assert api_key("OPENAI_API_KEY") is None


@pytest.mark.parametrize("name", [KEY, "two words", "a=b"])
def test_a_key_in_place_of_its_name_is_refused(aiki_home: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        call("key", name)
    assert KEY not in str(caught.value)
    assert list(aiki_home.iterdir()) == []


def test_a_linked_file_stays_a_link(aiki_home: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("", "utf-8")
    (aiki_home / "aiki.toml").symlink_to(real)
    call("set", "model", "local")
    assert (aiki_home / "aiki.toml").is_symlink()
    assert 'model = "local"' in real.read_text("utf-8")


def test_a_models_card_is_written_under_its_name_with_dots(aiki_home: Path) -> None:
    call("set", 'models.cards."openai/gpt-6.1-sol".tier', "cheap")
    call("set", "models.cards.openai/gpt-6.1-sol.window", "4000")  # as a shell hands it over
    assert tomllib.loads((aiki_home / "aiki.toml").read_text("utf-8")) == {
        "models": {"cards": {"openai/gpt-6.1-sol": {"tier": "cheap", "window": 4000}}}
    }
    row = shown('models.cards."openai/gpt-6.1-sol".tier')
    assert (row["value"], row["source"]) == ("cheap", "file")
    with pytest.raises(ConfigError, match="tier"):
        call("set", 'models.cards."openai/gpt-6.1-sol".tier', "best")
    call("unset", 'models.cards."openai/gpt-6.1-sol".tier')
    call("unset", 'models.cards."openai/gpt-6.1-sol".window')
    assert tomllib.loads((aiki_home / "aiki.toml").read_text("utf-8")) == {}
