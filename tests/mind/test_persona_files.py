"""Persona files: read strictly, found in three places, told in two languages."""

from __future__ import annotations

import importlib
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki_kernel.errors import AikiError, ConfigError, UsageError
from aiki_kernel.mind import roster as rosters
from aiki_kernel.mind.language import language_of
from aiki_kernel.mind.persona import Persona, spoken
from aiki_kernel.mind.persona_file import read
from aiki_kernel.mind.roster import Broken, Roster
from aiki_kernel.mind.traits import TRAITS, sentences

FILE = """
name = "kari"
title = "Kari"
system = "You are Kari."
"""
BUILT_IN = ("default", "analyst", "curator", "interpreter", "trisha")


def made(home: Path, name: str, text: str) -> Path:
    path = home / "personas" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_persona_speaks_both_languages(aiki_home: Path, name: str) -> None:
    one = Roster(aiki_home).get(name)
    assert set(one.voices) == {"en", "no"}
    assert language_of(one.system("en")) == "en"
    assert language_of(one.system("no")) == "no"
    assert one.title("no")
    assert one.rights.read
    assert one.privileged == (name == "curator")


def test_what_a_file_does_not_say_is_as_the_settings_say_or_denied(aiki_home: Path) -> None:
    made(aiki_home, "kari", FILE)
    one = Roster(aiki_home).get("kari")
    assert (one.temperature, one.context_tokens, bool(one.models)) == (None, None, False)
    grant = one.grant()
    assert grant.reads_nothing
    assert not grant.may_write("kari")
    assert not grant.may("list")
    assert one.system("no") == "You are Kari.", "its own language where it has no other"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("colour = 1", "there is no key 'colour'"),
        ("temprature = 0.1", "there is no key 'temprature': did you mean temperature?"),
        ("[traits]\nformalty = 1", "'traits.formalty': did you mean formality?"),
        ("[traits]\nfocus = 1.5", "'traits.focus' is wrong"),
        ("[traits]\nfocus = true", "'traits.focus' is wrong"),
        ("temperature = 'warm'", "'temperature' is wrong"),
        ("context_tokens = 10", "'context_tokens' is wrong"),
        ("tools = ['memory.serch']", "tools: there is no tool 'memory.serch'"),
        ("tools = ['memory.fogret']", "did you mean memory.forget"),
        ("models = ['smrt']", "did you mean smart"),
        ("min_trust = 'nobody'", "'min_trust' is wrong"),
        ("[memory]\nread = ['Ola Nordmann']", "memory.read: 'Ola Nordmann' is no name"),
        ("[memory]\nread = 'all'", "'memory.read' is wrong"),
        ("[memory]\nwrite = ['all']", "only a persona with privileged = true"),
        ("[memory]\nwrite = ['own', 'analyst']", "memory.write names analyst"),
        ("privileged = true\nmin_trust = 'import'", "needs min_trust model or user"),
        ("[en]\ntitle = 'x'\nsystem = 'y'", "[en] says again"),
        ("[no]\ntitle = 'x'", "'no.system' is missing: add it."),
        ("title = ", "is not valid TOML"),
        ("language = 'de'", "'language' is wrong"),
    ],
)
def test_a_fault_is_one_line_with_file_key_and_next_step(
    aiki_home: Path, more: str, told: str
) -> None:
    path = made(aiki_home, "kari", FILE + more)
    with pytest.raises(ConfigError) as error:
        Roster(aiki_home).get("kari")
    line = str(error.value)
    assert told in line
    assert line.startswith(str(path))
    assert "\n" not in line or "TOML" in line
    found = {one.name: one for one in Roster(aiki_home).all()}
    assert isinstance(found["kari"], Broken)
    assert all(isinstance(found[name], Persona) for name in BUILT_IN), "the others are not hidden"


