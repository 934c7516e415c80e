"""One call of ``/v1/chat/completions``: its fields, checked and named as OpenAI names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from aiki_kernel.daemon.engine import Engine
from aiki_kernel.daemon.exchange import BadRequestError, take
from aiki_kernel.daemon.waiting import PRIORITIES, Priority
from aiki_kernel.errors import ModelError
from aiki_kernel.models.chat import ANY_OBJECT, MAX_TOP_LOGPROBS, ChatMessage, Finished, TextDelta

if TYPE_CHECKING:
    from aiki_kernel.models.local import LocalModel

_ROLES = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class ChatCall:
    """One checked call of ``/v1/chat/completions``."""

    model: str
    messages: tuple[ChatMessage, ...]
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    max_tokens: int
    seed: int | None
    stop: tuple[str, ...]
    session_id: str
    backend: str
    min_p: float
    top_logprobs: int | None
    schema: Mapping[str, Any] | None
    stream: bool
    include_usage: bool
    priority: Priority

    @classmethod
    def read(cls, body: Mapping[str, Any], engine: Engine) -> ChatCall:
        """Check ``body``. Raises :class:`BadRequestError` naming the field."""
        defaults = engine.settings.generation
        if take(body, "n", int, 1) != 1:
            raise BadRequestError("This model gives one answer a call: leave n at 1.", param="n")
        if body.get("tools") and body.get("tool_choice") not in (None, "none", "auto"):
            raise BadRequestError("This model cannot call tools.", param="tool_choice")
        options = take(body, "stream_options", dict, {})
        max_tokens = take(
            body, "max_completion_tokens", int, take(body, "max_tokens", int, defaults.max_tokens)
        )
        return cls(
            model=take(body, "model", str, "local"),
            messages=_messages(take(body, "messages", list)),
            temperature=_number(body, "temperature", 0.0, 2.0, defaults.temperature),
            top_p=_number(body, "top_p", 0.0, 1.0, defaults.top_p),
            top_k=int(_number(body, "top_k", 0, 1 << 20, defaults.top_k)),
            repetition_penalty=_number(body, "repetition_penalty", 1, 2, 1.0),
            max_tokens=int(_at_least_one(max_tokens)),
            seed=take(body, "seed", int, None),
            stop=_stop(body.get("stop")),
            session_id=take(body, "session_id", str, ""),
            backend=take(body, "backend", str, ""),
            min_p=_number(body, "min_p", 0.0, 1.0, defaults.min_p),
            top_logprobs=_top_logprobs(body),
            schema=_schema(take(body, "response_format", dict, None)),
            stream=take(body, "stream", bool, False),
            include_usage=take(options, "include_usage", bool, False),
            priority=_priority(take(body, "priority", str, "cell")),
        )

    def generate(self, model: LocalModel, cancelled: Event) -> Iterator[TextDelta | Finished]:
        """Run the call. What the model says about the request itself becomes a 400."""
        try:
            return model.generate(
                self.messages,
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=self.top_k,
                repetition_penalty=self.repetition_penalty,
                max_tokens=self.max_tokens,
                seed=self.seed,
                stop=self.stop,
                cancelled=cancelled,
                session_id=self.session_id,
                min_p=self.min_p,
                top_logprobs=self.top_logprobs,
                schema=self.schema,
            )
        except ModelError as error:
            error.status = error.status or 400
            raise


def _priority(name: str) -> Priority:
    for known in PRIORITIES:
        if name == known:
            return known
    raise BadRequestError("Field 'priority' must be cell or curation.", param="priority")


def _at_least_one(tokens: int) -> int:
    if tokens < 1:
        raise BadRequestError("Field 'max_tokens' must be at least 1.", param="max_tokens")
    return tokens


def _number(body: Mapping[str, Any], name: str, low: float, high: float, default: float) -> float:
    value = take(body, name, (int, float), default)
    if not low <= value <= high:
        raise BadRequestError(f"Field {name!r} must be from {low:g} to {high:g}.", param=name)
    return float(value)


def _top_logprobs(body: Mapping[str, Any]) -> int | None:
    """How many alternatives a token; None when no log-probabilities are wanted."""
    count = int(_number(body, "top_logprobs", 0, MAX_TOP_LOGPROBS, 0))
    if take(body, "logprobs", bool, False):
        return count
    if count:
        raise BadRequestError("Field 'top_logprobs' needs logprobs: true.", param="top_logprobs")
    return None


def _schema(stated: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The JSON schema of ``response_format``; None for plain text."""
    if stated is None:
        return None
    kind = stated.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return ANY_OBJECT
    if kind != "json_schema":
        raise BadRequestError(
            "Field 'response_format.type' must be text, json_object or json_schema.",
            param="response_format",
        )
    inside = stated.get("json_schema")
    schema = inside.get("schema") if isinstance(inside, dict) else None
    if not isinstance(schema, dict):
        raise BadRequestError(
            "Field 'response_format.json_schema.schema' must be an object.",
            param="response_format",
        )
    return schema


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadRequestError("Field 'stop' must be text or a list of texts.", param="stop")
    return tuple(word for word in words if word)


def _messages(items: list[Any]) -> tuple[ChatMessage, ...]:
    if not items:
        raise BadRequestError("Field 'messages' is empty.", param="messages")
    out = []
    for number, item in enumerate(items):
        where = f"messages[{number}]"
        if not isinstance(item, dict):
            raise BadRequestError(f"{where} must be an object.", param="messages")
        role = item.get("role")
        if role not in _ROLES:
            known = ", ".join(_ROLES)
            raise BadRequestError(f"{where}.role must be one of {known}.", param="messages")
        text = _text(item.get("content"), where)
        out.append(ChatMessage(_ROLES[role], text))  # type: ignore[arg-type]
    return tuple(out)


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, list):
        raise BadRequestError(f"{where}.content must be text or text parts.", param="messages")
    parts = []
    for part in content:
        if isinstance(part, str):
            parts.append(part)
        elif (
            isinstance(part, dict)
            and part.get("type") in ("text", "input_text")
            and isinstance(part.get("text"), str)
        ):
            parts.append(part["text"])
        else:
            raise BadRequestError(f"{where}.content: this model reads text only.", param="messages")
    return "".join(parts)
