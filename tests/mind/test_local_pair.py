"""Cascade and consultant with models of this machine: one as the cheap one, and two as a pair
(the same weights in two quantisations), of which either may fail."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fault_server import FaultServer, Scenario

sys.path.insert(0, str(Path(__file__).parent))

from requantised import requantised
from routed_home import TOML, models_asked
from test_consultant import completed, insight

from aiki_kernel.aiki import Aiki
from aiki_kernel.config import load
from aiki_kernel.mind.conversation import Conversation, Message
from aiki_kernel.mind.events import Completed, Consulted, Delta, Event
from aiki_kernel.mind.insight import Stored
from aiki_kernel.mind.labels import Label, Labels
from aiki_kernel.models.breaker import BREAKER
from aiki_kernel.models.weights import for_tests

pytestmark = pytest.mark.slow

SHORT = {"max_tokens": 12, "temperature": 0.0}


@pytest.fixture
async def aiki(aiki_home: Path, fault_server: FaultServer) -> AsyncIterator[Aiki]:
    weights = for_tests()
    (aiki_home / "models").mkdir()
    shutil.copyfile(weights, aiki_home / "models" / weights.name)
    text = TOML.format(url=fault_server.base_url, router="cascade", routing="")
    text = text.replace('cheap = ["test/cheap"]', "cheap = []").replace(
        "local = []", 'local = ["local/smollm2-135m"]'
    )
    text = text.replace("first_token = 3", "first_token = 120").replace(
        "between_tokens = 1", "between_tokens = 30"
    )
    (aiki_home / "aiki.toml").write_text(text, "utf-8")
    mind = Aiki(load())
    yield mind
    await mind.aclose()


async def test_the_local_models_own_signs_decide(aiki: Aiki, fault_server: FaultServer) -> None:
    """The endpoint of this machine gives log-probabilities, so one sample is enough."""
    fault_server.script(Scenario(text="Oslo."))
    question = "What is the capital of Norway?"
    done = completed([event async for event in aiki.stream(question, parameters=SHORT)])
    drafts = [row for row in aiki.ledger.rows() if row.tier == "local"]
    assert len(drafts) == 1
    assert drafts[0].cost_usd == 0.0
    assert drafts[0].local_s > 0
    why = done.metadata["cascade"]["why"]
    assert ("log-probability" in why) or (why == "" and done.metadata["name"].startswith("local"))


async def test_the_local_model_works_with_an_insight(aiki: Aiki, fault_server: FaultServer) -> None:
    aiki.conversation.route = "consult"
    settings = aiki.settings.routing.model_copy(update={"cascade_logprob": -20.0})
    aiki.configure(aiki.settings.model_copy(update={"routing": settings}))
    fault_server.script(insight())
    question = "Why may a dict not change in its own loop?"
    events = [event async for event in aiki.stream(question, parameters=SHORT)]
    assert [event.model for event in events if isinstance(event, Consulted)] == ["test/smart"]
    assert models_asked(fault_server) == ["smart"]
    done = completed(events)
    assert done.metadata["name"] == "local/smollm2-135m"
    assert done.text
    assert done.metadata["cost"]["calls"][-1]["usd"] == 0.0


SMART, CHEAP = "local/smollm2-135m", "local/smollm2-q4_0"
QUESTION = "Is 91 a prime number or a product of two?"

PAIR = f"""
model = "auto"
daemon = "off"
[routing]
router = "rules"
smart = ["{SMART}"]
standard = []
cheap = []
local = ["{CHEAP}"]
cascade_logprob = -20.0
[consult]
problem_tokens = 80
insight_tokens = 160
confidence = 0.0
[timeouts]
first_token = 120
between_tokens = 60
retries = 0
[memory]
embedder = "wordllama"
"""


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights in another quantisation."""
    return requantised(for_tests(), tmp_path_factory.mktemp("second") / "smollm2-q4_0.gguf")


@pytest.fixture
async def pair(aiki_home: Path, second: Path) -> AsyncIterator[Aiki]:
    """Two models of this machine: one is consulted, the other works."""
    weights = for_tests()
    (aiki_home / "models").mkdir()
    for file in (weights, second):
        link(file, aiki_home / "models" / file.name)
    (aiki_home / "aiki.toml").write_text(PAIR, "utf-8")
    BREAKER.clear()
    mind = Aiki(load())
    yield mind
    await mind.aclose()
    BREAKER.clear()


def link(file: Path, target: Path) -> None:
    try:
        target.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, target)


