"""Greedy answers of every compiled variant that this CPU runs, against the NumPy engine's.

The NumPy engine answers greedily once; a variant reads the same prompt and the same answer, token
by token. Wherever it would have gone on with another token, float32 must have had its first two
nearer together than :data:`NEAR_TIE`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiki_kernel.compute import native
from aiki_kernel.models import mojo_engine
from aiki_kernel.models.bitnet import BitNet
from aiki_kernel.models.bitnet_sample import TINY, write_bitnet
from aiki_kernel.models.chat import ChatMessage
from aiki_kernel.models.engine import LanguageModel
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.local import LocalModel, log_softmax
from aiki_kernel.models.mojo_engine import MojoModel

NEVER = threading.Event()
NEAR_TIE = 0.05  # difference of log-probabilities below which either token may win
TEXT = "The tide comes in, the tide goes out; Harald watches from Bergen and counts the boats."
QUESTIONS = (
    "Write a sentence about the sea.",
    "Name three colours of the rainbow.",
    "Skriv en setning om havet.",
)
ANSWER = 32  # tokens
THREADS = min(2, len(os.sched_getaffinity(0)))
# At most so far from float32, in nats: the mean, and the worst position.
SMOLLM_KL, BITNET_KL = (0.0005, 0.005), (0.0004, 0.0012)
SPREAD = 17.0  # standard deviation of the sample's scores

Logs = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Answer:
    """A prompt, and the tokens after it that float32 found likeliest, with what it knew then."""

    prompt: Sequence[int]
    tokens: Sequence[int]
    logs: Sequence[Logs]  # before each token


def answered(model: LanguageModel, prompt: Sequence[int], forced: Sequence[int] = ()) -> Answer:
    """What ``model`` answers greedily, or makes of the answer that it is ``forced`` to give."""
    state, tokens, logs = model.new_state(), list[int](), list[Logs]()
    ids = list(prompt)
    for step in range(len(forced) or ANSWER):
        logs.append(log_softmax(model.forward(ids, state, NEVER).astype(np.float64)))
        ids = [forced[step] if forced else int(logs[-1].argmax())]
        tokens += ids
    return Answer(prompt, tokens, logs)


def read(model: LanguageModel, ids: Sequence[int], single: int) -> list[Logs]:
    """What it knows after a text and after each of its last ``single`` tokens."""
    head, tail = list(ids[: len(ids) - single]), list(ids[len(ids) - single :])
    return answered(model, head, [*tail, 0]).logs


def divergences(expected: Sequence[Logs], found: Sequence[Logs]) -> list[float]:
    """Kullback-Leibler at each position, in nats."""
    return [float((np.exp(p) * (p - q)).sum()) for p, q in zip(expected, found, strict=True)]


def same_answer(expected: Answer, found: Answer) -> None:
    for step, (token, p, q) in enumerate(
        zip(expected.tokens, expected.logs, found.logs, strict=True)
    ):
        second, first = np.partition(p, -2)[-2:]
        assert int(q.argmax()) == token or first - second < NEAR_TIE, f"step {step}"


def near(divergent: Sequence[float], most: tuple[float, float]) -> None:
    mean, worst = most
    assert np.mean(divergent) < mean
    assert max(divergent) < worst


@pytest.fixture(params=list(native.VARIANTS))
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a variant, which is the one that models get until the test ends."""
    name: str = request.param
    if name not in native.runnable("language"):
        pytest.skip(f"{name} WAS NOT CHECKED: it is not built, or this CPU does not run it")
    library = native.load_library("language", name)
    forced = native.Loaded(library, name, "by the test")
    monkeypatch.setattr(mojo_engine, "load_best", lambda part: forced)
    return name


Loader = Callable[[Path], MojoModel]


@pytest.fixture
def load(variant: str) -> Loader:
    """Loads a file into an engine on the kernels of ``variant``."""

    def loaded(path: Path) -> MojoModel:
        with GGUF(path) as file:
            model = MojoModel(file, threads=THREADS)
        assert model.variant == variant
        return model

    return loaded


@pytest.fixture(scope="module")
def smollm_answers(smollm: LocalModel) -> list[Answer]:
    prompts = (smollm.prompt_ids([ChatMessage("user", question)]) for question in QUESTIONS)
    return [answered(smollm.engine, prompt) for prompt in prompts]


@pytest.fixture(scope="module")
def smollm_reading(smollm: LocalModel) -> tuple[list[int], list[Logs]]:
    ids = smollm.tokenizer.encode(TEXT)
    return ids, read(smollm.engine, ids, 6)


@pytest.mark.slow
def test_smollm_answers_as_numpy_does(
    load: Loader,
    smollm_path: Path,
    smollm_answers: list[Answer],
    smollm_reading: tuple[list[int], list[Logs]],
) -> None:
    model, kl = load(smollm_path), []
    for expected in smollm_answers:
        found = answered(model, expected.prompt, expected.tokens)
        same_answer(expected, found)
        kl += divergences(expected.logs, found.logs)
    near(kl, SMOLLM_KL)
    ids, logs = smollm_reading
    near(divergences(logs, read(model, ids, 6)), SMOLLM_KL)


@pytest.mark.parametrize("kind", ["TQ1_0", "TQ2_0", "I2_S"])
def test_bitnet_answers_as_numpy_does(load: Loader, kind: str, tmp_path: Path) -> None:
    """Random weights make a model that is sure to repeat itself, so the answers say little. With
    its scores divided by their spread, no token is left out of what is compared.
    """
    path = write_bitnet(tmp_path / "bit.gguf", TINY, ternary=kind)
    model = load(path)
    with GGUF(path) as file:
        judge = BitNet(file)
        for length in (1, 7, 60):
            prompt = np.random.default_rng(length).integers(0, 256, length).tolist()
            expected = answered(judge, prompt)
            same_answer(expected, answered(model, prompt, expected.tokens))
        ids = list(TEXT.encode())
        logs = read(judge, ids, 24), read(model, ids, 24)
        flat = [[log_softmax(scores / SPREAD) for scores in found] for found in logs]
        near(divergences(*flat), BITNET_KL)
