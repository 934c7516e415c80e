"""Caps that hold: against one call too many, two notebooks at once, and killed processes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from aiki_kernel.config import Budget as Caps
from aiki_kernel.config import Card, Endpoint, Models, Settings, load
from aiki_kernel.mind.budget import Budget, BudgetError
from aiki_kernel.mind.ledger import Entry, Ledger
from aiki_kernel.models.cards import card
from aiki_kernel.models.chat import ChatRequest

NOW = datetime.now().astimezone()
# 1 USD for a million tokens in, 2 out: 400,000 in (a quarter more is counted) cost 0.5.
PRICED = Endpoint(base_url="http://127.0.0.1:9/v1", input_price=1, output_price=2)
UNPRICED = Endpoint(base_url="http://127.0.0.1:9/v1")


def settings_with(**caps: object) -> Settings:
    return load(endpoints={"a": PRICED, "free": UNPRICED}, budget=Caps(**caps))


def entry(usd: float | None, when: datetime = NOW, **more: str) -> Entry:
    fields = {"session_id": "s", "turn_id": "t", "model": "m", "provider": "a", **more}
    return Entry(when=when.isoformat(), cost_usd=usd, **fields)


@pytest.fixture
def ledger(aiki_home: Path) -> Ledger:
    return Ledger(aiki_home / "ledger.sqlite")


def budget(ledger: Ledger, **caps: object) -> Budget:
    return Budget(ledger.file, settings_with(**caps))


def call(bought: Budget, model: str = "a/m", usd: float = 0.5, session: str = "s", turn: str = "t"):
    return bought.reserve(
        model,
        stage="consult",
        input_tokens=round(usd * 800_000),
        output_tokens=0,
        session_id=session,
        turn_id=turn,
    )


async def test_without_a_cap_nothing_is_held_and_no_file_made(ledger):
    async with call(budget(ledger)) as ticket:
        assert ticket == ""
    assert not ledger.path.exists()


async def test_a_call_that_would_pass_the_cap_is_refused_with_all_that_one_needs(ledger):
    ledger.record(entry(0.8))
    with pytest.raises(BudgetError) as caught:
        async with call(budget(ledger, day_usd=1.0)):
            raise AssertionError("not reached")
    line = str(caught.value)
    for part in (
        "a/m was not asked",
        "$0.80 is spent today",
        "up to $0.50",
        "500,000 tokens in at $1",
        "the cap is $1.00",
        "aiki config set budget.day_usd 1.3",
        "%aiki_model local",
    ):
        assert part in line, part
    assert "\n" not in line
    async with call(budget(ledger, day_usd=1.3)) as ticket:
        assert ticket, "the figure that was named is enough"


async def test_the_answer_counts_with_all_that_it_may_take(ledger):
    bought = budget(ledger, day_usd=1.0)
    with pytest.raises(BudgetError, match="at most 600,000 out at \\$2"):
        async with bought.reserve("a/m", stage="generate", input_tokens=0, output_tokens=600_000):
            raise AssertionError("not reached")


@pytest.mark.parametrize(
    ("cap", "other", "what"),
    [
        ("day_usd", {"session_id": "x", "turn_id": "x"}, "today"),
        ("session_usd", {"turn_id": "x"}, "in this session"),
        ("cell_usd", {"session_id": "x"}, "by this cell"),
    ],
)
async def test_what_counts_against_which_cap(ledger, cap, other, what):
    bought = budget(ledger, **{cap: 1.0})
    ledger.record(entry(0.9, NOW - timedelta(days=2), session_id="old", turn_id="old"))
    ledger.record(entry(0.3, session_id="y", turn_id="y") if cap != "day_usd" else entry(0.0))
    async with call(bought):
        pass
    ledger.record(entry(0.6, **other))
    with pytest.raises(BudgetError, match=what):
        async with call(bought):
            raise AssertionError("not reached")


async def test_local_and_free_models_are_never_refused(ledger):
    bought = budget(ledger, day_usd=0.0, cell_usd=0.0)
    async with call(bought, "local", 100.0) as ticket:
        assert ticket == ""
    gift = load(
        endpoints={"gift": Endpoint(base_url="http://x/v1", input_price=0, output_price=0)},
        budget=Caps(day_usd=0.0),
    )
    async with call(Budget(ledger.file, gift), "gift/m", 100.0) as ticket:
        assert ticket == ""
    with pytest.raises(BudgetError):
        async with call(bought, "a/m", 0.01):
            raise AssertionError("not reached")


async def test_an_unknown_price_is_refused_under_a_cap_until_it_is_allowed(ledger):
    with pytest.raises(BudgetError) as caught:
        async with call(budget(ledger, day_usd=100.0), "free/m"):
            raise AssertionError("not reached")
    assert "price of free/m is unknown" in str(caught.value)
    assert "budget.unknown_prices allow" in str(caught.value)
    async with call(budget(ledger, day_usd=100.0, unknown_prices="allow"), "free/m"):
        pass
    async with call(budget(ledger), "free/m"):
        pass  # no cap, no refusal


async def test_calls_of_unknown_price_are_told_beside_the_sum(ledger):
    ledger.record(entry(None))
    with pytest.raises(BudgetError, match="1 call of unknown price"):
        async with call(budget(ledger, day_usd=0.1)):
            raise AssertionError("not reached")


async def test_what_is_held_counts_until_it_is_let_go(ledger):
    bought = budget(ledger, day_usd=1.0)
    async with call(bought, usd=0.5):
        (cap,) = bought.state()
        assert (cap.spent, cap.held, cap.left) == (0.0, 0.5, 0.5)
        async with call(bought, usd=0.5):
            with pytest.raises(BudgetError, match=r"\$1.00 held for calls under way"):
                async with call(bought, usd=0.01):
                    raise AssertionError("not reached")
    (cap,) = bought.state()
    assert (cap.spent, cap.held) == (0.0, 0.0)


async def test_booking_a_call_lets_go_of_what_was_held_for_it(ledger):
    bought = budget(ledger, day_usd=1.0)
    holding = call(bought, usd=0.9)
    await holding.__aenter__()
    ledger.record(entry(0.1, turn_id="another"))
    assert bought.state()[0].held == 0.9
    ledger.record(entry(0.2, turn_id="t", stage="consult"))
    assert bought.state()[0].held == 0.0
    assert bought.state()[0].spent == pytest.approx(0.3)


async def test_a_call_that_ended_holds_what_it_cost(ledger):
    bought = budget(ledger, day_usd=1.0)
    async with call(bought, usd=0.9) as ticket:
        await bought.settle(ticket, 0.1)
        assert bought.state()[0].held == pytest.approx(0.1)
        async with call(bought, usd=0.8):
            pass


async def test_writing_to_a_dear_cache_is_counted(ledger):
    caps = settings_with(day_usd=0.7)
    written = Card(input_price=1, output_price=2, cache_write_price=1.5)
    settings = caps.model_copy(update={"models": Models(cards={"a/m": written})})
    with pytest.raises(BudgetError, match=r"up to \$0.75 .*in at \$1.5"):
        async with call(Budget(ledger.file, settings), usd=0.5):
            raise AssertionError("not reached")


async def test_a_cancelled_hold_is_let_go(ledger):
    bought = budget(ledger, day_usd=1.0)
    for _ in range(20):
        task = asyncio.ensure_future(call(bought, usd=0.9).__aenter__())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for _ in range(200):
        if not bought.state()[0].held:
            break
        await asyncio.sleep(0.02)
    assert bought.state()[0].held == 0.0


CHILD = """
import asyncio, json, sys, time
from pathlib import Path
from aiki_kernel.config import Budget as Caps, Endpoint, load
from aiki_kernel.mind.budget import Budget, BudgetError
from aiki_kernel.mind.ledger_file import LedgerFile