async def ask(aiki: Aiki, text: str = QUESTION) -> list[Event]:
    talk = Conversation()
    talk.route = "consult"
    return [e async for e in aiki.respond(Message(text, parameters=SHORT), talk)]


def stages(aiki: Aiki) -> list[tuple[str, str]]:
    return [(row.stage, row.name) for row in aiki.ledger.rows() if not row.error][::-1]


async def kept(aiki: Aiki) -> list[Stored]:
    found = await aiki.connection.admin.list(aiki.memory.scope, limit=50, kind="insight")
    return [one for record in found if (one := Stored.read(record))]


async def test_one_local_model_advises_another_which_works(pair: Aiki) -> None:
    """Its answers obey a JSON schema, so even a small one keeps the protocol."""
    events = await ask(pair)
    done = completed(events)
    (consulted,) = [event for event in events if isinstance(event, Consulted)]
    assert consulted.model == SMART
    assert consulted.insight
    assert done.metadata["name"] == CHEAP
    assert done.text == "".join(event.text for event in events if isinstance(event, Delta))
    assert (stages(pair)[0], stages(pair)[-1]) == (("consult", SMART), ("generate", CHEAP))
    assert all(row.cost_usd == 0.0 and row.local_s > 0 for row in pair.ledger.rows())
    (stored,) = await kept(pair)
    assert stored.model == SMART

    # The same question in other order: no call of the consulted model.
    calls = len(pair.ledger.rows())
    again = await ask(pair, "A product of two or a prime number: is 91?")
    assert [event.reused for event in again if isinstance(event, Consulted)] == [True]
    assert stages(pair)[calls:] == [("generate", CHEAP)]


async def test_an_insight_that_is_cut_is_asked_for_again_and_then_given_up(pair: Aiki) -> None:
    consult = pair.settings.consult.model_copy(update={"insight_tokens": 6})
    pair.configure(pair.settings.model_copy(update={"consult": consult}))
    done = completed(await ask(pair))
    assert stages(pair) == [("consult", SMART), ("consult", SMART), ("generate", SMART)]
    assert any("no valid insight in two tries" in note for note in done.metadata["notes"])
    assert done.metadata["name"] == SMART
    assert await kept(pair) == []


async def test_claims_that_never_held_make_the_consulted_model_work_itself(pair: Aiki) -> None:
    labels = Labels(pair.paths.ledger)
    for turn in range(30):
        when = "2026-11-01T00:00:00+00:00"
        claim = (turn % 10) / 10
        labels.put(Label(when, f"t{turn}", "m", CHEAP, "checked", 0.0, confidence=claim))
    consult = pair.settings.consult.model_copy(update={"confidence": 0.6})
    pair.configure(pair.settings.model_copy(update={"consult": consult}))
    done = completed(await ask(pair))
    assert done.metadata["name"] == SMART
    assert any("is below 0.60" in note for note in done.metadata["notes"])


@pytest.mark.parametrize("broken", ["consulted", "working"])
async def test_either_model_may_be_damaged(pair: Aiki, broken: str, second: Path) -> None:
    name = for_tests().name if broken == "consulted" else second.name
    file = pair.paths.models / name
    file.unlink()
    file.write_bytes(b"GGUF" + bytes(64))
    done = completed(await ask(pair))
    assert done.text
    if broken == "consulted":
        assert done.metadata["name"] == CHEAP
        assert any("could not be consulted" in note for note in done.metadata["notes"])
        assert await kept(pair) == []
    else:
        assert done.metadata["name"] == SMART
        assert any(f"{CHEAP} failed" in note for note in done.metadata["notes"])
    (failed,) = [row for row in pair.ledger.rows() if row.error]
    assert failed.name == (SMART if broken == "consulted" else CHEAP)
    assert failed.cost_usd == 0.0


async def test_stop_between_the_two_calls_keeps_the_insight(pair: Aiki) -> None:
    talk = Conversation()
    talk.route = "consult"
    events = pair.respond(Message(QUESTION, parameters={"max_tokens": 2000}), talk)
    async for event in events:
        assert not isinstance(event, Completed)
        if isinstance(event, Consulted):
            break
    await events.aclose()
    await pair.consciousness.drain()
    assert [stage for stage, _ in stages(pair)][:1] == ["consult"]
    assert len(await kept(pair)) == 1
    queue = (await pair.connection.health())["queue"]
    assert (queue["running"], queue["waiting"]) == (0, 0)
