"""The registry alone: words in, parsed values, errors and completions out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context
from aiki_kernel.commands.parser import HelpWanted, parse
from aiki_kernel.errors import AikiError, ConfigError, UsageError

KEY = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0"
NAMES = [(noun, verb) for noun in registry.nouns() for verb in registry.commands(noun)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("search cats and dogs", ["search", "cats", "and", "dogs"]),
        ('search "cats and dogs" -k 3', ["search", "cats and dogs", "-k", "3"]),
        ("add I don't mind", ["add", "I", "don't", "mind"]),
        ('add 5" wide', ["add", '5"', "wide"]),
        ("list --kind='a b'", ["list", "--kind=a b"]),
        (r'add "she said \"no\""', ["add", 'she said "no"']),
        ('add "never closed', ["add", '"never', "closed"]),
        ("", []),
    ],
)
def test_a_line_of_a_magic_is_split_as_people_write(line: str, words: list[str]) -> None:
    assert registry.split(line) == words


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("memory search red cats", {"query": "red cats", "limit": 8, "user": ""}),
        ("memory search red -k 3", {"query": "red", "limit": 3, "user": ""}),
        ("memory search --limit=3 red cats", {"query": "red cats", "limit": 3, "user": ""}),
        (
            "memory forget a b --yes",
            {
                "ids": ("a", "b"),
                "query": "",
                "since": "",
                "until": "",
                "reason": "",
                "limit": 20,
                "user": "",
                "yes": True,
            },
        ),
        (
            "memory add x --meta a=1 --meta b=2",
            {"text": "x", "kind": "fact", "meta": ("a=1", "b=2"), "user": ""},
        ),
        ("memory export", {"file": None, "user": "", "yes": False}),
        ("memory export a.jsonl", {"file": Path("a.jsonl"), "user": "", "yes": False}),
        ("config show", {"key": ""}),
        ("model", {"name": ""}),
        ("model local", {"name": "local"}),
        (
            "cost --by model",
            {"by": "model", "since": "", "session": False, "calls": 0, "csv": False},
        ),
        (
            "chat what is this",
            {"text": "what is this", "model": "", "persona": "", "resume": ""},
        ),
        (
            "chat --resume -m local",
            {"text": "", "model": "local", "persona": "", "resume": "last"},
        ),
        (
            "lab --no-browser --port 8899 a.ipynb",
            {"words": ("--no-browser", "--port", "8899", "a.ipynb")},
        ),
    ],
)
def test_words_become_typed_values(words: str, values: dict[str, object]) -> None:
    command, rest = registry.find(words.split(), "cli")
    found, as_json = parse(command, rest, "cli")
    assert found == values
    assert not as_json


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("memroy search x", "did you mean memory?"),
        ("memory serach x", "did you mean search?"),
        ("memory search x --limti 3", "did you mean --limit?"),
        ("memory search", "QUERY"),
        ("memory search x --limit many", "invalid int value"),
        ("cost --by modle", "did you mean model?"),
        ("config path extra", "has no place for 'extra'"),
        ("completion tcsh", "did you mean zsh?"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_word(words: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.run(words.split(), Context("cli"))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_belongs_in_a_terminal_is_said_in_a_magic() -> None:
    for words in (["daemon", "stop"], ["lab"], ["config", "key", "X"]):
        with pytest.raises(UsageError, match="belongs in a terminal"):
            registry.run(words, Context("magic"))


@pytest.mark.parametrize(
    "words", [["config", "set", "model", KEY], ["model", KEY], ["memory", "add", KEY]]
)
def test_a_magic_refuses_a_key_and_does_not_repeat_it(words: list[str], aiki_home: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.run(words, Context("magic"))
    assert KEY not in str(caught.value)
    assert list(aiki_home.iterdir()) == []


@pytest.mark.parametrize(("noun", "verb"), NAMES)
def test_every_command_answers_help_in_its_faces(noun: str, verb: str) -> None:
    command = registry.commands(noun)[verb]
    assert command.summary, "a command's docstring is its help"
    for parameter in command.parameters:
        assert parameter.arg.help, f"{command.name}: {parameter.name} has no help"
    for face in command.faces:
        with pytest.raises(HelpWanted) as caught:
            parse(command, ["-h"], face)
        assert command.called(face) in str(caught.value)
        words = [noun, *([verb] if verb else []), "-h"]
        assert registry.run(words, Context(face)).text


@pytest.mark.parametrize("face", ["cli", "magic"])
def test_every_noun_answers_help(face: str) -> None:
    for noun in registry.nouns(face):  # type: ignore[arg-type]
        assert registry.run([noun, "-h"], Context(face)).status == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "prefix", "some"),
    [
        ([], "me", ["memory"]),
        (["memory"], "se", ["search"]),
        (["memory", "search"], "--l", ["--limit"]),
        (["config", "show"], "generation.te", ["generation.temperature"]),
        (["cost", "--by"], "mo", ["month", "model"]),
        (["model"], "lo", ["local", "local/smollm2-135m"]),
        (["model"], "openai/gpt-5-mi", ["openai/gpt-5-mini"]),
        (["model", "pull"], "smol", ["smollm2-135m"]),
        (["completion"], "", ["bash", "zsh", "fish"]),
        (["nothing"], "", []),
        (["memory", "show"], "", []),
    ],
)
def test_tab_offers_what_may_stand_there(
    words: list[str], prefix: str, some: list[str], aiki_home: Path
) -> None:
    offered = registry.complete(words, prefix, Context("cli"))
    assert set(some) <= set(offered)
    assert all(offer.startswith(prefix) for offer in offered)
    assert not (aiki_home / "memory").exists(), "Tab must not open or start anything"


def test_the_reference_has_every_command() -> None:
    text = registry.reference()
    for noun, verb in NAMES:
        assert f"aiki {noun} {verb}".rstrip() in text


def test_help_of_one_noun_imports_that_noun_alone() -> None:
    code = (
        "import sys, json\n"
        "from aiki_kernel.commands.registry import run\n"
        "from aiki_kernel.commands.command import Context\n"
        "run(['memory', '-h'], Context('magic'))\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    ours = {name for name in loaded if name.startswith("aiki_kernel.commands.")}
    assert "aiki_kernel.commands.memory" in ours
    assert not ours & {f"aiki_kernel.commands.{noun}" for noun in registry.nouns()} - {
        "aiki_kernel.commands.memory"
    }
    heavy = {"numpy", "pydantic", "openai", "rich", "httpx2", "starlette", "qdrant_edge", "IPython"}
    assert not loaded & heavy


def test_errors_of_completion_are_silent(aiki_home: Path) -> None:
    (aiki_home / "aiki.toml").write_text("not toml [", "utf-8")
    assert registry.complete(["config", "show"], "gen", Context("cli")) == []
    with pytest.raises(AikiError, match="not valid TOML"):
        registry.run(["config", "show"], Context("cli"))
