"""What one model does not take, learnt from the 400 that says so.

Newer OpenAI models want ``max_completion_tokens`` and refuse ``temperature``; some servers
refuse ``stream_options``. A refusal that names one of our parameters is answered by asking
once more without it; the lesson holds for the life of the provider.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiki_kernel.models import ability
from aiki_kernel.models.refusals import said_by, status_of

if TYPE_CHECKING:
    from aiki_kernel.models.catalogue import ModelRef
    from aiki_kernel.models.chat import ChatMessage, ChatRequest

_OPTIONAL = (
    "stream_options",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "logprobs",
    "response_format",
)
_ABOUT_IMAGES = re.compile(
    r"image|vision|multi-?modal|content.{0,40}(?:string|text|list|array)", re.IGNORECASE
)
_LIMIT = "max_tokens"
_NEW_LIMIT = "max_completion_tokens"


@dataclass
class Quirks:
    """``left_out`` are parameters not sent; ``limit`` is the name of the token limit;
    ``blind`` says that images go as words."""

    left_out: set[str] = field(default_factory=set)
    limit: str = _LIMIT
    blind: bool = False

    def learn(self, error: BaseException, request: ChatRequest | None = None) -> str:
        """What was learnt from ``error``, as the end of a sentence; "" when nothing was new.

        ``request`` is what was refused: only one with images can be refused for them.
        """
        if status_of(error) not in (400, 422):
            return ""
        param = str(getattr(error, "param", None) or "")
        said = said_by(error)
        if self._named(_LIMIT, param, said) or self._named(_NEW_LIMIT, param, said):
            return self._other_limit(said)
        for name in _OPTIONAL:
            if name not in self.left_out and self._named(name, param, said):
                self.left_out.add(name)
                return f"does not take {name}: left out"
        if request is not None and not self.blind and ability.has_images(request.messages):
            self.blind = _ABOUT_IMAGES.search(f"{param} {said}") is not None
            if self.blind:
                return "does not take images: what is known of them was sent in words"
        return ""

    def body(self, request: ChatRequest, ref: ModelRef) -> dict[str, Any]:
        """The arguments of ``chat.completions.create`` for ``request``."""
        # The messages take the place of the empty list as they are. Given as an argument, openai
        # holds each against its types first: 15 ms for a hundred, in every long notebook.
        extra: dict[str, Any] = {
            "messages": [message.to_json() for message in self._messages(request)]
        }
        body: dict[str, Any] = {
            "model": ref.model,
            "messages": [],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": request.temperature,
            "top_p": request.top_p,
            self.limit: request.max_tokens,
        }
        if request.seed is not None:
            body["seed"] = request.seed
        if request.stop:
            body["stop"] = list(request.stop)
        if request.logprobs:
            body["logprobs"] = True
        if request.response_format is not None:
            body["response_format"] = dict(request.response_format)
        for name in self.left_out:
            body.pop(name, None)
        if ref.local:
            extra |= {
                "session_id": request.session_id,
                "top_k": request.top_k,
                "min_p": request.min_p,
                "repetition_penalty": request.repetition_penalty,
                "backend": request.backend,
                "priority": request.priority,
            }
        return {**body, "extra_body": extra}

    def _messages(self, request: ChatRequest) -> tuple[ChatMessage, ...]:
        blind = self.blind and ability.has_images(request.messages)
        return ability.in_words(request.messages) if blind else request.messages

    def _other_limit(self, said: str) -> str:
        """Change the name of the limit, once, when the complaint is about the name."""
        about_name = re.search(
            r"unsupported|unknown|unrecogni|not (?:supported|permitted)|extra|"
            rf"{_NEW_LIMIT}",
            said,
            re.IGNORECASE,
        )
        if self.limit != _LIMIT or not about_name:
            return ""
        self.limit = _NEW_LIMIT
        return f"wants {_NEW_LIMIT}"

    @staticmethod
    def _named(name: str, param: str, said: str) -> bool:
        """Whether the refusal is about ``name``: by its field, else by its words."""
        if param:
            return param.partition(".")[0] == name
        return re.search(rf"(?<![\w-]){name}(?![\w-])", said) is not None
