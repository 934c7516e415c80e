"""Which requests are the same: properties of the response cache's key."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki_kernel.mind import context
from aiki_kernel.models import response_key
from aiki_kernel.models.chat import ChatMessage, ChatRequest

MESSAGES = st.lists(
    st.builds(ChatMessage, st.sampled_from(["system", "user", "assistant"]), st.text(max_size=40)),
    max_size=4,
).map(tuple)

REQUESTS = st.builds(
    ChatRequest,
    model=st.just("a/m"),
    messages=MESSAGES,
    temperature=st.sampled_from([0, 0.0, 0.5, 1.0]),
    top_p=st.sampled_from([0.9, 1.0]),
    top_k=st.integers(0, 2),
    max_tokens=st.integers(1, 3),
    seed=st.sampled_from([None, 0, 1]),
    stop=st.lists(st.sampled_from(["a", "b"]), max_size=2).map(tuple),
    response_format=st.sampled_from([None, {"type": "json_object"}, {"b": 1, "a": [1, 2]}]),
)

CHANGED: dict[str, Any] = {
    "messages": (ChatMessage("user", "another"),),
    "temperature": 0.123,
    "top_p": 0.5,
    "top_k": 77,
    "min_p": 0.3,
    "repetition_penalty": 1.7,
    "max_tokens": 999,
    "seed": 123456,
    "stop": ("stop here",),
    "backend": "numpy",
    "logprobs": True,
    "response_format": {"type": "text"},
}


def key(request: ChatRequest, **more: str) -> str:
    return response_key.key(request, **{"endpoint": "https://a/v1", "model": "m", **more})


def test_every_field_of_a_request_is_in_the_key_or_known_not_to_matter() -> None:
    """A new field of ChatRequest has to be put on one side or the other."""
    assert response_key.known_fields(ChatRequest("a/m", ()))
    assert set(CHANGED) == set(response_key.DECIDES)
    assert not set(response_key.DECIDES) & set(response_key.IRRELEVANT)


@given(REQUESTS, REQUESTS)
def test_equal_keys_mean_equal_requests(one: ChatRequest, other: ChatRequest) -> None:
    same = all(getattr(one, name) == getattr(other, name) for name in response_key.DECIDES)
    assert (key(one) == key(other)) == same


@given(REQUESTS, st.sampled_from(sorted(CHANGED)))
def test_whatever_decides_the_answer_changes_the_key(request_: ChatRequest, name: str) -> None:
    assert key(replace(request_, **{name: CHANGED[name]})) != key(request_)


@given(REQUESTS)
def test_whose_request_it_is_does_not(request_: ChatRequest) -> None:
    other = replace(
        request_,
        session_id="s",
        turn_id="t",
        stage="cascade",
        fallbacks=("b/x",),
        named=False,
        prompt_tokens=5,
        priority="curation",
        cache=True,
    )
    assert key(other) == key(request_)


@given(REQUESTS)
def test_who_is_asked_and_the_state_of_a_file_do(request_: ChatRequest) -> None:
    keys = {
        key(request_),
        key(request_, endpoint="https://b/v1"),
        key(request_, model="n"),
        key(request_, file="m:1:2"),
        key(request_, file="m:1:3"),
    }
    assert len(keys) == 5


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_moves_from_one_message_into_another(one: str, other: str) -> None:
    joined = ChatRequest("a/m", (ChatMessage("user", one + other),))
    apart = ChatRequest("a/m", (ChatMessage("user", one), ChatMessage("user", other)))
    assert key(joined) != key(apart)


def test_the_random_marks_of_a_fence_do_not_count_and_its_text_does() -> None:
    def asked(note: str) -> ChatRequest:
        fence = context.fence([_hit(note)])
        return ChatRequest("a/m", (ChatMessage("user", f"{fence}\n\nQuestion: why?"),))

    assert asked("rain").messages != asked("rain").messages
    assert key(asked("rain")) == key(asked("rain"))
    assert key(asked("rain")) != key(asked("sun"))


def _hit(text: str) -> Any:
    from aiki_kernel.memory.records import Hit, Record

    when = "2026-01-01T00:00:00+00:00"
    return Hit(Record("i", text, "kari", "h", when, when), 1.0)


@pytest.mark.parametrize(
    ("temperature", "seed", "same"),
    [(0, None, True), (0.0, None, True), (0.7, None, False), (0.7, 0, True), (0.7, 5, True)],
)
def test_what_is_deterministic(temperature: float, seed: int | None, same: bool) -> None:
    request = ChatRequest("a/m", (), temperature=temperature, seed=seed)
    assert response_key.deterministic(request) is same


def test_the_key_has_a_version_and_shows_nothing() -> None:
    request = ChatRequest("a/m", (ChatMessage("user", "a secret of mine"),))
    before = key(request)
    assert len(before) == 64
    assert set(before) <= set("0123456789abcdef")
    assert len(fields(request)) == len(response_key.DECIDES) + len(response_key.IRRELEVANT)
