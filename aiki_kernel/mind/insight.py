"""One insight: its JSON, how it is checked, and how it lies in the memory."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiki_kernel.memory.records import Record

KIND = "insight"

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "insight": {"type": "string"},
        "reasoning": {"type": "string"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "plan": {"type": "array", "items": {"type": "string"}},
        "applies_when": {"type": "string"},
    },
    "required": ["insight", "reasoning", "confidence", "plan", "applies_when"],
    "additionalProperties": False,
}

_TEXT: Mapping[str, Any] = {"type": "string", "minLength": 3}
_TEXTS = dict.fromkeys(("insight", "reasoning", "applies_when"), _TEXT)
STRICTER: Mapping[str, Any] = {**SCHEMA, "properties": {**SCHEMA["properties"], **_TEXTS}}
"""With texts that may not be empty, which a small model likes to leave so. Public endpoints refuse
a strict schema with lengths; this machine's engine takes them."""

_FENCED = re.compile(r"```(?:json)?\s*(\{.*\})\s*```", re.DOTALL)


def response_format(*, local: bool) -> Mapping[str, Any]:
    """What asks for an insight: OpenAI's field, with what this machine's engine can do besides."""
    schema = STRICTER if local else SCHEMA
    return {
        "type": "json_schema",
        "json_schema": {"name": "insight", "strict": True, "schema": schema},
    }


class InsightError(ValueError):
    """An answer is not an insight; the text says what is wrong with it, for its author."""


@dataclass(frozen=True)
class Insight:
    """What a smart model said. ``confidence`` is its own claim, 0..1."""

    insight: str
    reasoning: str
    confidence: float
    plan: tuple[str, ...]
    applies_when: str

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "plan": list(self.plan)}


@dataclass(frozen=True)
class Stored:
    """An insight with where it came from. ``problem`` is what its author was shown."""

    insight: Insight
    problem: str
    question: str
    model: str
    cost_usd: float | None
    context_sha256: str
    context_tokens: int
    valid_from: str
    valid_to: str
    id: str = ""

    @property
    def text(self) -> str:
        """What the memory finds it by, and what a person reads there."""
        one = self.insight
        return f"{one.insight} (Applies when: {one.applies_when}) Asked: {self.question}"

    def metadata(self) -> dict[str, Any]:
        """Everything else, flat, as the memory's payload keeps it."""
        one = self.insight
        return {
            "insight": one.insight,
            "reasoning": one.reasoning,
            "confidence": one.confidence,
            "plan": list(one.plan),
            "applies_when": one.applies_when,
            "problem": self.problem,
            "question": self.question,
            "source_model": self.model,
            "cost_usd": self.cost_usd,
            "context_sha256": self.context_sha256,
            "context_tokens": self.context_tokens,
            "valid_from": self.valid_from,
            "valid_to": self.valid_to,
        }

    def valid(self, now: datetime | None = None) -> bool:
        """Whether it may be used today."""
        try:
            ends = datetime.fromisoformat(self.valid_to)
        except ValueError:
            return False
        return (now or datetime.now(UTC)) < ends

    @classmethod
    def read(cls, record: Record) -> Stored | None:
        """An insight out of the memory; None for a record that is none, or not whole."""
        kept = record.metadata
        if record.kind != KIND:
            return None
        try:
            return cls(
                insight=check({key: kept[key] for key in SCHEMA["required"]}),
                problem=str(kept["problem"]),
                question=str(kept["question"]),
                model=str(kept["source_model"]),
                cost_usd=None if kept.get("cost_usd") is None else float(kept["cost_usd"]),
                context_sha256=str(kept["context_sha256"]),
                context_tokens=int(kept["context_tokens"]),
                valid_from=str(kept["valid_from"]),
                valid_to=str(kept["valid_to"]),
                id=record.id,
            )
        except (KeyError, TypeError, ValueError):
            return None


def parse(text: str) -> Insight:
    """The insight in an answer, bare or in a code fence. Raises :class:`InsightError`."""
    fenced = _FENCED.search(text)
    bare = fenced[1] if fenced else text.strip()
    if not bare:
        raise InsightError("the answer is empty")
    try:
        data = json.loads(bare)
    except ValueError as error:
        raise InsightError(f"it is not JSON ({error})") from None
    return check(data)


def check(data: Any) -> Insight:
    """``data`` against the schema. Raises :class:`InsightError` that names every fault."""
    if not isinstance(data, Mapping):
        raise InsightError("it is not a JSON object")
    faults = [f"{key} is missing" for key in SCHEMA["required"] if key not in data]
    faults += [f"{key} does not belong there" for key in data if key not in SCHEMA["properties"]]
    for key in ("insight", "reasoning", "applies_when"):
        if key in data and not (isinstance(data[key], str) and data[key].strip()):
            faults.append(f"{key} has to be a text")
    claim = data.get("confidence")
    number = isinstance(claim, int | float) and not isinstance(claim, bool)
    if "confidence" in data and not (number and 0 <= float(claim or 0) <= 1):
        faults.append("confidence has to be a number from 0 to 1")
    plan = data.get("plan")
    listed = isinstance(plan, list | tuple) and all(isinstance(step, str) for step in plan)
    if "plan" in data and not listed:
        faults.append("plan has to be a list of texts")
    if faults:
        raise InsightError("; ".join(faults))
    texts = {key: str(data[key]).strip() for key in ("insight", "reasoning", "applies_when")}
    return Insight(**texts, confidence=float(data["confidence"]), plan=tuple(data["plan"]))


def stored(
    insight: Insight,
    *,
    problem: str,
    question: str,
    model: str,
    cost_usd: float | None,
    tokens: int,
    days: float,
) -> Stored:
    """An insight ready to be kept, valid from now on for ``days``."""
    now = datetime.now(UTC)
    return Stored(
        insight,
        problem,
        question,
        model,
        cost_usd,
        hashlib.sha256(problem.encode("utf-8", "replace")).hexdigest(),
        tokens,
        now.isoformat(timespec="seconds"),
        (now + timedelta(days=days)).isoformat(timespec="seconds"),
    )