settings = load(endpoints={"a": Endpoint(base_url="http://x/v1", input_price=1, output_price=2)},
                budget=Caps(day_usd=1.0))
budget = Budget(LedgerFile(Path(sys.argv[1])), settings)

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        async with budget.reserve("a/m", stage="generate", input_tokens=240_000,
                                  output_tokens=0, session_id=sys.argv[2], turn_id=sys.argv[2]):
            print("held", flush=True)
            sys.stdin.readline()
    except BudgetError as error:
        print("refused", flush=True)

asyncio.run(main())
"""


def child(ledger: Ledger, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(ledger.path), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )


def test_many_processes_cannot_slip_under_one_cap(ledger):
    """Each wants 0.3 of 1.0: exactly three of six get it, whoever comes first."""
    children = [child(ledger, str(n)) for n in range(6)]
    for one in children:
        assert one.stdout.readline() == "ready\n"
    for one in children:
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.stdout.readline() for one in children]
    for one in children:
        one.communicate("end\n", timeout=60)
    assert sorted(said) == ["held\n"] * 3 + ["refused\n"] * 3


async def test_what_a_killed_process_held_is_let_go(ledger):
    held = [child(ledger, str(n)) for n in range(3)]
    for one in held:
        one.stdout.readline()
        one.stdin.write("go\n")
        one.stdin.flush()
        assert one.stdout.readline() == "held\n"
    bought = budget(ledger, day_usd=1.0)
    with pytest.raises(BudgetError):
        async with call(bought, usd=0.3):
            raise AssertionError("not reached")
    for one in held:
        one.send_signal(signal.SIGKILL)
        one.wait()
        one.stdin.close()
        one.stdout.close()
    async with call(bought, usd=0.9):
        pass


async def test_a_ledger_that_cannot_be_read_spends_nothing(ledger):
    ledger.path.mkdir()
    with pytest.raises(BudgetError, match="cannot be checked"):
        async with call(budget(ledger, day_usd=1.0)):
            raise AssertionError("not reached")


def test_caps_are_read_from_the_file(aiki_home):
    (aiki_home / "aiki.toml").write_text("[budget]\nday_usd = 2.5\n", "utf-8")
    settings = load()
    assert settings.budget.day_usd == 2.5
    caps = Budget(Ledger(aiki_home / "ledger.sqlite").file, settings).state()
    assert json.dumps([cap.to_json() for cap in caps])
    assert caps[0].left == 2.5


def test_threads_that_spend_at_random_never_pass_the_cap(ledger):
    """Each call holds its most, costs less, and is booked; some fail. What is booked and held
    is never more than the cap, and when all are done hardly anything of it is left."""
    settings = settings_with(day_usd=1.0)
    bought = Budget(ledger.file, settings)
    over: list[float] = []
    refused: list[str] = []

    def spend(seed: int) -> None:
        dice = random.Random(seed)
        for n in range(30):
            most = dice.uniform(0.01, 0.1)
            turn = f"{seed}-{n}"
            try:
                ticket = asyncio.run(hold(most, turn))
            except BudgetError as error:
                refused.append(str(error))
                continue
            (cap,) = bought.state()
            if cap.spent + cap.held > 1.0 + 1e-9:
                over.append(cap.spent + cap.held)
            if dice.random() < 0.2:
                asyncio.run(bought.release(ticket))  # the call failed
            else:
                spent = most * dice.uniform(0.3, 1.0)
                ledger.record(entry(spent, turn_id=turn, stage="consult"))

    async def hold(usd: float, turn: str) -> str:
        tokens = round(usd * 800_000)
        request = ChatRequest(
            "a/m", (), max_tokens=0, turn_id=turn, stage="consult", prompt_tokens=tokens
        )
        return (await bought.admit(request, card(settings, "a/m"))).ticket

    threads = [threading.Thread(target=spend, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert over == []
    assert refused
    (cap,) = bought.state()
    assert cap.held == 0.0
    assert 0.85 < cap.spent <= 1.0
