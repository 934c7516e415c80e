"""One client for all models: any OpenAI-compatible endpoint, and this machine's own daemon.

The official client makes the request; the events of the answer are read here, because
what matters is at the edges that a typed stream hides: whether ``[DONE]`` came, what a
chunk without choices says, how long nothing came at all.

Rules of a call: a key that is missing is refused before any network. Before the first
token 408, 429, 5xx and lost connections are tried again (full jitter, ``Retry-After``
honoured); after it never, because half an answer is on the screen. A parameter that a
model does not take is left out, once learnt, and said so in ``Finished.detail``.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import ConfigError
from aiki_kernel.models import prices, refusals
from aiki_kernel.models.catalogue import ModelRef, resolve
from aiki_kernel.models.chat import ChatMessage, ChatRequest, Finished, ModelEvent, TextDelta, Usage
from aiki_kernel.models.clients import Clients, LocalClient
from aiki_kernel.models.quirks import Quirks
from aiki_kernel.models.refusals import BrokenStreamError, StageTimeoutError
from aiki_kernel.models.sse import DONE, data_fields
from aiki_kernel.models.tokens import estimate

if TYPE_CHECKING:
    import openai

    from aiki_kernel.config import Settings

_BACKOFF_CAP_S = 8.0
_DRAIN_S = 0.25
_NO_LOGPROB = -9000.0  # OpenAI sends -9999 for a token that it does not weigh
_PER_MESSAGE = 4  # tokens that a chat template adds around each message, about


def estimate_usage(messages: Sequence[ChatMessage], answer: str) -> Usage:
    """Tokens of a call whose provider gave none, or that was cut; marked as estimated."""
    prompt = sum(
        estimate(message.content) + message.image_tokens + _PER_MESSAGE for message in messages
    )
    return Usage(prompt, estimate(answer), estimated=True)


@dataclass
class _Call:
    """What one attempt has seen so far."""

    ref: ModelRef
    request: ChatRequest
    client: openai.AsyncOpenAI
    quirks: Quirks
    stage: str = "first token"
    text: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    reason: str = ""
    usage: Usage | None = None
    model: str = ""
    done: bool = False
    logprob_sum: float = 0.0
    logprob_tokens: int = 0
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def begun(self) -> bool:
        """Whether anything that is paid for has come."""
        return bool(self.text or self.thought)


class Provider:
    """The :class:`aiki_kernel.models.chat.ModelPort` for every model there is.

    ``local_client`` gives the HTTP client that reaches this machine's models; it is asked
    once for each event loop, and what it gives is closed by :meth:`aclose`. ``backoff_s``
    is the first ceiling of the jittered wait between attempts; it doubles each time.
    """

    def __init__(
        self,
        settings: Settings,
        local_client: LocalClient | None = None,
        *,
        backoff_s: float = 0.5,
    ) -> None:
        self.settings = settings
        self._clients = Clients(local_client)
        self._quirks: dict[tuple[str, str], Quirks] = {}
        self._backoff_s = backoff_s

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ModelEvent, None]:
        """Yield :class:`TextDelta` pieces, then one :class:`Finished`.

        Closing the generator, or cancelling the task, closes the connection at once.
        Raises :class:`aiki_kernel.errors.ModelError`, one line, whose ``stage`` is
        "connect", "first token", "between tokens" or "stream".
        """
        ref = resolve(self.settings, request.model)
        key = self._key(ref)
        prices.load_soon(ref)
        client = await self._clients.get(ref, key, self.settings.timeouts.connect)
        quirks = self._quirks.setdefault((ref.endpoint, ref.model), Quirks())
        notes: list[str] = []
        attempt = failures = 0
        while True:
            attempt += 1
            call = _Call(ref, request, client, quirks)
            try:
                async with aclosing(self._attempt(call)) as pieces:
                    async for piece in pieces:
                        yield piece
                yield self._finished(call, attempt, notes)
                return
            except Exception as error:
                if not call.begun:
                    learnt = quirks.learn(error, request)
                    if learnt:
                        notes.append(f"{ref.name} {learnt}")
                        continue
                    if failures < self.settings.timeouts.retries and refusals.may_retry(error):
                        failures += 1
                        await self._wait(error, ref, failures, notes)
                        continue
                raise refusals.explain(
                    error,
                    ref,
                    self.settings.timeouts,
                    stage="stream" if call.begun else call.stage,
                    attempts=failures + 1,
                    key=key,
                ) from None

    async def aclose(self) -> None:
        """Close all connections. The provider can be used again afterwards."""
        await self._clients.aclose()

    # -- one attempt --------------------------------------------------------------------

    async def _attempt(self, call: _Call) -> AsyncGenerator[TextDelta, None]:
        """Pieces of text as they come. No timeout spans a ``yield``: our reader may be slow."""
        limits = self.settings.timeouts
        chat: Any = call.client.chat.completions.with_streaming_response
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            deadline = loop.time() + limits.first_token
            try:
                async with asyncio.timeout_at(deadline):
                    opening = chat.create(**call.quirks.body(call.request, call.ref))
                    response = await stack.enter_async_context(opening)
            except TimeoutError:
                raise StageTimeoutError("first token", limits.first_token) from None
            events = self._events(response)
            await stack.enter_async_context(aclosing(events))
            while not call.done:
                try:
                    async with asyncio.timeout_at(deadline):
                        data = await anext(events, None)
                except TimeoutError:
                    if call.begun:
                        raise StageTimeoutError("between tokens", limits.between_tokens) from None
                    raise StageTimeoutError("first token", limits.first_token) from None
                if data is None:
                    break
                if data == DONE:
                    call.done = True
                    break
                if not data:
                    continue  # a keep-alive comment is not a token: the deadline stands
                waiting = not call.begun
                text = _read(call, data)
                if call.begun and (waiting or text or call.reason):
                    call.stage = "stream"
                if call.begun:
                    deadline = loop.time() + limits.between_tokens
                if text:
                    yield TextDelta(text)
                    deadline = loop.time() + limits.between_tokens
            if call.done:
                await _drain(events)
        if not call.reason and not call.done:
            raise BrokenStreamError("the stream ended before its end", lost=True)

    @staticmethod
    async def _events(response: Any) -> AsyncGenerator[str, None]:
        """The data of each event; a plain JSON answer counts as one event and its end."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            yield (await response.read()).decode("utf-8", "replace")
            yield DONE
            return
        if kind == "text/html":
            raise BrokenStreamError("answered with a web page")
        source: AsyncIterator[bytes] = response.iter_bytes()
        async for data in data_fields(source):
            yield data

    # -- between attempts ---------------------------------------------------------------

    def _key(self, ref: ModelRef) -> str:
        """The key for ``ref``, or "" where none is needed. Refuses a missing one."""
        if ref.local or not ref.key_variable:
            return ""
        from aiki_kernel.config import api_key

        found = api_key(ref.key_variable)
        if found is None:
            raise refusals.missing_key(ref)
        key = found.get_secret_value().strip()
        if not key.isascii() or not key.isprintable():
            raise ConfigError(
                f"The key in {ref.key_variable} holds characters no key has: copy it anew."
            )
        return key

    async def _wait(self, error: Exception, ref: ModelRef, failures: int, notes: list[str]) -> None:
        """Sleep before the next attempt: as long as the server asks, else a random while."""
        status = refusals.status_of(error)
        response = getattr(error, "response", None)
        asked = refusals.retry_after(getattr(response, "headers", None))
        if asked is not None and asked > refusals.LONGEST_WAIT_S:
            raise refusals.too_long_a_wait(ref, asked, status) from None
        ceiling = min(_BACKOFF_CAP_S, self._backoff_s * 2 ** (failures - 1))
        jitter = random.uniform(0.0, ceiling)  # noqa: S311 - spreads load, hides nothing
        seconds = jitter if asked is None else asked + jitter * 0.25
        notes.append(
            f"{ref.endpoint} {f'answered {status}' if status else 'lost the connection'}: "
            f"tried again after {seconds:.1f} s"
        )
        await asyncio.sleep(seconds)

    @staticmethod
    def _finished(call: _Call, attempt: int, notes: list[str]) -> Finished:
        usage = call.usage
        if usage is None:
            usage = estimate_usage(call.request.messages, "".join([*call.thought, *call.text]))
        detail = dict(call.detail)
        if call.quirks.left_out:
            detail["left_out"] = sorted(call.quirks.left_out)
        if notes:
            detail["notes"] = list(notes)
        if call.logprob_tokens:
            detail["mean_logprob"] = call.logprob_sum / call.logprob_tokens
        return Finished(
            reason=call.reason or "stop",
            usage=usage,
            model=call.model or call.ref.model,
            provider=call.ref.provider or call.ref.endpoint,
            attempts=attempt,
            detail=detail,
        )


