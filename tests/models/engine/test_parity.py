"""The float32 reference of SmolLM2-135M-Instruct: same tokens, same probabilities."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from aiki_kernel.models.chat import ChatMessage
from aiki_kernel.models.local import LocalModel, log_softmax
from aiki_kernel.models.template import plain_text

SHARED = Path(os.environ.get("AIKI_SHARED") or Path(__file__).parents[4] / "shared")
REFERENCE = SHARED / "data" / "smollm2_reference.json"
TOLERANCE = 0.005


def rows() -> list[dict[str, Any]]:
    if not REFERENCE.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(REFERENCE.read_text("utf-8"))["rows"]
    return found


ROWS = rows()


def test_the_reference_is_there() -> None:
    if not ROWS:
        pytest.skip(f"PARITY NOT CHECKED: {REFERENCE} is absent; set AIKI_SHARED to its folder")
    assert len(ROWS) == 10


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["prompt"][:30])
def test_greedy_tokens_and_probabilities_agree(smollm: LocalModel, row: dict[str, Any]) -> None:
    messages = [ChatMessage("user", row["prompt"])]
    assert smollm.template is not None
    assert plain_text(smollm.template.render(messages)) == row["templated"]
    ids = smollm.prompt_ids(messages)
    assert ids == row["prompt_ids"]
    never, state = threading.Event(), smollm.engine.new_state()
    scores = smollm.engine.forward(ids, state, never)
    for step, (token, top) in enumerate(zip(row["tokens"], row["top5"], strict=True)):
        logs = log_softmax(scores)
        assert int(logs.argmax()) == token, f"step {step}"
        worst = max(abs(logs[number] - expected) for number, expected in top)
        assert worst < TOLERANCE, f"step {step}: off by {worst}"
        if step + 1 < len(row["tokens"]):
            scores = smollm.engine.forward([token], state, never)


@pytest.mark.skipif(not ROWS, reason="the reference file is absent; set AIKI_SHARED")
def test_generate_says_what_the_reference_says(smollm: LocalModel) -> None:
    row = ROWS[0]
    events = list(
        smollm.generate([ChatMessage("user", row["prompt"])], temperature=0, max_tokens=40)
    )
    expected = smollm.tokenizer.decode(row["tokens"])
    assert "".join(event.text for event in events[:-1]) == expected
    assert events[-1].reason == "stop"
    assert events[-1].usage.input_tokens == len(row["prompt_ids"])
