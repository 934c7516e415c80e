"""Chains of models on a real server that refuses, stalls, limits and cuts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from fault_server import TEXT, FaultServer, Scenario, closed_port, failing

from aiki_kernel.config import Card, Endpoint, Models, Routing, Settings, load
from aiki_kernel.errors import AikiError, DaemonError, ModelError
from aiki_kernel.models.breaker import Breaker
from aiki_kernel.models.cards import ModelCard
from aiki_kernel.models.chat import ChatMessage, ChatRequest, Finished, Hop, TextDelta
from aiki_kernel.models.fallback import Admitted, Fallback, followers
from aiki_kernel.models.provider import Provider

QUESTION = (ChatMessage("user", "Hei, hvordan går det?"),)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Line:
    def __init__(self, settings: Settings, server: FaultServer) -> None:
        self.settings, self.server, self.clock = settings, server, Clock()
        self.breaker = Breaker(self.clock)
        self.provider = Provider(settings, backoff_s=0.001)
        self.gate: Gate | None = None

    def port(self) -> Fallback:
        return Fallback(self.provider, self.settings, gate=self.gate, breaker=self.breaker)

    async def ask(
        self, *models: str, named: bool = False, **more: object
    ) -> tuple[str, list[Hop], Finished | AikiError]:
        request = ChatRequest(models[0], QUESTION, fallbacks=models[1:], named=named, **more)  # type: ignore[arg-type]
        text, hops = "", []
        try:
            async for event in self.port().stream(request):
                if isinstance(event, TextDelta):
                    text += event.text
                elif isinstance(event, Hop):
                    hops.append(event)
                else:
                    return text, hops, event
        except AikiError as error:
            return text, hops, error
        raise AssertionError("no end")

    def asked(self) -> list[str]:
        """The models that the server was asked for, in order, retries once."""
        models = [str(request.body.get("model")) for request in self.server.requests]
        return list(dict.fromkeys(models))


class Gate:
    def __init__(self, refuse: str = "") -> None:
        self.refuse, self.admitted, self.released = refuse, list[tuple[str, int, int]](), []
        self.settled: list[tuple[str, float]] = []

    async def admit(self, request: ChatRequest, card: ModelCard) -> Admitted:
        if card.name == self.refuse:
            raise AikiError("The budget is spent.")
        self.admitted.append((card.name, request.prompt_tokens, request.max_tokens))
        return Admitted(f"ticket {len(self.admitted)}", request.max_tokens)

    async def settle(self, ticket: str, usd: float) -> None:
        self.settled.append((ticket, usd))

    async def release(self, ticket: str) -> None:
        self.released.append(ticket)


@pytest.fixture
async def line(
    aiki_home: Path, fault_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Line]:
    monkeypatch.setenv("FAULT_API_KEY", "test-key-0000")
    here = {"base_url": fault_server.base_url}
    settings = load(
        timeouts={"connect": 1.0, "first_token": 1.5, "between_tokens": 0.5, "retries": 1},
        endpoints={
            "a": Endpoint(**here, api_key_env="FAULT_API_KEY", input_price=1, output_price=2),
            "b": Endpoint(**here, api_key_env="FAULT_API_KEY", input_price=1, output_price=2),
            "keyless": Endpoint(**here, api_key_env="NO_SUCH_API_KEY"),
            "gone": Endpoint(base_url=f"http://127.0.0.1:{closed_port()}/v1"),
        },
        models=Models(cards={"b/small": Card(window=300), "b/tiny": Card(window=5)}),
    )
    made = Line(settings, fault_server)
    yield made
    await made.provider.aclose()


async def test_without_failure_nothing_is_seen(line: Line) -> None:
    text, hops, end = await line.ask("a/ok", "b/echo")
    assert (text, hops) == (TEXT, [])
    assert isinstance(end, Finished)
    assert end.detail["name"] == "a/ok"
    assert "hops" not in end.detail
    assert line.breaker.health() == {"breakers": [], "hops": []}


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("a/503", "is failing (503)"),
        ("a/429", "is limiting requests (429)"),
        ("a/stall-headers", "sent no first token in time"),
        ("a/stall-first", "sent no first token in time"),
        ("gone/x", "could not be reached"),
        ("keyless/ok", "has no key (NO_SUCH_API_KEY is not set)"),
        ("a/401", "was refused the key (401)"),
        ("a/402", "has no credit left (402)"),
        ("a/404", "is not there (404)"),
    ],
)
async def test_the_next_of_the_chain_answers_and_it_is_seen(
    line: Line, model: str, why: str
) -> None:
    text, hops, end = await line.ask(model, "b/ok")
    assert text == TEXT
    assert hops == [Hop(model, "b/ok", why)]
    assert isinstance(end, Finished)
    assert end.detail["name"] == "b/ok"
    assert end.detail["notes"][0] == f"{model} {why}: b/ok was asked instead."
    (seen,) = line.breaker.health()["hops"]
    assert (seen["model"], seen["to"], seen["why"]) == (model, "b/ok", why)


@pytest.mark.parametrize("model", ["a/400", "a/413", "a/422"])
async def test_a_mistake_of_the_user_is_no_reason_to_go_on(line: Line, model: str) -> None:
    _, hops, end = await line.ask(model, "b/ok")
    assert isinstance(end, ModelError)
    assert hops == []
    assert line.asked() == [model[2:]]
    assert line.breaker.health()["breakers"] == []


async def test_too_long_by_its_code_is_a_mistake_too(line: Line) -> None:
    line.server.script(failing(400, code="context_length_exceeded"))
    _, hops, end = await line.ask("a/ok", "b/ok")
    assert isinstance(end, ModelError)
    assert end.cause == "context"
    assert hops == []


@pytest.mark.parametrize("model", ["a/cut", "a/stall-between", "a/garbage", "a/cut-quiet"])
async def test_after_the_first_token_never(line: Line, model: str) -> None:
    text, hops, end = await line.ask(model, "b/ok")
    assert text
    assert hops == []
    assert isinstance(end, ModelError)
    assert line.asked() == [model[2:]]


@pytest.mark.parametrize("model", ["keyless/ok", "a/401", "a/402", "a/404"])
async def test_whoever_named_a_model_is_told_of_its_key(line: Line, model: str) -> None:
    _, hops, end = await line.ask(model, "b/ok", named=True)
    assert isinstance(end, ModelError)
    assert hops == []


async def test_a_named_model_that_fails_is_followed_past_one_without_a_key(line: Line) -> None:
    text, hops, _ = await line.ask("a/503", "keyless/ok", "b/ok", named=True)
    assert text == TEXT
    assert [(hop.model, hop.to) for hop in hops] == [("a/503", "b/ok"), ("keyless/ok", "b/ok")]


async def test_when_all_fail_one_line_says_so(line: Line) -> None:
    _, hops, end = await line.ask("a/503", "b/500", "gone/x")
    assert isinstance(end, ModelError)
    assert end.status == 503
    assert str(end).startswith("a is failing (503)")
    assert str(end).endswith("Also tried: b/500 is failing (500); gone/x could not be reached.")
    assert "\n" not in str(end)
    assert len(hops) == 2
    _, _, end = await line.ask("keyless/x", "keyless/y")
    assert "No model can answer" in str(end)
    assert "NO_SUCH_API_KEY" in str(end)


async def test_a_later_mistake_ends_the_chain_with_both_reasons(line: Line) -> None:
    _, _, end = await line.ask("a/503", "b/400", "b/ok")
    assert "a is failing (503)" in str(end)
    assert "(400)" in str(end)
    assert "ok" not in line.asked()


async def test_a_daemon_that_cannot_be_reached_is_a_failure_like_another(line: Line) -> None:
    def no_daemon() -> None:
        raise DaemonError("The daemon could not be started: run `aiki daemon run` to see why.")

    line.provider = Provider(line.settings, no_daemon, backoff_s=0.001)  # type: ignore[arg-type]
    text, hops, _ = await line.ask("local", "b/ok", named=True)
    assert text == TEXT
    assert hops == [Hop("local", "b/ok", "could not be reached")]


# -- the breaker ----------------------------------------------------------------------------


async def test_the_breaker_opens_half_opens_and_closes(line: Line) -> None:
    for _ in range(3):
        await line.ask("a/503", "b/ok")
    (state,) = line.breaker.health()["breakers"]
    assert (state["model"], state["state"], state["failures"]) == ("a/503", "open", 3)
    assert state["retry_in_s"] == 30.0
    before = len(line.server.requests)
    _, hops, _ = await line.ask("a/503", "b/ok")
    assert len(line.server.requests) == before + 1, "the resting model is not asked"
    assert hops[0].why == "failed repeatedly and rests for 30 s more"
    line.clock.now += 31
    assert line.breaker.health()["breakers"][0]["state"] == "half-open"
    _, hops, _ = await line.ask("a/503", "b/ok")
    assert hops[0].why == "is failing (503)", "one trial"
    assert line.breaker.health()["breakers"][0]["retry_in_s"] == 60.0, "twice as long"
    line.clock.now += 61
    line.server.script(Scenario())
    text, hops, _ = await line.ask("a/503", "b/ok")
    assert (text, hops) == (TEXT, [])
    assert line.breaker.health()["breakers"] == []


async def test_a_success_in_between_begins_the_count_anew(line: Line) -> None:
    for _ in range(2):
        await line.ask("a/503", "b/ok")
        await line.ask("a/503", "b/ok")
        line.server.script(Scenario())
        await line.ask("a/503", "b/ok")
    assert line.breaker.health()["breakers"] == []


async def test_a_model_without_another_is_tried_though_it_rests(line: Line) -> None:
    for _ in range(4):
        await line.ask("a/503")
    before = len(line.server.requests)
    _, hops, end = await line.ask("a/503", named=True)
    assert len(line.server.requests) > before
    assert hops == []
    assert isinstance(end, ModelError)


async def test_a_resting_model_comes_last_not_never(line: Line) -> None:
    for _ in range(3):
        await line.ask("a/503")
    line.server.script(failing(500), failing(500), Scenario())
    text, hops, end = await line.ask("a/503", "b/x")
    assert text == TEXT
    assert [(hop.model, hop.to) for hop in hops] == [("a/503", "b/x"), ("b/x", "a/503")]
    assert isinstance(end, Finished)
    assert end.detail["name"] == "a/503"


async def test_only_one_call_tries_a_half_open_model(line: Line) -> None:
    for _ in range(3):
        await line.ask("a/503", "b/ok")
    line.clock.now += 31
    line.server.script(Scenario(first_delay_s=0.2))
    trial = asyncio.create_task(line.ask("a/503", "b/ok"))
    await asyncio.to_thread(line.server.wait_request, len(line.server.requests) + 1)
    _, hops, _ = await line.ask("a/503", "b/ok")
    assert len(hops) == 1
    assert (await trial)[1] == []


async def test_an_interrupt_gives_the_trial_back_and_asks_nobody_else(line: Line) -> None:
    for _ in range(3):
        await line.ask("a/503", "b/ok")
    line.clock.now += 31
    line.server.script(Scenario(stall="headers"))
    count = len(line.server.requests)
    task = asyncio.create_task(line.ask("a/503", "b/ok"))
    await asyncio.to_thread(line.server.wait_request, count + 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(line.server.requests) == count + 1
    assert line.breaker.health()["breakers"][0]["state"] == "half-open"
    assert line.breaker.wait_s("a/503") == 0.0


async def test_closing_the_stream_closes_the_connection(line: Line) -> None:
    request = ChatRequest("a/slow", QUESTION, fallbacks=("b/ok",))
    async with aclosing(line.port().stream(request)) as events:
        async for event in events:
            assert isinstance(event, TextDelta)
            break
    assert await asyncio.to_thread(line.server.requests[-1].wait_closed, 3.0)
    assert line.asked() == ["slow"]


# -- window and gate ------------------------------------------------------------------------


async def test_a_message_that_does_not_fit_is_refused_before_any_call(line: Line) -> None:
    _, _, end = await line.ask("b/tiny", named=True)
    assert isinstance(end, ModelError)
    assert "takes 5 with its answer" in str(end)
    assert line.server.requests == []


async def test_a_window_shortens_the_answer_and_passes_over_what_is_too_small(line: Line) -> None:
    line.server.script(Scenario(finish_reason="length"))
    _, _, end = await line.ask("b/small", max_tokens=1000)
    limit = line.server.requests[0].body["max_tokens"]
    assert 250 < limit < 300
    assert isinstance(end, Finished)
    assert f"{limit:,} tokens at most" in end.detail["notes"][-1]
    text, hops, _ = await line.ask("a/503", "b/tiny", "b/ok")
    assert text == TEXT
    assert hops[1] == Hop("b/tiny", "b/ok", "takes only 5 tokens")


async def test_the_gate_is_asked_before_each_call_and_hops_never_pass_a_refusal(
    line: Line,
) -> None:
    line.gate = Gate()
    _, _, end = await line.ask("a/503", "b/ok", turn_id="t", max_tokens=77)
    assert [name for name, _, _ in line.gate.admitted] == ["a/503", "b/ok"]
    assert all(tokens > 0 and limit == 77 for _, tokens, limit in line.gate.admitted)
    assert line.gate.released == ["ticket 1"], "the failed call costs nothing"
    assert isinstance(end, Finished)
    assert end.detail["reservation"] == "ticket 2"
    cost = (end.usage.input_tokens + 2 * end.usage.output_tokens) / 1e6
    assert line.gate.settled == [("ticket 2", pytest.approx(cost))]
    line.gate = Gate(refuse="b/ok")
    before = len(line.server.requests)
    _, _, end = await line.ask("a/503", "b/ok", "b/echo")
    assert "a is failing (503)" in str(end)
    assert "The budget is spent." in str(end)
    assert {request.body["model"] for request in line.server.requests[before:]} == {"503"}
    line.gate = Gate(refuse="a/ok")
    _, hops, end = await line.ask("a/ok", "b/ok")
    assert str(end) == "The budget is spent."
    assert hops == []


# -- who follows whom -----------------------------------------------------------------------


@pytest.fixture
def keys(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-test")
    return


@pytest.mark.usefixtures("keys")
def test_a_tiers_model_is_followed_by_its_tier_a_named_one_by_what_is_written() -> None:
    plain = load()
    assert followers(plain, "openai/gpt-6-luna", named=False) == (
        "openrouter/openai/gpt-6-luna",
        "openrouter/deepseek/deepseek-v4.1-flash",
    )
    assert followers(plain, "openai/gpt-6-luna", named=True) == ()
    assert followers(plain, "local", named=False) == ()
    written = load(routing=Routing(cheap=("openai/gpt-6-luna", "local", "openai/gpt-5-nano")))
    assert followers(written, "local", named=True) == ("openai/gpt-5-nano",)
    assert followers(written, "local", named=False) == ("openai/gpt-5-nano", "openai/gpt-6-luna")
    off = load(routing=Routing(fallback=False))
    assert followers(off, "openai/gpt-6-luna", named=False) == ()
