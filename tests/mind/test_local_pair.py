"""Cascade and consultant with the model of this machine as the cheap one, and as both."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fault_server import FaultServer, Scenario

sys.path.insert(0, str(Path(__file__).parent))

from routed_home import TOML, models_asked
from test_consultant import completed, insight

from aiki_kernel.aiki import Aiki
from aiki_kernel.config import load
from aiki_kernel.mind.events import Consulted
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


async def test_the_local_model_gives_an_insight_in_the_schema(aiki: Aiki) -> None:
    """Its answers obey a JSON schema, so even a small one keeps the protocol."""
    consult = aiki.settings.consult.model_copy(update={"insight_tokens": 400, "problem_tokens": 80})
    routing = aiki.settings.routing.model_copy(
        update={"smart": ("local/smollm2-135m",), "cascade_logprob": -20.0}
    )
    aiki.configure(aiki.settings.model_copy(update={"consult": consult, "routing": routing}))
    aiki.conversation.route = "consult"
    events = [event async for event in aiki.stream("Is 91 a prime number?", parameters=SHORT)]
    done = completed(events)
    assert done.text
    stages = [row.stage for row in aiki.ledger.rows()]
    assert "consult" in stages
    told = done.metadata["consult"]
    assert told["model"] == "local/smollm2-135m"
