"""What travels between the loop and a model: plain frozen data, no client behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from aiki_kernel.models.image import Image

Role = Literal["system", "user", "assistant"]

MAX_TOP_LOGPROBS = 20
"""As many alternatives a token can be asked for, as in OpenAI's interface."""

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
"""The JSON schema behind ``response_format`` ``json_object``."""


@dataclass(frozen=True)
class ChatMessage:
    """One message of a conversation, with the ``images`` that go beside its text."""

    role: Role
    content: str
    images: tuple[Image, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As OpenAI's interface takes it: plain text, or a list of parts where there are images."""
        if not self.images:
            return {"role": self.role, "content": self.content}
        parts = [{"type": "image_url", "image_url": {"url": one.url}} for one in self.images]
        return {"role": self.role, "content": [{"type": "text", "text": self.content}, *parts]}

    @property
    def image_tokens(self) -> int:
        """What its images count as, about."""
        return sum(image.tokens for image in self.images)


@dataclass(frozen=True)
class ChatRequest:
    """One generation. ``model`` is a name of the catalogue: ``local`` or ``endpoint/model``.

    ``fallbacks`` are names to go on to when it fails before its first token; ``named`` says
    that the user chose this very model, so that a missing key is an error and not a reason
    to ask another. ``turn_id`` and ``stage`` say for what the call is made, for budgets;
    ``prompt_tokens`` is an estimate that was made already, 0 for none. ``backend`` is what
    this session computes with (``compute.backend``); it concerns models of this machine alone.
    ``logprobs`` asks for the mean log-probability of the answer
    (``Finished.detail["mean_logprob"]``, where the endpoint gives it); ``response_format`` is
    OpenAI's field of that name. ``priority`` ("cell" or "curation") is the place in the queue of
    this machine's models. ``cache`` says whether the response cache may answer; None leaves
    that to the settings.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int = 1024
    seed: int | None = None
    stop: tuple[str, ...] = ()
    session_id: str = ""
    backend: str = ""
    turn_id: str = ""
    stage: str = "generate"
    fallbacks: tuple[str, ...] = ()
    named: bool = True
    prompt_tokens: int = 0
    logprobs: bool = False
    response_format: Mapping[str, Any] | None = None
    priority: str = "cell"
    cache: bool | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens of one call. ``estimated`` when the provider gave none and we counted ourselves.

    ``input_tokens`` includes those read from and those written to the provider's cache.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    cache_write_tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        """A plain dict of all fields."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "estimated": self.estimated,
        }


@dataclass(frozen=True)
class TokenLogprob:
    """One token of an answer: its bytes, its log-probability (natural log), and the likeliest."""

    data: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class TextDelta:
    """A piece of the answer; with the tokens it took, where their probabilities were asked for.

    ``text`` may be empty then: half a character, or what may become a stop.
    """

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Finished:
    """The end of a generation. ``model`` is the name that the provider says it used.

    ``detail`` carries what a provider tells beyond the protocol (our own engine: its name,
    tokens per second, prefill seconds, reused prefix).
    """

    reason: str
    usage: Usage
    model: str
    provider: str
    attempts: int = 1
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Hop:
    """A model that could not answer, and the one that is asked instead.

    ``why`` ends a sentence that begins with the model's name; ``note`` is that sentence.
    """

    model: str
    to: str
    why: str

    @property
    def note(self) -> str:
        """One line for the user."""
        return f"{self.model} {self.why}: {self.to} was asked instead."

    def to_json(self) -> dict[str, str]:
        """A plain dict of all fields."""
        return {"model": self.model, "to": self.to, "why": self.why}


ModelEvent = TextDelta | Finished | Hop


class ModelPort(Protocol):
    """The way to any model. Closing the iterator closes the connection."""

    def stream(self, request: ChatRequest) -> AsyncIterator[ModelEvent]:
        """Yield :class:`TextDelta` pieces, then one :class:`Finished`.

        Where there are ``fallbacks``, a :class:`Hop` for each model that could not answer
        comes before the first piece. Raises :class:`aiki_kernel.errors.ModelError` with one
        line for the user.
        """
        ...
