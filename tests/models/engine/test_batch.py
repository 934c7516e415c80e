"""Several threads' steps joined into one."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from aiki_kernel.models.batch import Batch, Turns
from aiki_kernel.models.chat import ChatMessage
from aiki_kernel.models.local import LocalModel


def test_who_decodes_together_shares_steps() -> None:
    sizes: list[int] = []

    def step(tokens: Any, states: Any) -> list[np.ndarray]:
        sizes.append(len(tokens))
        time.sleep(0.01)
        return [np.full(1, token, np.float32) for token in tokens]

    batch, wrong = Batch(step, 8), []

    def decode(number: int) -> None:
        state = [number]
        for token in range(20):
            if batch.decode(token + 100 * number, state)[0] != token + 100 * number:
                wrong.append(token)

    threads = [threading.Thread(target=decode, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(sizes) == 60
    assert len(sizes) < 40  # alone it would be 60


def test_an_error_reaches_everybody_and_the_next_step_works() -> None:
    def step(tokens: Any, states: Any) -> list[np.ndarray]:
        if tokens == [1]:
            raise ValueError("one")
        return [np.zeros(1, np.float32) for _ in tokens]

    batch = Batch(step, 4)
    with pytest.raises(ValueError, match="one"):
        batch.decode(1, [])
    assert batch.decode(2, []).shape == (1,)


def test_turns_are_taken_in_order() -> None:
    turns, order, threads = Turns(), [], []

    def take(number: int) -> None:
        with turns:
            order.append(number)

    with turns:
        for number in range(5):
            thread = threading.Thread(target=take, args=(number,))
            thread.start()
            threads.append(thread)
            while len(turns._queue) < number + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(5))


def test_answers_at_once_are_those_given_alone(swift: LocalModel) -> None:
    questions = ["What is the capital of France?", "What is the capital of Norway?", "Say hello."]

    def ask(question: str, session: str) -> str:
        events = swift.generate(
            [ChatMessage("user", question)], temperature=0, max_tokens=12, session_id=session
        )
        return "".join(event.text for event in events if hasattr(event, "text"))

    alone = [ask(question, f"alone {question}") for question in questions]
    found: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda q=question: found.update({q: ask(q, f"together {q}")}))
        for question in questions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Steps of several round a little differently: an answer may turn at a near tie.
    same = sum(found[question] == text for question, text in zip(questions, alone, strict=True))
    assert same >= 2
