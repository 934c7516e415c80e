"""The response cache in the loop, over a real HTTP server and the model of this machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, Scenario, failing

sys.path.insert(0, str(Path(__file__).parent))

from routed_home import TOML

from aiki_kernel.aiki import Aiki
from aiki_kernel.config import load
from aiki_kernel.display.static_card import render_text
from aiki_kernel.display.weight import compact
from aiki_kernel.kernel.chat import parse_options
from aiki_kernel.mind.conversation import Conversation, Message
from aiki_kernel.mind.events import Completed
from aiki_kernel.models.weights import for_tests

SURE = {"temperature": 0.0, "cache": True}
ASK = "What is the capital of Norway?"


@pytest.fixture
async def aiki(aiki_home: Path, fault_server: FaultServer) -> AsyncIterator[Aiki]:
    text = TOML.format(url=fault_server.base_url, router="fixed", routing="")
    text = text.replace('model = "auto"', 'model = "test/smart"')
    (aiki_home / "aiki.toml").write_text(f"{text}recall_k = 0\n", "utf-8")
    mind = Aiki(load())
    yield mind
    await mind.aclose()


async def ask(aiki: Aiki, text: str = ASK, **parameters: Any) -> Completed:
    """A question in a conversation of its own: nothing was said before it."""
    message = Message(text, parameters=parameters)
    done = [e async for e in aiki.respond(message, Conversation()) if isinstance(e, Completed)]
    return done[0]


async def test_the_second_time_nobody_is_asked(aiki: Aiki, fault_server: FaultServer) -> None:
    fault_server.script(Scenario(text="Oslo."))
    first = await ask(aiki, **SURE)
    assert "cache" not in first.metadata
    again = await ask(aiki, **SURE)
    assert len(fault_server.requests) == 1
    assert (again.text, again.finish_reason, again.cost_usd) == ("Oslo.", "stop", 0.0)
    told = again.metadata["cache"]
    assert told["hit"] is True
    assert told["saved_usd"] == pytest.approx(first.cost_usd)
    assert again.usage.input_tokens == 0
    (note,) = again.metadata["notes"]
    assert "From the response cache" in note
    assert "saved" in note
    assert "response cache" in render_text(compact({**again.metadata, "hits": []}))
    rows = aiki.ledger.rows()
    assert [row.cost_usd for row in rows] == [0.0, first.cost_usd]
    health = aiki.responses.health()
    assert (health["hits"], health["misses"]) == (1, 1)
    assert health["saved_usd"] == pytest.approx(first.cost_usd)


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0.0},  # off by default
        {"temperature": 0.0, "cache": False},
        {"temperature": 0.7, "cache": True},  # not deterministic
    ],
)
async def test_by_default_and_without_determinism_everybody_is_asked(
    aiki: Aiki, fault_server: FaultServer, parameters: dict[str, Any]
) -> None:
    await ask(aiki, **parameters)
    await ask(aiki, **parameters)
    assert len(fault_server.requests) == 2
    assert not aiki.responses.path.exists()


async def test_the_setting_turns_it_on_and_a_cell_off(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    cache = aiki.settings.cache.model_copy(update={"chat": True})
    aiki.configure(aiki.settings.model_copy(update={"cache": cache}))
    for _ in range(2):
        await ask(aiki, seed=7)
    assert len(fault_server.requests) == 1
    await ask(aiki, seed=7, cache=False)
    await ask(aiki, seed=8)
    await ask(aiki, seed=7, max_tokens=5)
    assert len(fault_server.requests) == 4


async def test_answers_that_failed_or_were_cut_are_not_kept(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(
        failing(500), Scenario(cut="reset"), Scenario(text="Half", finish_reason="length")
    )
    for _ in range(2):
        with pytest.raises(Exception, match="test"):
            await ask(aiki, **SURE)
    await ask(aiki, **SURE)  # cut before its own limit: by somebody else's
    fault_server.script(Scenario(text="Whole."))
    assert (await ask(aiki, **SURE)).text == "Whole."
    assert (await ask(aiki, **SURE)).text == "Whole."
    assert len(fault_server.requests) == 4


async def test_an_answer_of_another_model_is_not_kept_under_this_ones_name(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    routing = aiki.settings.routing.model_copy(update={"smart": ("test/smart", "test/cheap")})
    aiki.configure(aiki.settings.model_copy(update={"routing": routing}))
    fault_server.script(failing(500), Scenario(text="The other one."))
    assert (await ask(aiki, **SURE)).text == "The other one."
    fault_server.script(Scenario(text="The one."))
    assert (await ask(aiki, **SURE)).text == "The one."


async def test_what_a_hit_saved_is_at_the_prices_of_the_day(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    first = await ask(aiki, **SURE)
    models = aiki.settings.models
    dear = models.cards["test/smart"].model_copy(
        update={"input_price": 20.0, "output_price": 100.0}
    )
    cards = {**models.cards, "test/smart": dear}
    aiki.configure(
        aiki.settings.model_copy(update={"models": models.model_copy(update={"cards": cards})})
    )
    again = await ask(aiki, **SURE)
    assert first.cost_usd
    assert again.metadata["cache"]["saved_usd"] == pytest.approx(2 * first.cost_usd)
    unknown = dear.model_copy(update={"input_price": None, "output_price": None})
    models = models.model_copy(update={"cards": {**cards, "test/smart": unknown}})
    aiki.configure(aiki.settings.model_copy(update={"models": models}))
    again = await ask(aiki, **SURE)
    assert again.metadata["cache"]["saved_usd"] is None
    assert "an unknown sum saved" in again.metadata["notes"][0]


async def test_a_spent_budget_does_not_stand_in_the_way_of_a_hit(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    await ask(aiki, **SURE)
    budget = aiki.settings.budget.model_copy(update={"day_usd": 0.0})
    aiki.configure(aiki.settings.model_copy(update={"budget": budget}))
    assert (await ask(aiki, **SURE)).cost_usd == 0.0


async def test_trouble_with_the_file_is_said_and_the_model_answers(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    (aiki.paths.home / "cache").write_text("in the way")
    done = await ask(aiki, **SURE)
    assert done.text
    assert any("response cache cannot be used" in note for note in done.metadata["notes"])


def test_a_cell_says_so_in_words() -> None:
    assert parse_options("--cache yes --seed 3") == {"cache": True, "seed": 3}
    assert parse_options("--cache nei") == {"cache": False}
    with pytest.raises(Exception, match="yes or no"):
        parse_options("--cache perhaps")


@pytest.mark.slow
async def test_a_model_of_this_machine_and_its_file(
    aiki_home: Path, fault_server: FaultServer
) -> None:
    weights = for_tests()
    (aiki_home / "models").mkdir()
    file = aiki_home / "models" / weights.name
    shutil.copyfile(weights, file)
    toml = 'model = "local"\ndaemon = "off"\n[memory]\nembedder = "wordllama"\nrecall_k = 0\n'
    (aiki_home / "aiki.toml").write_text(toml, "utf-8")
    aiki = Aiki(load())
    first = await ask(aiki, **SURE, max_tokens=12)
    again = await ask(aiki, **SURE, max_tokens=12)
    assert again.text == first.text
    assert again.metadata["cache"]["saved_usd"] == 0.0
    assert again.metadata["engine"] == first.metadata["engine"]
    os.utime(file, (1, 1))  # another file under the same name
    changed = await ask(aiki, **SURE, max_tokens=12)
    assert "cache" not in changed.metadata
    await aiki.aclose()