async def _drain(events: AsyncIterator[str]) -> None:
    """Read what follows ``[DONE]`` so that the connection can be used again, but not for long."""
    try:
        async with asyncio.timeout(_DRAIN_S):
            async for _ in events:
                continue
    except TimeoutError:
        return  # the connection is closed instead


def _read(call: _Call, data: str) -> str:
    """Take in one chunk; the text that it brings. Raises :class:`BrokenStreamError`."""
    try:
        chunk = json.loads(data)
    except ValueError:
        raise BrokenStreamError("sent something that is not JSON within the answer") from None
    if not isinstance(chunk, dict):
        raise BrokenStreamError("sent something that is not a chat chunk")
    failure = chunk.get("error")
    if failure:
        raise _fault(failure)
    if isinstance(chunk.get("model"), str):
        call.model = chunk["model"]
    if isinstance(chunk.get("usage"), dict):
        _count(call, chunk["usage"])
    if isinstance(chunk.get("aiki"), dict):
        call.detail.update(chunk["aiki"])
    if isinstance(chunk.get("provider"), str):
        call.detail["upstream"] = chunk["provider"]
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return ""
    if isinstance(choice.get("finish_reason"), str):
        call.reason = choice["finish_reason"]
        if call.reason == "error":
            raise BrokenStreamError("gave up within the answer")
    _weigh(call, choice.get("logprobs"))
    delta = choice.get("delta") or choice.get("message")
    if not isinstance(delta, dict):
        return ""
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(thought, str) and thought:
        call.thought.append(thought)
    text = delta.get("content") or delta.get("refusal")
    if isinstance(text, str) and text:
        call.text.append(text)
        return text
    return ""


