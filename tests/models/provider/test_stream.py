from __future__ import annotations

import httpx2
from fault_server import TEXT, Scenario, failing

from aiki_kernel.config import load
from aiki_kernel.models.provider import Provider


async def test_an_answer_streams_word_by_word_and_ends_with_usage(line):
    answer = await line.ask("ok", max_tokens=77, seed=3, stop=("END",))
    assert answer.text == TEXT
    assert len(answer.pieces) == 12
    done = answer.finished
    assert (done.reason, done.model, done.provider, done.attempts) == ("stop", "ok", "fault", 1)
    assert (done.usage.input_tokens, done.usage.output_tokens) == (8, 12)
    assert not done.usage.estimated
    body = line.server.requests[0].body
    assert body["max_tokens"] == 77
    assert body["seed"] == 3
    assert body["stop"] == ["END"]
    assert body["messages"][1]["content"] == "Hei på deg, hvordan går det?"
    assert "top_k" not in body
    assert "session_id" not in body


async def test_usage_is_estimated_and_marked_when_the_provider_gives_none(line):
    usage = (await line.ask("no-usage")).finished.usage
    assert usage.estimated
    assert usage.input_tokens > 8
    assert usage.output_tokens > 8


async def test_cached_tokens_are_read(line):
    line.server.script(Scenario(cached_tokens=5))
    assert (await line.ask("ok")).finished.usage.cached_tokens == 5


async def test_reasoning_and_null_deltas_are_not_the_answer(line):
    answer = await line.ask("reasoning")
    assert answer.text == TEXT
    assert answer.finished.usage.output_tokens == 14


async def test_text_with_line_separators_and_split_characters_arrives_whole(line):
    text = "blåbær\u2028og\x85rømme 🫐 slutt"
    line.server.script(Scenario(text=text))
    assert (await line.ask("ok")).text == text


async def test_comments_and_crlf_and_unknown_fields_are_passed_over(line):
    raw = (b": KEEPALIVE\r\n\r\n", b"event: x\r\nid: 1\r\n", b'data: {"choices": null}\r\n\r\n')
    line.server.script(Scenario(raw=raw))
    assert (await line.ask("ok")).text == TEXT


async def test_a_finish_reason_without_done_is_a_whole_answer(line):
    line.server.script(Scenario(done=False, finish_reason="length"))
    answer = await line.ask("ok")
    assert answer.error is None
    assert answer.finished.reason == "length"


async def test_a_server_that_does_not_stream_is_understood(line):
    def answer(request: httpx2.Request) -> httpx2.Response:
        choice = {"message": {"content": "all at once"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 2, "completion_tokens": 3}
        return httpx2.Response(200, json={"model": "m", "choices": [choice], "usage": usage})

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    provider = Provider(load(), lambda: client)
    line.provider = provider
    got = await line.ask("local/m")
    await provider.aclose()
    assert (got.text, got.finished.usage.output_tokens) == ("all at once", 3)


async def test_the_connection_is_used_again(line):
    for _ in range(3):
        await line.ask("ok")
    assert {request.connection for request in line.server.requests} == {1}


async def test_newer_openai_parameters_are_learnt_once(line):
    answer = await line.ask("picky", max_tokens=50)
    assert answer.text == TEXT
    assert answer.finished.detail["left_out"] == ["temperature"]
    assert len(answer.finished.detail["notes"]) == 2
    body = line.server.requests[-1].body
    assert body["max_completion_tokens"] == 50
    assert "max_tokens" not in body
    assert "temperature" not in body
    again = await line.ask("picky")
    assert again.finished.attempts == 1
    assert "notes" not in again.finished.detail
    assert len(line.server.requests) == 4
    await line.ask("ok")
    assert "temperature" in line.server.requests[-1].body, "a lesson is for one model"


async def test_stream_options_are_left_out_where_refused(line):
    line.server.script(Scenario(refuses=("stream_options",)), Scenario())
    answer = await line.ask("ok")
    assert answer.finished.usage.estimated
    assert answer.finished.attempts == 2


async def test_a_local_model_is_reached_through_the_injected_client(line):
    server = line.server
    detail = {"engine": "numpy", "tokens_per_second": 12.5}
    server.script(Scenario(extra={"aiki": detail}))
    made = []

    def local() -> httpx2.AsyncClient:
        async def redirect(request: httpx2.Request) -> None:
            assert request.url.host == "aiki.local"
            request.url = request.url.copy_with(host="127.0.0.1", port=server.port)

        made.append(httpx2.AsyncClient(event_hooks={"request": [redirect]}))
        return made[-1]

    provider = Provider(load(), local)
    line.provider = provider
    answer = await line.ask("local", session_id="s-1", top_k=40)
    await line.ask("local/smollm2-135m")
    await provider.aclose()
    assert answer.text == TEXT
    assert answer.finished.detail["engine"] == "numpy"
    assert answer.finished.provider == "local"
    body = server.requests[0].body
    assert (body["model"], body["session_id"], body["top_k"]) == ("local", "s-1", 40)
    assert server.requests[1].body["model"] == "smollm2-135m"
    assert len(made) == 1
    assert made[0].is_closed


async def test_a_closed_provider_works_again(line):
    await line.ask("ok")
    await line.provider.aclose()
    assert (await line.ask("ok")).text == TEXT


async def test_the_openai_organisation_is_nobody_elses_business(line, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-user")
    await line.ask("ok")
    assert "openai-organization" not in line.server.requests[0].headers


async def test_a_rate_limit_in_the_first_chunk_is_tried_again(line):
    error = b'data: {"error": {"message": "overloaded", "code": 502}}\n\n'
    line.server.script(Scenario(raw=(error,)), failing(500), Scenario())
    answer = await line.ask("ok")
    assert answer.text == TEXT
    assert answer.finished.attempts == 3
