"""``response_format`` and ``logprobs`` through the official client, on a generated BitNet."""

from __future__ import annotations

import json
import math
from typing import Any

import jsonschema
import openai
import pytest

from aiki_kernel.config import Paths
from aiki_kernel.daemon.connect import Connection
from aiki_kernel.models.bitnet_sample import TINY, write_bitnet

ASK: list[Any] = [{"role": "user", "content": "the and"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "tags": {"type": "array", "items": {"enum": ["ø", "b"]}, "minItems": 1, "maxItems": 3},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "tags", "age"],
    "additionalProperties": False,
}


@pytest.fixture
def client(connection: Connection, paths: Paths) -> openai.AsyncOpenAI:
    paths.models.mkdir(parents=True, exist_ok=True)
    write_bitnet(paths.models / "tiny-bitnet.gguf", TINY)
    return openai.AsyncOpenAI(
        base_url="http://aiki.local/v1",
        api_key="none",
        max_retries=0,
        http_client=connection.local_client(),
    )


def asked(schema: Any) -> Any:
    inside = {"name": "record", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": inside}


async def test_a_record_whole_and_streamed(client: openai.AsyncOpenAI) -> None:
    common: dict[str, Any] = {"model": "local/tiny-bitnet", "messages": ASK, "seed": 4}
    common |= {"temperature": 1.0, "max_tokens": 120, "response_format": asked(SCHEMA)}
    whole = await client.chat.completions.create(**common)
    text = whole.choices[0].message.content
    assert text
    jsonschema.validate(json.loads(text), SCHEMA)
    assert whole.choices[0].finish_reason == "stop"
    stream = await client.chat.completions.create(**common, stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == text
    cut = await client.chat.completions.create(**{**common, "max_tokens": 5})
    assert cut.choices[0].finish_reason == "length"


async def test_any_object(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(
        model="local/tiny-bitnet",
        messages=ASK,
        max_tokens=50,
        seed=1,
        response_format={"type": "json_object"},
    )
    assert isinstance(json.loads(whole.choices[0].message.content or ""), dict)


async def test_what_cannot_be_followed_is_a_bad_request(client: openai.AsyncOpenAI) -> None:
    for wanted, said in (
        (asked({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (asked({"$ref": "#"}), "requires itself"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "schema"),
        ({"type": "xml"}, "response_format"),
    ):
        with pytest.raises(openai.BadRequestError, match=said) as caught:
            await client.chat.completions.create(
                model="local/tiny-bitnet", messages=ASK, response_format=wanted
            )
        assert "\n" not in caught.value.body["message"]  # type: ignore[index]


async def test_logprobs(client: openai.AsyncOpenAI) -> None:
    common: dict[str, Any] = {"model": "local/tiny-bitnet", "messages": ASK, "seed": 4}
    common |= {"temperature": 0, "max_tokens": 5, "logprobs": True, "top_logprobs": 2}
    whole = await client.chat.completions.create(**common)
    logprobs = whole.choices[0].logprobs
    assert logprobs
    assert logprobs.content
    assert whole.usage
    assert len(logprobs.content) == whole.usage.completion_tokens
    for token in logprobs.content:
        assert len(token.top_logprobs) == 2
        assert token.logprob == token.top_logprobs[0].logprob  # greedy
        assert 0 < math.exp(token.logprob) <= 1
        assert token.bytes is not None
    data = b"".join(bytes(token.bytes or []) for token in logprobs.content)
    assert data.decode("utf-8", "replace").startswith(whole.choices[0].message.content or "\0")
    stream = await client.chat.completions.create(**common, stream=True)
    streamed = []
    async for chunk in stream:
        for choice in chunk.choices:
            if choice.logprobs:
                streamed += choice.logprobs.content or []
    assert streamed == logprobs.content
    plain = await client.chat.completions.create(
        model="local/tiny-bitnet", messages=ASK, max_tokens=2
    )
    assert plain.choices[0].logprobs is None
    with pytest.raises(openai.BadRequestError, match="top_logprobs"):
        await client.chat.completions.create(
            model="local/tiny-bitnet", messages=ASK, top_logprobs=2
        )


async def test_the_session_says_what_computes(client: openai.AsyncOpenAI) -> None:
    common: dict[str, Any] = {"model": "local/tiny-bitnet", "messages": ASK, "max_tokens": 2}
    slow = await client.chat.completions.create(**common, extra_body={"backend": "numpy"})
    assert (slow.model_extra or {})["aiki"]["engine"] == "numpy"
    any_ = await client.chat.completions.create(**common, extra_body={"backend": "qdrant"})
    assert (any_.model_extra or {})["aiki"]["engine"] in ("numpy", "mojo")
