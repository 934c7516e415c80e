"""What curation decides by rules: the gate, facts, repeats, and records whatever is put in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki_kernel.memory.curation_facts import Fact, contradicts, facts, only_facts
from aiki_kernel.memory.curation_gate import judge
from aiki_kernel.memory.curation_merge import Gist, alike, restates
from aiki_kernel.memory.curation_record import (
    SUMMARY_CHARS,
    Curated,
    Described,
    by_rules,
    enriched,
    schema,
)
from aiki_kernel.memory.curation_text import amounts, dates, language, names, sentences
from aiki_kernel.memory.curation_topics import CATEGORIES, emotion
from aiki_kernel.memory.lexical import Lexicon
from aiki_kernel.memory.payload import to_record
from aiki_kernel.memory.records import Draft, Scope

LEXICON = Lexicon()
SAID = "2026-05-06T10:00:00+00:00"
PROMPT = "You are AIKI, a helpful assistant inside a notebook. Answer briefly and in Norwegian."


def gist(text: str, role: str = "user", at: str = SAID) -> Gist:
    draft = Draft(text, Scope("kari"), kind="message", role=role, created_at=at)
    return Gist.of(to_record(draft, "none"), LEXICON)


@pytest.mark.parametrize(
    ("text", "role", "reason"),
    [
        ("Hi!", "user", "greeting"),
        ("Hei Kari, står det bra til?", "user", "greeting"),
        ("God morgen!", "user", "greeting"),
        ("Hello! How can I help you today?", "assistant", "stock phrase"),
        ("Bare hyggelig! Si fra hvis du trenger mer hjelp.", "assistant", "stock phrase"),
        ("Thanks a lot, Anna!", "user", "thanks"),
        ("Tusen takk for hjelpen!", "user", "thanks"),
        ("See you later!", "user", "farewell"),
        ("Ok, great.", "user", "acknowledgement"),
        ("Det høres bra ut.", "user", "acknowledgement"),
        (":-)", "user", "no words"),
        (PROMPT, "assistant", "system prompt restated"),
        ("My instructions are: " + PROMPT, "user", "system prompt restated"),
        ("[INFO] Kernel ready\n[INFO] Loading plugins: search", "user", "start-up text"),
        ("Økten 12ab startet. Lastet 4 minner og 2 verktøy.", "user", "start-up text"),
        ("You are a helpful assistant. Never use markdown.", "user", "start-up text"),
        (
            'What you remember, as data (1f):\n- user, 2026-01-02: "x"\n(end of 1f)',
            "user",
            "recalled notes restated",
        ),
    ],
)
def test_what_says_nothing_is_turned_away_with_its_reason(
    text: str, role: str, reason: str
) -> None:
    verdict = judge(text, role=role, prompts=[PROMPT])
    assert (verdict.keep, verdict.reason) == (False, reason)


@pytest.mark.parametrize(
    "text",
    [
        "I live in Bergen.",
        "Hei! Hunden min heter Balto.",
        "See you tomorrow!",
        "See you on Friday.",
        "It's Shia Labeouf!",
        "Thanks! 14 May works.",
        "Remember that I am allergic to nuts.",
        "Always answer in Norwegian.",
        "The server is connected to the NAS.",
        "Model: Volvo V70",
        "Loading the tools into the van took 2 hours.",
        "You are my assistant coach, right?",
        "Hvordan har Ingrid det?",
        "I agree with Anna.",
        "I am happy",
        "Jeg har det bra",
        "The kernel started crashing when I loaded numpy.",
        "What did we decide about the budget?",
        "Cool! What do you enjoy about them so much?",
        "Ja, men ikke på torsdag.",
        "Takk, Kari sender nøkkelen.",
    ],
)
def test_what_may_say_something_stays(text: str) -> None:
    assert judge(text, role="user", prompts=[PROMPT]).keep


def test_yes_is_an_answer_when_something_was_asked() -> None:
    assert judge("Yes!", role="user", previous="Are you allergic to nuts?").keep
    assert judge("Ja", role="user", previous="Skal vi møtes i Oslo?").keep
    assert not judge("Yes!", role="user", previous="I fixed the bug.").keep
    assert not judge("Great!", role="user", previous="Hi! How can I help you today?").keep


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I live in Bergen.", {"home": "bergen"}),
        ("Hi! I've just moved to Oslo last week.", {"home": "oslo"}),
        ("Jeg har nettopp flyttet til Oslo.", {"home": "oslo"}),
        ("Søsteren min bor i Tromsø", {"søster home": "tromsø"}),
        ("My sister lives in Trondheim.", {"sister home": "trondheim"}),
        ("Jeg jobber hos Telenor.", {"employer": "telenor"}),
        ("My phone number is 55 12 34 56", {"phone": "55 12 34 56"}),
        ("Bilen min er en Volvo.", {"car": "en volvo"}),
        ("Budsjettet er 300 kroner.", {"budget": "300 kroner"}),
        ("The budget has been raised to $4,000.", {"budget": "$4,000"}),
        ("I want to move to Paris.", {}),
        ("If I lived in Rome, I would cook.", {}),
        ("Do I live in Bergen?", {}),
        ("It is 5 o'clock.", {}),
        ("I live in fear of heights.", {}),
    ],
)
def test_facts_are_plain_statements_of_one_slot(text: str, found: dict[str, str]) -> None:
    assert {fact.slot: fact.value for fact in facts(text, SAID)} == found


def test_facts_contradict_only_within_a_slot_and_end_with_what_says_nothing_else() -> None:
    bergen, oslo = Fact("home", "bergen"), Fact("home", "oslo")
    assert contradicts(oslo, bergen)
    assert not contradicts(Fact("home", "bergen, norway"), bergen)
    assert not contradicts(Fact("employer", "oslo"), bergen)
    left = facts("I don't live in Bergen any more.", SAID)[0]
    assert contradicts(left, bergen)
    assert not contradicts(left, oslo)
    assert only_facts("Hi! I live in Bergen.", ["home"])
    assert not only_facts("I live in Bergen. My dog is called Balto.", ["home"])
    assert not only_facts(
        "I live in Bergen and my sister plays the piano in a band there.", ["home"]
    )


def test_a_named_past_day_is_when_a_fact_begins() -> None:
    assert facts("I moved to Oslo on 3 May 2026.", SAID)[0].since == "2026-05-03T00:00:00+00:00"
    assert facts("I moved to Oslo yesterday.", SAID)[0].since == "2026-05-05T00:00:00+00:00"
    assert facts("I live in Oslo.", SAID)[0].since == SAID


def test_dates_amounts_names_and_language() -> None:
    text = "Møtet med Kari Nordmann er 14. mai, og budsjettet er 4 500 kroner."
    assert dates(text, SAID) == ["2026-05-14"]
    assert amounts(text) == ["4 500 kroner"]
    assert names(text) == ["kari nordmann"]
    assert language(text) == "no"
    assert dates("On May 3rd we met; the next is 2026-06-01, not tomorrow.", SAID) == [
        "2026-06-01",
        "2026-05-03",
        "2026-05-07",
    ]
    assert dates("31 February", SAID) == []
    assert dates("today", "no date") == []
    assert amounts("It costs $12.50 or 300 NOK, and took 3 hours.") == [
        "$12.50",
        "300 nok",
        "3 hours",
    ]
    assert names("GitHub is down. Anna's key is with Bob at Equinor.") == [
        "bob",
        "equinor",
        "github",
        "anna",
    ]
    assert language("The boat is red.") == "en"
    assert language("4711") == ""
    assert sentences("Møtet er 10. mai kl. 12. Kom!") == ["Møtet er 10. mai kl. 12.", "Kom!"]


def test_feelings_are_read_and_denied() -> None:
    assert emotion("I am so happy!")["valence"] > 0.5
    assert emotion("Jeg er lei meg og engstelig.")["valence"] < -0.2
    assert emotion("I am not happy")["valence"] < 0
    assert emotion("The port is 6333.") == {"valence": 0.0, "arousal": 0.0}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The budget is 300.", "The budget is 300!", True),
        ("The budget is 300.", "The budget is 400.", False),
        (
            "I like reindeer stew with potatoes.",
            "As I said, I like reindeer stew with potatoes",
            True,
        ),
        ("I do not like reindeer stew.", "I like reindeer stew.", False),
        ("I don't like reindeer stew at all.", "i do not like reindeer stew at all", True),
        ("Anna plays chess in Oslo.", "Bob plays chess in Oslo.", False),
        ("Jeg løp 7 kilometer i Trondheim.", "Som sagt, jeg løp 7 kilometer i trondheim", True),
        ("I'm here for you. You've got this!", "Me too. Talk to you later!", False),
    ],
)
def test_what_was_said_before(one: str, other: str, same: bool) -> None:
    assert alike(gist(one), gist(other)) is same
    assert alike(gist(other), gist(one)) is same


def test_today_is_another_day_tomorrow() -> None:
    later = "2026-05-09T10:00:00+00:00"
    assert alike(gist("I ran 5 km today."), gist("I ran 5 km today."))
    assert not alike(gist("I ran 5 km today."), gist("I ran 5 km today.", at=later))


def test_an_answer_of_recalled_text_restates() -> None:
    known = [gist("My dog is called Balto and is afraid of fireworks.")]
    asked = gist("What is my dog called?")
    assert restates(gist("Your dog is called Balto.", "assistant"), known, asked)
    assert restates(
        gist("You told me that your dog Balto is afraid of fireworks.", "assistant"), known, None
    )
    assert not restates(gist("Balto was a sled dog in Alaska in 1925.", "assistant"), known, asked)
    assert not restates(gist("Your dog is not called Balto.", "assistant"), known, asked)
    assert not restates(gist("A spider has eight legs.", "assistant"), known, None)


def test_rules_make_a_whole_record() -> None:
    text = "Remember: we decided to move the meeting with Kari to 14 May, the budget is $4,000!"
    found = by_rules(text, SAID, "user")
    notes = found.notes()
    assert notes["entities"] == ["kari"]
    assert notes["dates"] == ["2026-05-14"]
    assert notes["amounts"] == ["$4,000"]
    assert set(notes["categories"]) <= set(CATEGORIES)
    assert notes["importance"] == 1.0
    assert notes["language"] == "en"
    assert notes["summary"] == text
    assert by_rules("Ok", SAID, "assistant").importance < 0.3
    long = " ".join(f"Sentence {n} tells of the harbour in Bergen." for n in range(40))
    assert len(by_rules(long, SAID).summary) <= SUMMARY_CHARS


def test_a_model_may_only_say_what_the_text_says() -> None:
    text = (
        "We sailed from Bergen to Shetland in a small wooden boat. The mast broke on the second "
        "day, and Ingrid repaired it with a rope and an oar."
    )
    said = Described(
        summary="Ingrid repaired the broken mast on the boat from Bergen.",
        tags=("Sailing boat", "Titanic", "mast"),
        themes=("wooden boat", "ocean liner disaster"),
        entities=("Ingrid", "Leonardo"),
        categories=("travel", "nonsense"),
    )
    rules = by_rules(text, SAID)
    found = enriched(rules, said, text, LEXICON, trusted=False)
    assert found.summary == said.summary
    assert "mast" in found.tags
    assert found.themes[0] == "wooden boat"
    assert not {"titanic", "leonardo", "ocean liner disaster"} & {
        *found.tags,
        *found.entities,
        *found.themes,
    }
    assert {"Titanic", "Leonardo"} <= set(found.dropped)
    assert found.categories == rules.categories
    assert set(enriched(rules, said, text, LEXICON, trusted=True).categories) <= set(CATEGORIES)
    for wrong in (
        "Olga repaired the mast on the boat.",
        "The mast broke on day 17.",
        "boat boat boat boat",
    ):
        assert (
            enriched(rules, Described(summary=wrong), text, LEXICON, trusted=True).summary
            == rules.summary
        )


def test_the_schema_is_one_and_reads_back() -> None:
    for categories in (True, False):
        jsonschema.Draft202012Validator.check_schema(schema(categories=categories))
    assert Described.read("no json") is None
    assert Described.read("[1]") is None
    assert Described.read('{"a": {"b": ') is None
    assert Described.read('so: {"summary": 3, "tags": ["a", 4]} ok') == Described(tags=("a",))


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=400), st.sampled_from(["user", "assistant", None]))
def test_any_text_is_judged_and_described(text: str, role: str | None) -> None:
    judge(text, role=role, previous=text, prompts=[text])
    notes = by_rules(text, datetime(2026, 5, 6, tzinfo=UTC).isoformat(), role).notes()
    json.dumps(notes)
    assert 0 <= notes["importance"] <= 1
    assert len(notes["categories"] or ()) <= 3
    assert len(notes["summary"] or "") <= SUMMARY_CHARS
    assert -1 <= notes["emotion"]["valence"] <= 1
    assert 0 <= notes["emotion"]["arousal"] <= 1
    assert alike(gist(text), gist(text))


@settings(max_examples=150, deadline=None)
@given(
    st.text(min_size=1, max_size=200),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("summary", "tags", "themes", "entities", "categories"), anything),
    ),
)
def test_whatever_a_model_says_the_record_is_valid(text: str, answer: dict[str, Any]) -> None:
    said = Described.read(json.dumps(answer))
    assert said is not None
    found = enriched(by_rules(text, SAID), said, text, LEXICON, trusted=True)
    ground = {stem for ids in LEXICON.words(text) for stem in ids}
    for label in (*found.tags, *found.themes):
        told = LEXICON.words(label)
        assert all(any(stem in ground for stem in ids) for ids in told)
    assert set(found.categories) <= set(CATEGORIES)
    assert len(found.categories) <= 3
    assert len(found.summary) <= SUMMARY_CHARS


@given(st.floats(), st.floats(), st.floats())
def test_ranges_hold_whatever_is_put_in(valence: float, arousal: float, importance: float) -> None:
    found = Curated(valence=valence, arousal=arousal, importance=importance)
    assert -1 <= found.valence <= 1
    assert 0 <= found.arousal <= 1
    assert 0 <= found.importance <= 1
