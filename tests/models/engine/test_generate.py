"""Answers: sampling, sessions, cancelling, limits."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiki_kernel.errors import ModelError
from aiki_kernel.models.chat import ChatMessage, Finished
from aiki_kernel.models.engine import CancelledError
from aiki_kernel.models.local import LocalModel
from aiki_kernel.models.sampling import Sampler
from aiki_kernel.models.sessions import Sessions

HELLO = [ChatMessage("user", "hello")]


def answer(model: LocalModel, messages: Sequence[ChatMessage], **how: Any) -> tuple[str, Finished]:
    *pieces, last = model.generate(messages, **how)
    assert isinstance(last, Finished)
    return "".join(piece.text for piece in pieces), last


def test_chunks_and_single_tokens_score_alike(tiny: LocalModel) -> None:
    ids = np.random.default_rng(3).integers(3, 250, 60).tolist()
    whole = tiny.logprobs(ids)
    never, state = threading.Event(), tiny.engine.new_state()
    for number in ids:
        scores = tiny.engine.forward([number], state, never)
    # The kernels round activations of few and of many tokens a little differently.
    close = 2e-4 if tiny.engine_name == "numpy" else 5e-3
    np.testing.assert_allclose(scores - scores.max(), whole - whole.max(), atol=close)


def test_a_long_prompt_in_chunks_scores_as_it_does_whole(
    smollm: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = smollm.tokenizer.encode("The tide comes in and the tide goes out again. " * 14)
    whole = smollm.logprobs(ids)
    monkeypatch.setattr("aiki_kernel.models.decoder.PREFILL_CHUNK", 50)
    np.testing.assert_allclose(smollm.logprobs(ids), whole, atol=2e-3)


def test_finished_tells_what_happened(tiny: LocalModel) -> None:
    _, last = answer(tiny, HELLO, max_tokens=5, temperature=0, session_id="facts")
    assert (last.reason, last.model, last.provider) in {
        ("length", "tiny", "local"),
        ("stop", "tiny", "local"),
    }
    assert last.detail["engine"] == tiny.engine_name
    assert last.detail["prompt_tokens"] == last.usage.input_tokens > 0
    assert last.detail["prefill_s"] > 0


def test_a_seed_gives_the_same_answer_again(tiny: LocalModel) -> None:
    how = {"temperature": 1.2, "top_p": 0.9, "top_k": 40, "max_tokens": 20}
    first, _ = answer(tiny, HELLO, seed=4, **how)
    again, _ = answer(tiny, HELLO, seed=4, **how)
    other, _ = answer(tiny, HELLO, seed=5, **how)
    assert first == again != other


def test_max_tokens_is_kept(tiny: LocalModel) -> None:
    _, last = answer(tiny, HELLO, max_tokens=3, temperature=1, seed=1)
    assert last.usage.output_tokens <= 3


def test_the_context_is_never_cut_in_silence(tiny: LocalModel) -> None:
    with pytest.raises(ModelError, match="shorten it"):
        tiny.generate([ChatMessage("user", "x" * 200)])
    _, last = answer(tiny, [ChatMessage("user", "x" * 40)], temperature=1.5, seed=2)
    total = last.usage.input_tokens + last.usage.output_tokens
    assert total <= tiny.context_length
    assert last.reason in ("length", "stop")


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_k": -1},
     {"max_tokens": 0}],
)  # fmt: skip
def test_wrong_numbers_are_refused_before_the_first_piece(
    tiny: LocalModel, wrong: dict[str, float]
) -> None:
    with pytest.raises(ModelError, match=next(iter(wrong))):
        tiny.generate(HELLO, **wrong)  # type: ignore[arg-type]


def test_unknown_roles_and_empty_conversations_are_refused(tiny: LocalModel) -> None:
    with pytest.raises(ModelError, match="no message"):
        tiny.generate([])
    with pytest.raises(ModelError, match="role"):
        tiny.generate([ChatMessage("<|im_end|>", "x")])  # type: ignore[arg-type]


def test_the_next_turn_reuses_the_prefix(smollm: LocalModel) -> None:
    smollm.sessions.clear()
    turn = [ChatMessage("user", "Who wrote Hamlet?")]
    text, first = answer(smollm, turn, temperature=0, max_tokens=8, session_id="one")
    assert first.usage.cached_tokens == 0
    longer = [*turn, ChatMessage("assistant", text), ChatMessage("user", "When?")]
    reused, second = answer(smollm, longer, temperature=0, max_tokens=8, session_id="one")
    assert second.usage.cached_tokens >= first.usage.input_tokens
    smollm.sessions.clear()
    fresh, third = answer(smollm, longer, temperature=0, max_tokens=8, session_id="two")
    assert third.usage.cached_tokens == 0
    assert fresh == reused


def test_another_session_copies_the_system_prompt(smollm: LocalModel) -> None:
    smollm.sessions.clear()
    system = ChatMessage("system", "You answer in one word, and that word is always polite.")
    answer(smollm, [system, ChatMessage("user", "Hi")], max_tokens=1, session_id="a")
    _, last = answer(smollm, [system, ChatMessage("user", "Why?")], max_tokens=1, session_id="b")
    assert last.detail["reused_tokens"] >= 10
    assert len(smollm.sessions) == 2


def test_sessions_are_bounded(tiny: LocalModel) -> None:
    sessions = Sessions(max_sessions=3)
    for name in "abcdef":
        session = sessions.take(name, [5, 6, 7], tiny.engine.new_state)
        tiny.engine.forward([5, 6, 7], session.state, threading.Event())
        sessions.give_back(name, session)
    assert len(sessions) == 3
    small = Sessions(max_bytes=1)
    small.give_back("a", small.take("a", [5, 6], tiny.engine.new_state))
    assert len(small) == 0


def test_cancelled_while_answering(smollm: LocalModel) -> None:
    cancelled = threading.Event()
    pieces, last = 0, None
    for event in smollm.generate(
        [ChatMessage("user", "Count from one to one hundred.")],
        temperature=0, max_tokens=200, cancelled=cancelled, session_id="stop",
    ):  # fmt: skip
        if isinstance(event, Finished):
            last = event
        else:
            assert not cancelled.is_set(), "a token after the cancellation"
            pieces += 1
            if pieces == 3:
                cancelled.set()
    assert last is not None
    assert last.reason == "cancelled"
    assert last.usage.output_tokens <= 4


def test_cancelled_before_the_first_token(smollm: LocalModel) -> None:
    cancelled = threading.Event()
    cancelled.set()
    events = list(smollm.generate(HELLO, cancelled=cancelled, session_id="early"))
    assert [event.reason for event in events if isinstance(event, Finished)] == ["cancelled"]
    assert len(events) == 1


def test_a_long_prompt_is_left_within_a_layer(smollm: LocalModel) -> None:
    """No timing: after the event, not one more layer is begun."""
    seen = []

    class Counting(threading.Event):
        def is_set(self) -> bool:
            seen.append(None)
            return len(seen) > 40

    state = smollm.engine.new_state()
    with pytest.raises(CancelledError):
        smollm.engine.forward(list(range(100, 500)), state, Counting())
    assert len(seen) == 41  # once a layer, of which there are 30 a chunk
    assert state.length == 128  # the chunk that was finished stays useful


def test_an_abandoned_answer_gives_its_state_back(tiny: LocalModel) -> None:
    tiny.sessions.clear()
    stream = tiny.generate(HELLO, temperature=2, seed=3, max_tokens=30, session_id="left")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(tiny.sessions) == 1
    _, last = answer(tiny, HELLO, max_tokens=1, session_id="left")
    assert last.usage.cached_tokens > 0


def test_two_threads_at_once_answer_as_one_does(tiny: LocalModel) -> None:
    def ask(number: int) -> str:
        messages = [ChatMessage("user", f"hello {number}")]
        return answer(tiny, messages, temperature=0, max_tokens=20, session_id="same")[0]

    alone = [ask(number) for number in range(4)]
    together: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda n=n: together.__setitem__(n, ask(n))) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(4)] == alone


SCORES = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"temperature": 1}, [0.5, 0.25, 0.15, 0.1]),
        ({"temperature": 0}, [1, 0, 0, 0]),
        ({"temperature": 1, "top_k": 1}, [1, 0, 0, 0]),
        ({"temperature": 1, "top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"temperature": 1, "top_p": 0.7}, [2 / 3, 1 / 3, 0, 0]),
        ({"temperature": 1, "top_k": 3, "top_p": 0.6}, [2 / 3, 1 / 3, 0, 0]),
        ({"temperature": 0.5}, [0.7246, 0.1812, 0.0652, 0.029]),
        ({"temperature": 1e-9}, [1, 0, 0, 0]),
    ],
)
def test_sampled_shares(how: dict[str, float], expected: list[float]) -> None:
    sampler = Sampler(seed=11, **how)  # type: ignore[arg-type]
    counts = np.bincount([sampler.pick(SCORES) for _ in range(8000)], minlength=4) / 8000
    np.testing.assert_allclose(counts, expected, atol=0.02)


def test_scores_without_sense_are_an_error() -> None:
    with pytest.raises(ModelError, match="scores"):
        Sampler().pick(np.array([np.nan, 1], np.float32))


def test_loading_needs_no_writable_cache(tiny_path: Path) -> None:
    model = LocalModel.load(tiny_path, cache=Path("/proc/nowhere"))
    assert len(model.sha256) == 64
    with pytest.raises(ModelError, match="engine"):
        LocalModel.load(tiny_path, cache=Path("/proc/nowhere"), engine="abacus")


def test_the_repetition_penalty_looks_at_the_answer_and_only_at_it() -> None:
    scores = np.array([1.0, 0.95, -1.0], np.float32)
    plain = Sampler(temperature=0)
    assert [plain.pick(scores) for _ in range(3)] == [0, 0, 0]
    careful = Sampler(temperature=0, repetition_penalty=1.1)
    assert [careful.pick(scores) for _ in range(3)] == [0, 1, 0]
    assert scores.tolist() == pytest.approx([1.0, 0.95, -1.0])
    with pytest.raises(ModelError, match="repetition_penalty"):
        Sampler(repetition_penalty=0.5)
