"""Records that obey a schema, whatever the model says; and what is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from random_schemas import schemas

from aiki_kernel.errors import ModelError
from aiki_kernel.models.chat import ChatMessage, Finished
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.grammar import Vocabulary
from aiki_kernel.models.local import LocalModel
from aiki_kernel.models.tokenizer import Tokenizer

SCHEMAS = schemas()
ASK = [ChatMessage("user", "Invent a person and describe her as JSON.")]


@pytest.fixture(scope="module")
def tokenizer(smollm_path: Path) -> Tokenizer:
    with GGUF(smollm_path) as file:
        return Tokenizer(file)


@pytest.fixture(scope="module")
def words(tokenizer: Tokenizer) -> Vocabulary:
    return Vocabulary(tokenizer)


def walk(words: Vocabulary, schema: Any, budget: int, seed: int) -> tuple[str, bool, list[float]]:
    """A model that says anything: text, whether it came to an end, seconds a step."""
    chance = np.random.default_rng(seed)
    constraint = words.constraint(schema, budget)
    size = len(words.tokenizer)
    picked, seconds = [], []
    for _ in range(budget + 1):
        scores = chance.standard_normal(size, np.float32)
        began = time.perf_counter()
        token = int(constraint.restrict(scores).argmax())
        if token in words.tokenizer.ends:
            return words.tokenizer.decode(picked), True, seconds
        constraint.accept(token)
        seconds.append(time.perf_counter() - began)
        picked.append(token)
    return words.tokenizer.decode(picked), False, seconds


@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_any_walk_over_the_real_vocabulary_is_a_record(words: Vocabulary, number: int) -> None:
    schema = SCHEMAS[number]
    jsonschema.Draft202012Validator.check_schema(schema)
    for seed in range(6):
        text, ended, _ = walk(words, schema, 400, seed)
        assert ended, text
        jsonschema.validate(json.loads(text), schema)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_of_135m_always_gives_valid_records(smollm_path: Path) -> None:
    model = LocalModel.load(smollm_path, cache=smollm_path.parent / ".cache")
    for number, schema in enumerate(SCHEMAS):
        events = list(
            model.generate(
                ASK,
                schema=schema,
                max_tokens=72,
                temperature=0.0 if number % 2 else 1.0,
                seed=number,
                session_id="records",
            )
        )
        text = "".join(event.text for event in events[:-1])
        assert isinstance(events[-1], Finished)
        assert events[-1].reason == "stop", (schema, text)
        jsonschema.validate(json.loads(text), schema)


def test_a_record_in_a_record_without_end_comes_to_one(words: Vocabulary) -> None:
    """A model that always opens the next one is stopped in time."""
    schema = next(one for one in SCHEMAS if "$defs" in one)
    constraint, size = words.constraint(schema, 150), len(words.tokenizer)
    eager = np.zeros(size, np.float32)
    eager[[n for n in range(size) if b"{" in words.tokenizer.token_bytes(n)]] = 5
    picked: list[int] = []
    for _ in range(151):
        token = int(constraint.restrict(eager).argmax())
        if token in words.tokenizer.ends:
            break
        constraint.accept(token)
        picked.append(token)
    record = json.loads(words.tokenizer.decode(picked))
    jsonschema.validate(record, schema)
    assert record["next"]["next"]["next"]


def test_a_cut_by_max_tokens_is_called_length(tiny: LocalModel) -> None:
    schema = {"type": "object", "properties": {"a": {"const": "x" * 50}}, "required": ["a"]}
    events = list(tiny.generate(ASK, schema=schema, max_tokens=10))
    assert events[-1].reason == "length"
    assert events[-1].usage.output_tokens == 10


def test_any_object_is_an_object(tiny: LocalModel) -> None:
    events = list(tiny.generate(ASK, schema={"type": "object"}, max_tokens=40, seed=1))
    assert isinstance(json.loads("".join(event.text for event in events[:-1])), dict)
    assert events[-1].reason == "stop"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "properties": {"a": {"not": {"type": "string"}}}}, "not"),
        ({"if": {"type": "string"}, "then": {"maxLength": 2}}, "if"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "array", "contains": {"type": "string"}}, "contains"),
        ({"type": "object", "propertyNames": {"maxLength": 2}}, "propertyNames"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ({"$ref": "https://example.org/schema"}, "example.org"),
        ({"type": "text"}, "text"),
        ({"type": "string", "format": "barcode"}, "barcode"),
        ({"type": "string", "pattern": "(((("}, "schema"),
        ({"type": "string", "minLength": 9, "maxLength": 3}, "schema"),
        ({"$ref": "#"}, "itself"),
        (
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            "requires itself",
        ),
        ({"enum": ["x" * 70_000]}, "smaller"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(
    words: Vocabulary, schema: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        words.constraint(schema, 100)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_schema_nested_beyond_reason_is_refused(words: Vocabulary) -> None:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(3000):
        schema = {"anyOf": [schema]}
    with pytest.raises(ModelError):
        words.constraint(schema, 100)


@pytest.mark.alone
def test_a_step_is_cheap(words: Vocabulary) -> None:
    """Printed, not asserted to the millisecond: the machine may be busy."""
    seconds: list[float] = []
    for number, schema in enumerate(SCHEMAS):
        seconds += walk(words, schema, 200, 50 + number)[2]
    middle = float(np.median(seconds))
    late = float(np.quantile(seconds, 0.99))
    print(f"median {1e3 * middle:.2f} ms, 99th percentile {1e3 * late:.2f} ms")
    assert middle < 0.02
