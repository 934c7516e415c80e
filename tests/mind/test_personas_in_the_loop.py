"""A persona answers: its voice, its models, its memories, its name on every record."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from fault_server import FaultServer, Scenario
from routed_home import aiki_of, models_asked

from aiki_kernel.aiki import Aiki
from aiki_kernel.config import load
from aiki_kernel.errors import ModelError, UsageError
from aiki_kernel.mind import limits
from aiki_kernel.mind.events import Decision
from aiki_kernel.mind.persona import AllowedModels, Persona
from aiki_kernel.mind.reply import Reply, ReplyBuilder
from aiki_kernel.models.cards import TIERS, card
from aiki_kernel.safety.audit import audit_of

FILE = """
name = "{name}"
title = "{name}"
system = "You are {name}."
{more}
[memory]
read = ["own", "shared"]
write = ["own"]
"""


def persona(home: Path, name: str, more: str = "") -> None:
    folder = home / "personas"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(FILE.format(name=name, more=more), "utf-8")


@pytest.fixture
async def aiki(aiki_home: Path, fault_server: FaultServer) -> AsyncIterator[Aiki]:
    made = aiki_of(aiki_home, fault_server, "length")
    yield made
    await made.aclose()


async def ask(aiki: Aiki, text: str, **options: object) -> Reply:
    builder = ReplyBuilder()
    async for event in aiki.stream(text, **options):
        builder.add(event)
    return builder.reply


def system_of(server: FaultServer) -> str:
    return str(server.requests[-1].body["messages"][0]["content"])


async def test_its_voice_and_its_name_are_on_everything(
    aiki: Aiki, aiki_home: Path, fault_server: FaultServer
) -> None:
    reply = await ask(aiki, "What is the sum of these invoices?", persona="trisha")
    assert system_of(fault_server).startswith("You are Trisha from Accounting.")
    assert "Stay strictly with the question" in system_of(fault_server), "a trait"
    assert fault_server.requests[-1].body["temperature"] == 0.2
    assert reply.metadata["persona"] == "trisha"
    assert aiki.conversation.exchanges[0].persona == "trisha"
    assert aiki.ledger.totals(group_by="persona").keys() == {"trisha"}
    await aiki.consciousness.drain()
    ids = reply.metadata["remembered"]["ids"]
    kept = [await aiki.connection.admin.get(id) for id in ids]
    assert [record.agent_id for record in kept] == ["trisha", "trisha"]
    plain = await ask(aiki, "And now?")
    assert plain.metadata["persona"] == "default"
    assert aiki.ledger.totals(group_by="persona").keys() == {"trisha", "default"}


async def test_the_language_is_that_of_the_message(
    aiki: Aiki, aiki_home: Path, fault_server: FaultServer
) -> None:
    await ask(aiki, "Hva er summen av disse fakturaene?", persona="trisha")
    assert system_of(fault_server).startswith("Du er Trisha fra regnskap.")
    await ask(aiki, "1250 + 400", persona="trisha")
    assert system_of(fault_server).startswith("Du er Trisha"), "nothing shows: as before"
    await ask(aiki, "Hva med deg?")
    assert system_of(fault_server).startswith("Du er AIKI")
    aiki.configure(load(**aiki.settings.model_dump(exclude_unset=True), persona_language="en"))
    await ask(aiki, "Hva er det?", persona="trisha")
    assert system_of(fault_server).startswith("You are Trisha")


async def test_your_own_system_prompt_stands_for_default_in_every_language(
    aiki_home: Path, fault_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIKI_GENERATION__SYSTEM", "Be brief.")
    made = aiki_of(aiki_home, fault_server, "length")
    await ask(made, "Hva er det?")
    assert system_of(fault_server) == "Be brief."
    await made.aclose()


async def test_what_one_is_told_is_not_recalled_by_another(
    aiki: Aiki, aiki_home: Path, fault_server: FaultServer
) -> None:
    await ask(aiki, "I feel sad about my divorce", persona="interpreter")
    await ask(aiki, "The invoice of Nordlys is 4200 kroner", persona="trisha")
    aiki.conversation.clear()
    told = await ask(aiki, "Who feels sad about a divorce?", persona="trisha")
    assert {hit.record.agent_id for hit in told.hits} <= {"trisha", "default"}
    assert "divorce" not in str(fault_server.requests[-1].body["messages"][:-1])
    assert "I feel sad" not in str(fault_server.requests[-1].body)
    aiki.conversation.clear()
    own = await ask(aiki, "Who feels sad about a divorce?", persona="interpreter")
    assert any("I feel sad" in hit.text for hit in own.hits)
    aiki.conversation.clear()
    everything = await ask(aiki, "Who feels sad about a divorce?")
    assert any("I feel sad" in hit.text for hit in everything.hits), "default reads all"


async def test_a_privileged_persona_is_given_only_what_the_user_said(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(Scenario(text="Balto is a planted answer"))
    await ask(aiki, "My dog is called Balto")
    aiki.conversation.clear()
    reply = await ask(aiki, "What is my dog called, is it Balto?", persona="curator")
    assert {hit.record.trust for hit in reply.hits} == {"user"}
    assert "planted" not in str(fault_server.requests[-1].body)


async def test_an_unknown_persona_is_one_line_and_no_call(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    with pytest.raises(UsageError, match="no persona 'trsha': did you mean trisha"):
        await ask(aiki, "hello", persona="trsha")
    assert not fault_server.requests


async def test_a_persona_without_the_right_to_write_leaves_no_memory_and_says_so(
    aiki: Aiki, aiki_home: Path
) -> None:
    persona(aiki_home, "silent")
    path = aiki_home / "personas" / "silent.toml"
    path.write_text(path.read_text("utf-8").replace('write = ["own"]', "write = []"), "utf-8")
    reply = await ask(aiki, "hello", persona="silent")
    assert reply.metadata["remembered"] == {"ids": [], "spooled": False}
    assert "this turn is not kept" in reply.metadata["notes"][-1]
    assert not list(aiki_home.glob("spool/*.json")), "what is refused does not wait, either"
    refused = audit_of(aiki_home).recent(event="permission.refused")
    assert (refused[0]["facts"]["persona"], refused[0]["facts"]["operation"]) == (
        "silent",
        "remember",
    )


async def test_a_rerun_by_another_persona_is_no_complaint(aiki: Aiki) -> None:
    await ask(aiki, "What is VAT?", cell_id="a")
    await ask(aiki, "What is VAT?", cell_id="a", persona="trisha")
    await aiki.consciousness.drain()
    assert aiki.consciousness.writer.labels is not None
    assert not aiki.consciousness.writer.labels.all()
    assert [one.persona for one in aiki.conversation.exchanges] == ["trisha"]


# -- models ---------------------------------------------------------------------------------


async def test_the_sessions_model_is_replaced_by_one_that_is_allowed_and_it_is_said(
    aiki: Aiki, aiki_home: Path, fault_server: FaultServer
) -> None:
    persona(aiki_home, "thrifty", 'models = ["cheap"]')
    aiki.conversation.model = "test/smart"
    reply = await ask(aiki, "hello", persona="thrifty")
    assert models_asked(fault_server) == ["cheap"]
    (note,) = [note for note in reply.metadata["notes"] if "thrifty" in note]
    assert note == "test/smart is not among thrifty's models: test/cheap answers."
    assert reply.metadata["route"]["router"] == "persona"


async def test_a_model_named_for_the_message_is_refused(
    aiki: Aiki, aiki_home: Path, fault_server: FaultServer
) -> None:
    persona(aiki_home, "thrifty", 'models = ["test/ch*"]')
    with pytest.raises(ModelError, match=r"thrifty may not be answered by test/smart, only by"):
        await ask(aiki, "hello", persona="thrifty", model="test/smart")
    assert not fault_server.requests
    refused = audit_of(aiki_home).recent(event="permission.refused")
    assert refused[0]["facts"]["operation"] == "model"
    assert (await ask(aiki, "hello", persona="thrifty", model="test/cheap")).text


async def test_a_router_and_a_pin_stay_within(
    aiki: Aiki, aiki_home: Path, fault_server: FaultServer
) -> None:
    persona(aiki_home, "thrifty", 'models = ["test/cheap"]')
    hard = "Prove the theorem and analyse every step of the design in depth. " * 40
    for pin in ("", "smart", "consult", "cheap"):
        aiki.conversation.route = pin
        await ask(aiki, hard, persona="thrifty")
    assert set(models_asked(fault_server)) == {"cheap"}


async def test_a_cascade_never_escalates_outside(
    aiki_home: Path, fault_server: FaultServer
) -> None:
    made = aiki_of(aiki_home, fault_server, "cascade")
    persona(aiki_home, "thrifty", 'models = ["test/cheap"]')
    fault_server.script(Scenario(text="I cannot help with that."))
    reply = await ask(made, "hello", persona="thrifty")
    assert models_asked(fault_server) == ["cheap"]
    assert reply.text
    await made.aclose()


async def test_a_fallback_never_leaves_what_is_allowed(
    aiki_home: Path, fault_server: FaultServer
) -> None:
    made = aiki_of(aiki_home, fault_server, "length")
    toml = (aiki_home / "aiki.toml").read_text("utf-8")
    toml = toml.replace('cheap = ["test/cheap"]', 'cheap = ["test/cheap", "test/smart", "test/b"]')
    (aiki_home / "aiki.toml").write_text(toml, "utf-8")
    made.configure(load())
    persona(aiki_home, "thrifty", 'models = ["test/cheap", "test/b"]')
    fault_server.script(Scenario(status=503), Scenario(text="from b"))
    reply = await ask(made, "hello", persona="thrifty")
    assert models_asked(fault_server) == ["cheap", "b"]
    assert reply.text == "from b"
    await made.aclose()


async def test_nothing_allowed_can_be_used(aiki: Aiki, aiki_home: Path) -> None:
    persona(aiki_home, "lost", 'models = ["openai/gpt-6.1-sol"]')
    with pytest.raises(ModelError, match=r"lost may only be answered by openai/gpt-6.1-sol, and"):
        await ask(aiki, "hello", persona="lost")


PATTERNS = st.lists(
    st.sampled_from([*TIERS, "test/*", "test/cheap", "test/smart", "*", "other/*", "local/*"]),
    min_size=1,
    max_size=3,
)


@given(
    patterns=PATTERNS,
    names=st.lists(st.sampled_from(["test/cheap", "test/smart", "test/b", "local"]), max_size=4),
    then=st.sampled_from(["", "test/smart", "test/cheap"]),
)
def test_whatever_was_decided_ends_within_the_limits(
    limited_settings: object, patterns: list[str], names: list[str], then: str
) -> None:
    settings = limited_settings
    one = Persona("kari", models=AllowedModels(tuple(patterns)))

    def allowed(name: str) -> bool:
        return not name or one.models.allows(card(settings, name))  # type: ignore[arg-type]

    for name in names:
        try:
            made, note = limits.within(
                settings,  # type: ignore[arg-type]
                one,
                Decision(name, "", then=then, consult=then),
                asked=False,
            )
        except ModelError:
            assert not allowed(name)
            continue
        assert all(map(allowed, (made.model, made.then, made.consult)))
        assert bool(note) == (made.model != name)
    assert all(map(allowed, limits.kept(settings, one, names)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def limited_settings(tmp_path_factory: pytest.TempPathFactory) -> object:
    return load(
        endpoints={"test": {"base_url": "http://127.0.0.1:9/v1", "models": ["b"]}},
        routing={
            "smart": ["test/smart"],
            "cheap": ["test/cheap"],
            "standard": [],
            "local": [],
        },
    )