@pytest.mark.parametrize("name", ["list", "own", "all", "Kari", "a b", "../kari", "", "x" * 40])
def test_a_name_that_cannot_be(aiki_home: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        read(FILE.replace('"kari"', f'"{name}"'), name, "x.toml")
    with pytest.raises(UsageError, match="There is no persona"):
        Roster(aiki_home).get(name)


def test_the_file_and_the_name_are_the_same(aiki_home: Path) -> None:
    made(aiki_home, "ola", FILE)
    with pytest.raises(ConfigError, match="name is 'kari' but the file is called 'ola'"):
        Roster(aiki_home).get("ola")


def test_yours_wins_and_a_broken_one_does_not_give_way_to_the_built_in(aiki_home: Path) -> None:
    personas = Roster(aiki_home)
    assert personas.get("trisha").grant().may_read("default")
    path = made(aiki_home, "trisha", FILE.replace("kari", "trisha"))
    assert personas.get("trisha").grant().reads_nothing
    path.write_text("name = 3", "utf-8")
    with pytest.raises(ConfigError):
        personas.get("trisha")
    assert not personas.grant("trisha").known, "a slip of the pen must not widen rights"
    path.unlink()
    assert personas.get("trisha").source == "built-in trisha.toml"


def test_a_change_counts_from_the_next_message_on(aiki_home: Path) -> None:
    personas = Roster(aiki_home)
    path = made(aiki_home, "kari", FILE)
    first = personas.get("kari")
    assert personas.get("kari") is first, "not read again"
    path.write_text(FILE.replace("You are Kari.", "You are she."), "utf-8")
    os.utime(path, ns=(1, 1))
    assert personas.get("kari").system("en") == "You are she."


def test_packages_add_personas_and_never_replace_one(
    aiki_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site"
    (package / "more_personas-1.0.dist-info").mkdir(parents=True)
    (package / "more_personas.py").write_text(
        "from pathlib import Path\n"
        "KARI = Path(__file__).with_name('kari.toml')\n"
        "def ola(): return str(KARI.with_name('ola.toml'))\n"
        "NUMBER = 3\n"
    )
    (package / "kari.toml").write_text(FILE)
    (package / "ola.toml").write_text(FILE.replace("kari", "ola"))
    info = package / "more_personas-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: more-personas\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[aiki_kernel.personas]\nkari = more_personas:KARI\nola = more_personas:ola\n"
        "trisha = more_personas:KARI\nodd = more_personas:NUMBER\ngone = nowhere:X\n"
    )
    monkeypatch.syspath_prepend(str(package))
    importlib.invalidate_caches()
    rosters._entry_points.cache_clear()
    try:
        personas = Roster(aiki_home)
        assert personas.get("kari").title() == "Kari"
        assert personas.get("ola").name == "ola"
        assert personas.get("trisha").source == "built-in trisha.toml"
        for name, why in (("odd", "leads to int"), ("gone", "cannot be loaded")):
            with pytest.raises(ConfigError, match=why):
                personas.get(name)
        assert {"kari", "ola", "odd", "gone", *BUILT_IN} == set(personas.names())
        assert isinstance({p.name: p for p in personas.all()}["gone"], Broken)
    finally:
        rosters._entry_points.cache_clear()


@pytest.mark.parametrize(
    ("text", "persona", "rest", "note"),
    [
        ("@trisha hva er mva?", "trisha", "hva er mva?", ""),
        ("  @Trisha: sum", "trisha", "sum", ""),
        ("@analyst,\n\tindented\n", "analyst", "\tindented\n", ""),
        ("@trisha", "trisha", "", ""),
        ("@trsha what?", "", "@trsha what?", "did you mean @trisha?"),
        ("@analist why", "", "@analist why", "did you mean @analyst?"),
        ("@trisha@example.com wrote", "", "@trisha@example.com wrote", ""),
        ("@trisha.berg wrote", "", "@trisha.berg wrote", ""),
        ("@property\ndef f(self): ...", "", "@property\ndef f(self): ...", ""),
        ("@someone hello", "", "@someone hello", ""),
        ("mail trisha@example.com", "", "mail trisha@example.com", ""),
        ("@@trisha is her handle", "", "@trisha is her handle", ""),
        ("@@someone", "", "@@someone", ""),
        ("tell @trisha this", "", "tell @trisha this", ""),
        ("@../../etc/passwd x", "", "@../../etc/passwd x", ""),
        ("", "", "", ""),
    ],
)
def test_only_a_personas_name_at_the_start_addresses_one(
    aiki_home: Path, text: str, persona: str, rest: str, note: str
) -> None:
    found = Roster(aiki_home).addressed(text)
    assert (found.persona, found.text) == (persona, rest)
    assert note in found.note
    assert bool(found.note) == bool(note)


@given(st.text(max_size=60))
def test_no_text_is_swallowed(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    found = Roster(Path("/nowhere")).addressed(text)
    if not found.persona:
        assert found.text == text or text.lstrip().startswith("@@")


def test_whoever_is_addressed_must_be_told_something(aiki_home: Path) -> None:
    with pytest.raises(UsageError, match="There is no message for trisha"):
        Roster(aiki_home).addressed("@trisha \n").checked()


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What did we decide about the budget?", "en"),
        ("Hva bestemte vi om budsjettet?", "no"),
        ("Kva skal me gjere, og kven gjer det?", "no"),
        ("Rød bil", "no"),
        ("x = [1, 2]", None),
        ("OK", None),
        ("", None),
    ],
)
def test_the_language_of_a_message(text: str, language: str | None) -> None:
    assert language_of(text) == language


def test_the_language_follows_setting_then_message_then_what_was_said_before() -> None:
    assert spoken("no", ["What is this?"]) == "no"
    assert spoken("auto", ["OK", "Hva er det?", "What is it?"]) == "no"
    assert spoken("auto", ["OK"]) == "en"


def test_traits_become_sentences_by_bands() -> None:
    bands = [0.0, 0.2, 0.21, 0.39, 0.4, 0.6, 0.61, 0.79, 0.8, 1.0]
    for language in ("en", "no"):
        for trait in TRAITS:
            told = [sentences({trait: value}, language) for value in bands]
            assert told[0] == told[1]
            assert told[2] == told[3]
            assert told[4] == told[5] == ()
            assert told[6] == told[7]
            assert told[8] == told[9]
            assert len({*told}) == 5
    order = sentences(dict.fromkeys(reversed(TRAITS), 1.0), "en")
    assert order == tuple(sentences({trait: 1.0}, "en")[0] for trait in TRAITS)


@given(st.text(max_size=200))
def test_no_file_makes_more_than_one_line_of_trouble(text: str) -> None:
    try:
        tomllib.loads(text)
        valid = True
    except tomllib.TOMLDecodeError:
        valid = False
    with pytest.raises(AikiError) as error:
        read(text, "kari", "kari.toml")
    assert str(error.value).startswith("kari.toml")
    assert valid or "not valid TOML" in str(error.value)
