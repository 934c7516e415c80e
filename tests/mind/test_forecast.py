"""How long answers will be, and caps that neither refuse what would fit nor are ever passed."""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import datetime
from pathlib import Path

import pytest
from fault_server import FaultServer, Scenario
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from routed_home import TOML

from aiki_kernel.aiki import Aiki
from aiki_kernel.config import Budget as Caps
from aiki_kernel.config import Endpoint, Settings, load
from aiki_kernel.mind.budget import Budget, BudgetError
from aiki_kernel.mind.forecast import ENOUGH, Forecast, bound
from aiki_kernel.mind.ledger import Entry, Ledger
from aiki_kernel.models.cards import card
from aiki_kernel.models.chat import ChatMessage, ChatRequest
from aiki_kernel.models.fallback import Admitted

NOW = datetime.now().astimezone().isoformat()
# Two USD for a million tokens of answer.
PRICED = Endpoint(base_url="http://127.0.0.1:9/v1", input_price=1, output_price=2)


def settings_with(**caps: float) -> Settings:
    return load(endpoints={"a": PRICED}, budget=Caps(**caps))


def answered(tokens: int, **more: object) -> Entry:
    fields = {"session_id": "s", "turn_id": "t", "model": "m", "provider": "a", "name": "a/m"}
    return Entry(when=NOW, cost_usd=0.0, output_tokens=tokens, **{**fields, **more})


@pytest.fixture
def ledger(aiki_home: Path) -> Ledger:
    return Ledger(aiki_home / "ledger.sqlite")


def admit(ledger: Ledger, settings: Settings, tokens: int, **more: str) -> Admitted:
    request = ChatRequest("a/m", (), max_tokens=tokens, **more)
    return asyncio.run(Budget(ledger.file, settings).admit(request, card(settings, "a/m")))


def test_too_few_answers_bound_nothing() -> None:
    assert bound([10.0] * (ENOUGH - 1), 1000) == Forecast(1000, 0)
    assert bound([10.0] * ENOUGH, 1000) == Forecast(10, ENOUGH)
    assert bound([5000.0] * 50, 1000).tokens == 1000


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.0])
def test_the_next_answer_is_within_the_forecast_in_95_of_100_cases(spread: float) -> None:
    dice = random.Random(5)
    within = 0
    for _ in range(4000):
        lengths = [dice.lognormvariate(5, spread) for _ in range(61)]
        within += lengths[-1] <= bound(lengths[:-1], 10**9).tokens + 1
    assert 0.94 <= within / 4000 <= 0.98


@given(st.lists(st.integers(0, 5000), max_size=60), st.integers(1, 5000))
def test_a_forecast_is_between_one_and_all(lengths: list[int], most: int) -> None:
    assert 1 <= bound(lengths, most).tokens <= most


def test_what_would_fit_is_not_refused_once_answers_are_known(ledger: Ledger) -> None:
    settings = settings_with(day_usd=0.01)
    with pytest.raises(BudgetError, match="at most 20,000 out"):
        admit(ledger, settings, 20_000)  # 0.04 USD: nobody knows that it will be short
    for n in range(40):
        ledger.record(answered(200 + n))
        ledger.record(answered(9000, stage="consult"))
        ledger.record(answered(9000, name="a/other"))
        ledger.record(answered(0, error="ModelError"))
        ledger.record(answered(0))  # out of the response cache: no tokens at all
    found = admit(ledger, settings, 20_000)
    assert found.max_tokens == 2500, "half of what is left: 0.005 USD"
    assert "budget.day_usd leaves" in found.note
    assert admit(ledger, settings, 2000).max_tokens == 1250, "half of the rest"
    with pytest.raises(BudgetError, match="at most 9,000 out"):
        admit(ledger, settings, 9000, stage="consult")


def test_with_money_enough_nothing_is_lowered(ledger: Ledger) -> None:
    for _ in range(40):
        ledger.record(answered(200))
    found = admit(ledger, settings_with(day_usd=1.0), 20_000)
    assert (found.max_tokens, found.note) == (20_000, "")


def test_where_the_forecast_does_not_fit_the_call_is_refused_by_it(ledger: Ledger) -> None:
    for _ in range(40):
        ledger.record(answered(3000))
    line = r"up to \$0.0060 .*by its last 40 answers at most 3,000 out"
    with pytest.raises(BudgetError, match=line):
        admit(ledger, settings_with(session_usd=0.005), 20_000, session_id="new")


def test_answers_that_were_cut_count_as_longer_than_any_limit(ledger: Ledger) -> None:
    for n in range(40):
        ledger.record(answered(50, finish_reason="length" if n % 4 == 0 else "stop"))
    with pytest.raises(BudgetError, match="at most 20,000 out"):
        admit(ledger, settings_with(day_usd=0.01), 20_000)


def test_calls_that_use_all_they_may_never_pass_the_cap(ledger: Ledger) -> None:
    """Answers that are far longer than every one before, many at once."""
    settings = settings_with(day_usd=0.05)
    for _ in range(30):
        ledger.record(answered(100))
    dice = random.Random(1)
    bought = Budget(ledger.file, settings)
    under_way: list[Admitted] = []
    made = 0
    for number in range(120):
        turn = f"turn {number}"
        try:
            request = ChatRequest("a/m", (), max_tokens=4000, prompt_tokens=50, turn_id=turn)
            under_way.append(asyncio.run(bought.admit(request, card(settings, "a/m"))))
            made += 1
        except BudgetError:
            pass
        (cap,) = bought.state()
        assert cap.spent + cap.held <= 0.05 + 1e-9
        if under_way and dice.random() < 0.5:
            one = under_way.pop(dice.randrange(len(under_way)))
            usd = (50 + 2 * one.max_tokens) / 1e6  # it takes all that it may
            asyncio.run(bought.settle(one.ticket, usd))
    assert made > 8, "more than the six that could have taken their most"
    assert bought.state()[0].left < 0.001, "hardly anything is left in the end"


async def test_the_lowered_limit_reaches_the_endpoint_and_is_said(
    aiki_home: Path, fault_server: FaultServer
) -> None:
    text = TOML.format(url=fault_server.base_url, router="fixed", routing="")
    text = text.replace('model = "auto"', 'model = "test/smart"')
    (aiki_home / "aiki.toml").write_text(f"{text}\n[budget]\nday_usd = 0.05\n", "utf-8")
    aiki = Aiki(load())
    for _ in range(30):
        aiki.ledger.record(answered(20, name="test/smart"))
    fault_server.script(Scenario(text="So far so", finish_reason="length"))
    reply = None
    async for event in aiki.stream("Tell me all.", parameters={"max_tokens": 4000}):
        reply = event if hasattr(event, "metadata") else reply
    assert reply is not None
    limit = fault_server.requests[0].body["max_tokens"]
    assert 20 < limit <= 500, "half of five cents at 50 USD a million"
    assert any(f"could have {limit:,} tokens at most" in n for n in reply.metadata["notes"])
    await aiki.aclose()


def test_a_first_message_of_a_request_is_counted(ledger: Ledger) -> None:
    """The forecast is of the answer alone; the message is paid for first."""
    for _ in range(30):
        ledger.record(answered(10))
    settings = settings_with(day_usd=0.001)
    request = ChatRequest(
        "a/m", (ChatMessage("user", "x"),), max_tokens=500, prompt_tokens=780, turn_id="t"
    )
    found = asyncio.run(Budget(ledger.file, settings).admit(request, card(settings, "a/m")))
    assert found.max_tokens == 10, "975 of 1000 millionths go to the message"
