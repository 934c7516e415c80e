"""The official client against our server, unchanged: over the socket and in-process."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from aiki_kernel.compute.native import load_best
from aiki_kernel.config import Paths
from aiki_kernel.daemon.connect import Connection

ASK: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
LONG: list[Any] = [{"role": "user", "content": "Count from one to five hundred in words."}]
# At this temperature an answer all but never comes to its end by itself.
ENDLESS: dict[str, Any] = {"model": "local", "messages": LONG, "max_tokens": 6000}
ENDLESS |= {"temperature": 2.0, "top_p": 1.0}


def client_for(connection: Connection) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url="http://aiki.local/v1",
        api_key="none",
        max_retries=0,
        http_client=connection.local_client(),
    )


@pytest.fixture
async def client(connection: Connection) -> AsyncIterator[openai.AsyncOpenAI]:
    return client_for(connection)


async def queue_of(connection: Connection) -> dict[str, Any]:
    queue: dict[str, Any] = (await connection.health())["queue"]
    return queue


async def until_idle(connection: Connection) -> None:
    while (queue := await queue_of(connection))["running"] or queue["waiting"]:
        await asyncio.sleep(0.02)


async def test_a_missing_model_is_a_404_with_the_next_step(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="aiki model pull smollm2-135m") as caught:
        await client.chat.completions.create(model="local", messages=ASK)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="did you mean smollm2-135m"):
        await client.chat.completions.create(model="smolm2-135m", messages=ASK)


@pytest.mark.slow
async def test_chat(connection: Connection, model_installed: Paths) -> None:
    client = client_for(connection)
    whole = await client.chat.completions.create(
        model="local", messages=ASK, temperature=0, max_completion_tokens=24
    )
    text = whole.choices[0].message.content
    assert text
    assert "Paris" in text
    assert whole.model == "smollm2-135m"
    assert whole.usage
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    detail = (whole.model_extra or {})["aiki"]
    assert detail["engine"] == ("mojo" if load_best("language").library is not None else "numpy")

    # The same as a stream, with text parts, and parameters that we do not know.
    parts: list[Any] = [{"type": "text", "text": "What is the capital "}]
    parts.append({"type": "text", "text": "of France?"})
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": parts}],
            temperature=0,
            max_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
            logit_bias={"5": 1},
            user="kari",
            extra_body={"top_k": 1, "session_id": "s1", "unheard_of": [1]},
        )
    ]
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == text
    assert len([piece for piece in pieces if piece]) > 3
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in ("stop", "length")
    last = chunks[-1]
    assert last.choices == []
    assert last.usage == whole.usage.model_copy(
        update={"prompt_tokens_details": last.usage and last.usage.prompt_tokens_details}
    )
    assert (last.model_extra or {})["aiki"]["reason"] in ("stop", "length")

    # Without include_usage nobody gets an empty list of choices.
    plain = [
        chunk
        async for chunk in await client.chat.completions.create(
            model="local", messages=ASK, temperature=0, max_tokens=3, stream=True
        )
    ]
    assert all(chunk.choices for chunk in plain)
    assert all(chunk.usage is None for chunk in plain)
    assert plain[-1].choices[0].finish_reason == "length"

    # Stop words as text and as a list; a seed.
    stopped = await client.chat.completions.create(
        model="local", messages=ASK, temperature=0, max_tokens=24, stop="Paris"
    )
    assert "Paris" not in (stopped.choices[0].message.content or "")
    assert stopped.choices[0].finish_reason == "stop"
    seeded = [
        (
            await client.chat.completions.create(
                model="local", messages=ASK, temperature=1.5, seed=7, max_tokens=6, stop=["#", "@"]
            )
        )
        .choices[0]
        .message.content
        for _ in range(2)
    ]
    assert seeded[0] == seeded[1]
    health = await connection.health()
    assert health["models"][0]["name"] == "smollm2-135m"


@pytest.mark.slow
async def test_a_client_that_leaves_frees_the_queue(
    connection: Connection, model_installed: Paths
) -> None:
    client = client_for(connection)
    stream = await client.chat.completions.create(**ENDLESS, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    assert (await queue_of(connection))["running"] == 1
    await stream.close()
    await until_idle(connection)

    # The same without streaming, and for one that still waits in the queue.
    parallel = (await queue_of(connection))["parallel"]
    first = [
        asyncio.create_task(client.chat.completions.create(**ENDLESS)) for _ in range(parallel)
    ]
    second = asyncio.create_task(client.chat.completions.create(**ENDLESS))
    while (await queue_of(connection))["waiting"] != 1:
        await asyncio.sleep(0.02)
    second.cancel()
    while (await queue_of(connection))["waiting"]:
        await asyncio.sleep(0.02)
    for task in first:
        task.cancel()
    await asyncio.gather(*first, second, return_exceptions=True)
    await until_idle(connection)


@pytest.mark.slow
async def test_a_full_queue_is_a_429_and_places_are_given_in_order(
    connection: Connection, model_installed: Paths
) -> None:
    client = client_for(connection)
    queue = await queue_of(connection)
    limit = queue["limit"]
    blocking = [
        await client.chat.completions.create(**ENDLESS, stream=True)
        for _ in range(queue["parallel"])
    ]
    order: list[int] = []

    async def wait_in_line(number: int) -> None:
        await client.chat.completions.create(
            model="local",
            messages=ASK,
            max_tokens=1,
            extra_body={"session_id": f"notebook {number}"},
        )
        order.append(number)

    line = []
    for number in range(limit):
        line.append(asyncio.create_task(wait_in_line(number)))
        while (await queue_of(connection))["waiting"] != number + 1:
            await asyncio.sleep(0.01)
    with pytest.raises(openai.RateLimitError, match="busy") as caught:
        await client.chat.completions.create(model="local", messages=ASK)
    assert caught.value.code == "queue_full"
    assert int(caught.value.response.headers["retry-after"]) >= 1
    await blocking[0].close()  # one place is free, which they take in turn
    await asyncio.gather(*line)
    assert order == sorted(order)
    for stream in blocking[1:]:
        await stream.close()


@pytest.mark.slow
async def test_curation_makes_room_for_a_cell_and_is_told_so(
    connection: Connection, model_installed: Paths
) -> None:
    client = client_for(connection)
    curation = await client.chat.completions.create(
        **ENDLESS, stream=True, extra_body={"session_id": "curation", "priority": "curation"}
    )
    chunks = aiter(curation)
    await anext(chunks)
    cell = await client.chat.completions.create(
        model="local", messages=ASK, max_tokens=2, extra_body={"session_id": "notebook"}
    )
    assert cell.choices[0].message.content
    with pytest.raises(openai.APIError, match="made room") as caught:
        _ = [chunk async for chunk in chunks]
    assert caught.value.code == "preempted"
    queue = await queue_of(connection)
    assert (queue["preempted"], queue["served"]) == (1, 1)
    with pytest.raises(openai.BadRequestError, match="cell or curation"):
        await client.chat.completions.create(
            model="local", messages=ASK, extra_body={"priority": "first"}
        )


@pytest.mark.slow
async def test_a_message_that_is_too_long_is_a_400(
    connection: Connection, model_installed: Paths
) -> None:
    client = client_for(connection)
    with pytest.raises(openai.BadRequestError, match="tokens"):
        await client.chat.completions.create(
            model="local", messages=[{"role": "user", "content": "word " * 20_000}]
        )


@pytest.mark.slow
def test_the_synchronous_client(model_installed: Paths, settings: Any) -> None:
    from aiki_kernel.daemon import lifecycle

    lifecycle.start(settings, model_installed)
    transport = httpx2.HTTPTransport(uds=str(model_installed.socket))
    with openai.OpenAI(
        base_url="http://aiki.local/v1",
        api_key="none",
        http_client=httpx2.Client(transport=transport),
    ) as client:
        with client.chat.completions.stream(
            model="local", messages=ASK, temperature=0, max_tokens=12
        ) as stream:
            text = stream.get_final_completion().choices[0].message.content
        assert text
        assert "Paris" in text
        assert client.models.retrieve("smollm2-135m").id == "smollm2-135m"


async def test_models_and_embeddings(client: openai.AsyncOpenAI, settings: Any) -> None:
    names = [model.id async for model in client.models.list()]
    assert names == ["local", "wordllama"]
    assert (await client.models.retrieve("wordllama")).owned_by == "aiki"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-17")
    one = await client.embeddings.create(model="local", input="hei på deg")
    many = await client.embeddings.create(
        model="wordllama", input=["hei på deg", "something else"], encoding_format="float"
    )
    assert len(many.data) == 2
    assert one.data[0].embedding == pytest.approx(many.data[0].embedding)
    assert sum(x * x for x in one.data[0].embedding) == pytest.approx(1, abs=1e-4)
    assert one.usage.prompt_tokens > 0
    raw = await client.embeddings.with_raw_response.create(
        model="local", input=["hei på deg"], encoding_format="base64"
    )
    packed = base64.b64decode(json.loads(raw.text)["data"][0]["embedding"])
    unpacked = struct.unpack(f"<{len(packed) // 4}f", packed)
    assert unpacked == pytest.approx(many.data[0].embedding)
    with pytest.raises(openai.NotFoundError, match="this memory's is wordllama"):
        await client.embeddings.create(model="text-embedding-3-small", input="x")


WRONG: dict[str, tuple[Any, str]] = {
    "no messages": ({"model": "local"}, "'messages' is missing"),
    "empty messages": ({"messages": []}, "'messages' is empty"),
    "a message that is text": ({"messages": ["hi"]}, "must be an object"),
    "an unknown role": ({"messages": [{"role": "tool", "content": ""}]}, "role must be one of"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "reads text only",
    ),
    "two answers": ({"messages": ASK, "n": 2}, "one answer a call"),
    "a hot temperature": ({"messages": ASK, "temperature": 3}, "'temperature' must be from 0 to 2"),
    "a temperature in words": ({"messages": ASK, "temperature": "warm"}, "must be a number"),
    "no tokens": ({"messages": ASK, "max_tokens": 0}, "at least 1"),
    "stop of numbers": ({"messages": ASK, "stop": [1]}, "'stop' must be text"),
    "stream in words": ({"messages": ASK, "stream": "yes"}, "true or false"),
    "a list": ([], "must be a JSON object"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_body_is_one_line_and_a_400(settings: Any, paths: Paths, name: str) -> None:
    from aiki_kernel.daemon.connect import connect

    connection = connect(settings.model_copy(update={"daemon": "off"}), paths)
    body, reason = WRONG[name]
    answer = await connection.local_client().post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert reason in error["message"]
    assert "\n" not in error["message"]
    assert error["type"] == "invalid_request_error"
    await connection.aclose()
