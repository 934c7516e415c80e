"""min-p, and log-probabilities."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

from aiki_kernel.errors import ModelError
from aiki_kernel.models.chat import ChatMessage, TextDelta
from aiki_kernel.models.local import LocalModel, log_softmax
from aiki_kernel.models.sampling import Sampler


def test_min_p_leaves_out_what_is_unlikely() -> None:
    scores = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    sampler = Sampler(temperature=1.0, min_p=0.5, seed=3)
    assert {sampler.pick(scores) for _ in range(200)} == {0, 1}
    everything = Sampler(temperature=1.0, seed=3)
    assert {everything.pick(scores) for _ in range(400)} == {0, 1, 2, 3}
    # The bar is set after the temperature, as in llama.cpp and transformers with warpers in order.
    hot = Sampler(temperature=100.0, min_p=0.9, seed=3)
    assert {hot.pick(scores) for _ in range(200)} == {0, 1, 2, 3}


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_min_p_out_of_range_is_refused(wrong: float) -> None:
    with pytest.raises(ModelError, match="min_p"):
        Sampler(min_p=wrong)


@pytest.mark.parametrize("wrong", [-1, 21])
def test_top_logprobs_out_of_range_is_refused(wrong: int) -> None:
    with pytest.raises(ModelError, match="top_logprobs"):
        Sampler(top_logprobs=wrong)


def test_logprobs_are_the_models_own(tiny: LocalModel) -> None:
    messages = [ChatMessage("user", "hello")]
    events = list(
        tiny.generate(messages, temperature=0.3, seed=8, max_tokens=6, top_logprobs=3, min_p=0.1)
    )
    found = [token for event in events if isinstance(event, TextDelta) for token in event.logprobs]
    ids = tiny.prompt_ids(messages)
    assert len(found) == events[-1].usage.output_tokens > 0
    data = [tiny.tokenizer.shown_bytes(number) for number in range(len(tiny.tokenizer))]
    state, never = tiny.engine.new_state(), threading.Event()
    for token in found:
        # The same way as the answer went: the prompt at once, then token by token.
        logs = log_softmax(tiny.engine.forward(ids, state, never))
        number = data.index(token.data)
        assert token.logprob == pytest.approx(logs[number], abs=1e-4)
        best = np.argsort(-logs)[:3]
        assert [other.data for other in token.top] == [data[place] for place in best]
        assert [other.logprob for other in token.top] == pytest.approx(logs[best], abs=1e-4)
        ids = [number]


def test_no_logprobs_unless_asked_for(tiny: LocalModel) -> None:
    events = list(tiny.generate([ChatMessage("user", "hello")], max_tokens=4, seed=1))
    assert not any(event.logprobs for event in events if isinstance(event, TextDelta))
    assert all(event.text for event in events if isinstance(event, TextDelta))