def _weigh(call: _Call, logprobs: Any) -> None:
    """Add the log-probabilities of a chunk's tokens up."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    for token in content if isinstance(content, list) else ():
        value = token.get("logprob") if isinstance(token, dict) else None
        if isinstance(value, int | float) and value > _NO_LOGPROB:
            call.logprob_sum += float(value)
            call.logprob_tokens += 1


def _fault(failure: Any) -> BrokenStreamError:
    if isinstance(failure, dict):
        code = failure.get("code")
        message = str(failure.get("message") or failure)
        return BrokenStreamError(message, status=code if isinstance(code, int) else None)
    return BrokenStreamError(str(failure))


def _count(call: _Call, usage: dict[str, Any]) -> None:
    def number(value: Any) -> int:
        return int(value) if isinstance(value, int | float) else 0

    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    cached = details.get("cached_tokens")
    # OpenRouter's name, then Anthropic's own behind some gateways
    written = details.get("cache_write_tokens") or usage.get("cache_creation_input_tokens")
    if usage.get("prompt_tokens") is None and usage.get("completion_tokens") is None:
        return
    call.usage = Usage(
        number(usage.get("prompt_tokens")),
        number(usage.get("completion_tokens")),
        number(cached),
        cache_write_tokens=number(written),
    )
    if isinstance(usage.get("cost"), int | float):
        call.detail["cost_usd"] = float(usage["cost"])  # what OpenRouter says it charged
