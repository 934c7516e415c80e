"""When two requests are the same: the key of an answer in the response cache.

The key is a SHA-256 over everything that decides what a model answers: who is asked and where,
the messages, every parameter of sampling, the form of the answer, what is computed with, and of
a model of this machine its file. It holds nothing that could be read back. Whose request it is
(session, turn, priority, money) is not in it.

Recalled text stands between two lines with a mark that is random in each request. Two requests
that differ in nothing else are the same, so the mark is taken out before hashing.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiki_kernel.models.chat import ChatRequest

VERSION = 1

DECIDES = (
    "messages",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "max_tokens",
    "seed",
    "stop",
    "backend",
    "logprobs",
    "response_format",
)
"""Fields of a request that decide what is answered, beside the model itself."""

IRRELEVANT = (
    "model",  # what it stands for is in the key instead
    "session_id",
    "turn_id",
    "stage",
    "fallbacks",
    "named",
    "prompt_tokens",
    "priority",
    "cache",
)

_MARK = re.compile(r"\(end of ([0-9a-f]{8,64})\)")


def deterministic(request: ChatRequest) -> bool:
    """Whether the same request is to have the same answer."""
    return request.temperature == 0 or request.seed is not None


def key(request: ChatRequest, *, endpoint: str, model: str, file: str = "") -> str:
    """The key, 64 hexadecimal digits. ``endpoint`` is the address that is asked, ``model`` the
    name that it knows; ``file`` tells the states of a local model's file apart."""
    said = {name: _plain(getattr(request, name)) for name in DECIDES}
    said["messages"] = _without_marks([message.to_json() for message in request.messages])
    whole = {"version": VERSION, "endpoint": endpoint, "model": model, "file": file, **said}
    text = json.dumps(whole, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def known_fields(request: ChatRequest) -> bool:
    """Whether every field of a request is either in the key or known not to matter."""
    return {field.name for field in fields(request)} == {*DECIDES, *IRRELEVANT}


def _without_marks(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out = []
    for message in messages:
        parts = message["content"] if isinstance(message["content"], list) else []
        text = parts[0]["text"] if parts else message["content"]
        for number, mark in enumerate(dict.fromkeys(_MARK.findall(text))):
            text = text.replace(f"({mark})", f"(mark {number})")
            text = text.replace(f"(end of {mark})", f"(end of mark {number})")
        out.append({**message, "content": [text, *parts[1:]] if parts else text})
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 0 and 0.0 ask the same
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "items"):
        return {str(name): _plain(one) for name, one in value.items()}
    return getattr(value, "to_json", lambda: value)()
