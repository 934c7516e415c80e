"""What the scripted server answers one request with: data only, see ``fault_server``.

What a request gets is chosen by, first, the queue (``FaultServer.script``), then the
model's name, read by :func:`scenario_for`:

=================  ==================================================================
model              answer
=================  ==================================================================
``ok`` and others  the text, streamed word by word, with usage
``echo``           the last user message, word by word
``no-usage``       the text without a usage chunk
``slow``           50 tokens, 0.1 s before each
``503``            that status, always
``429x2``          that status for the first two requests, then ``ok``
``stall-headers``  nothing at all until the client goes away
``stall-first``    headers and a role chunk, then nothing
``stall-between``  three tokens, then nothing
``cut``            three tokens, then a TCP reset
``cut-quiet``      three tokens, then an orderly end without finish_reason or [DONE]
``garbage``        three tokens, then a chunk that is not JSON
``reasoning``      null deltas and reasoning deltas before the text
``picky``          refuses max_tokens and temperature as newer OpenAI models do
=================  ==================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

TEXT = "The quick brown fox jumps over the lazy dog and runs home."


@dataclass(frozen=True)
class Scenario:
    """What one request is answered with. Seconds are seconds; ``cut_after`` counts tokens."""

    text: str = TEXT
    delay_s: float = 0.0
    first_delay_s: float = 0.0
    headers_delay_s: float = 0.0
    status: int = 200
    message: str = ""
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stall: Literal["", "headers", "first", "between"] = ""
    cut: Literal["", "reset", "quiet", "before"] = ""
    cut_after: int = 3
    garbage: bytes = b""
    raw: Sequence[bytes] = ()
    echo: bool = False
    reasoning: Sequence[str] = ()
    usage: bool = True
    cached_tokens: int = 0
    finish_reason: str | None = "stop"
    done: bool = True
    logprob: float | None = None
    refuses: Sequence[str] = ()
    pieces: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def tokens(self, body: Mapping[str, Any]) -> list[str]:
        """``pieces``, or the words of the answer, each with the space before it."""
        if self.pieces:
            return list(self.pieces)
        text = self.text
        if self.echo:
            said = [m["content"] for m in body.get("messages", []) if m.get("role") == "user"]
            text = said[-1] if said else ""
        return re.findall(r"\s*\S+\s*$|\s*\S+", text)


BY_NAME: dict[str, Scenario] = {
    "echo": Scenario(echo=True),
    "no-usage": Scenario(usage=False),
    "slow": Scenario(text=" ".join(f"word{n}" for n in range(50)), delay_s=0.1),
    "stall-headers": Scenario(stall="headers"),
    "stall-first": Scenario(stall="first"),
    "stall-between": Scenario(stall="between"),
    "cut": Scenario(cut="reset"),
    "cut-quiet": Scenario(cut="quiet"),
    "garbage": Scenario(garbage=b"data: {not json\n\n"),
    "reasoning": Scenario(reasoning=("let me ", "think")),
    "picky": Scenario(refuses=("max_tokens", "temperature")),
}


def failing(status: int, *, message: str = "", **more: Any) -> Scenario:
    """An error answer in OpenAI's shape; ``headers={"Retry-After": "1"}`` may go with it."""
    return Scenario(status=status, message=message or f"scripted {status}", **more)


def scenario_for(model: str, seen: int) -> Scenario:
    """The scenario that a model's name asks for; ``seen`` requests came for it before."""
    match = re.fullmatch(r"(\d{3})(?:x(\d+))?", model)
    if match:
        times = int(match[2]) if match[2] else None
        return failing(int(match[1])) if times is None or seen < times else Scenario()
    return BY_NAME.get(model, Scenario())


def counts(scenario: Scenario, body: Mapping[str, Any]) -> dict[str, Any]:
    """The usage of an answer: words stand for tokens."""
    prompt = sum(len(str(m.get("content", "")).split()) for m in body.get("messages", []))
    answer = len(scenario.tokens(body)) + len(scenario.reasoning)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": scenario.cached_tokens},
    }


def whole_answer(scenario: Scenario, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request that does not stream."""
    message = {"role": "assistant", "content": "".join(scenario.tokens(body))}
    answer: dict[str, Any] = {
        "id": "chatcmpl-fault",
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": scenario.finish_reason}],
        **scenario.extra,
    }
    if scenario.usage:
        answer["usage"] = counts(scenario, body)
    return answer
