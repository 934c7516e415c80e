"""One model after another, until one answers: the chain of a tier, seen and never silent.

The rules. Only before the first token, since afterwards half an answer is on the screen and
paid for. Never on a mistake of the user's (a message that is too long, a parameter that is
wrong: 400, 413, 422), never on a refusal of the budget, never on an interrupt: another model
would be no remedy. A key that is missing or refused, spent credit and a model that an
endpoint does not have are reasons to go on only where the chain was the router's or the
tier's; whoever named that model is told. A model whose breaker is open is passed over while
another is left; when none is, it is tried all the same.

Each hop is an event, a note under the answer, and a line in health. What is finished in
the end carries in its detail the ``name`` of the model that answered and the ``hops``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from aiki_kernel.errors import AikiError, ConfigError, DaemonError, ModelError
from aiki_kernel.models import ability, window
from aiki_kernel.models.breaker import BREAKER, Breaker
from aiki_kernel.models.cards import TIERS, ModelCard, card, chain, usable
from aiki_kernel.models.chat import ChatRequest, Finished, Hop, ModelEvent, TextDelta
from aiki_kernel.models.tokens import estimate

if TYPE_CHECKING:
    from aiki_kernel.config import Settings

_NOT_SERVED = ("key", "credit", "model")
_PER_MESSAGE = 4  # tokens that a chat template adds around each message, about


@dataclass(frozen=True)
class Admitted:
    """A call that may be made: "" or a ticket, how long its answer may be in tokens, and the
    line for an answer that ended there where this is less than was asked for."""

    ticket: str
    max_tokens: int
    note: str = ""


class Gate(Protocol):
    """Who lets a call pass before it is made (the budget)."""

    async def admit(self, request: ChatRequest, card: ModelCard) -> Admitted:
        """Let ``request`` pass to ``card``'s model. Raises AikiError if not."""
        ...

    async def settle(self, ticket: str, usd: float) -> None:
        """The call of ``ticket`` has ended and cost ``usd``; it is still to be booked."""
        ...

    async def release(self, ticket: str) -> None:
        """The call of ``ticket`` was not made after all, or cost nothing."""
        ...


class Streams(Protocol):
    """A :class:`aiki_kernel.models.chat.ModelPort` whose iterator can be closed."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[ModelEvent, None]: ...


@dataclass(frozen=True)
class _Try:
    """What became of one model of the chain; ``why`` ends a sentence that its name begins."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} {self.why}"


class Fallback:
    """The :class:`ModelPort` around another that goes on to ``request.fallbacks``.

    ``gate`` is asked before every single call, hops included.
    """

    def __init__(
        self,
        port: Streams,
        settings: Settings,
        *,
        gate: Gate | None = None,
        breaker: Breaker = BREAKER,
    ) -> None:
        self._port = port
        self._settings = settings
        self._gate = gate
        self._breaker = breaker

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ModelEvent, None]:
        """The events of the first model that answers; a :class:`Hop` for each that did not.

        Raises :class:`AikiError`, one line: the first model's failure, then what became of
        the others.
        """
        names, passed = self._order(request)
        hops: list[Hop] = []
        tries: list[_Try] = list(passed)
        first: tuple[str, AikiError] | None = None
        for name in names:
            named = request.named and name == request.model
            one = await asyncio.to_thread(card, self._settings, name)
            why = await self._unfit(one, request, named=named, instead=first is not None)
            if why:
                passed.append(_Try(name, why))
                tries.append(passed[-1])
                continue
            for past in passed:
                hops.append(Hop(past.name, name, past.why))
                self._breaker.hopped(hops[-1])
                yield hops[-1]
            passed = []
            begun = False
            try:
                async with aclosing(self._one(request, one, hops)) as events:
                    async for event in events:
                        begun = begun or isinstance(event, TextDelta)
                        yield event
                return
            except AikiError as error:
                going_on = not begun and _may_go_on(error, named=named)
                if not going_on and (first is None or begun):
                    raise
                passed.append(_Try(name, _why(error) if going_on else f"failed: {error}"))
                tries.append(passed[-1])
                first = first or (name, error)
                if not going_on:
                    break
        raise _exhausted(first, tries) from None

    def _order(self, request: ChatRequest) -> tuple[list[str], list[_Try]]:
        """The names in the order in which they are asked, and the first ones passed over."""
        names = list(dict.fromkeys((request.model, *request.fallbacks)))
        resting = {name: wait for name in names if (wait := self._breaker.wait_s(name)) > 0}
        ready = [name for name in names if name not in resting]
        if not ready:
            return names, []
        before = names[: names.index(ready[0])]
        passed = [
            _Try(name, f"failed repeatedly and rests for {resting[name]:.0f} s more")
            for name in before
        ]
        return [*ready, *resting], passed

    async def _unfit(
        self, one: ModelCard, request: ChatRequest, *, named: bool, instead: bool
    ) -> str:
        """Why ``one`` is not even asked; "" when it is. What the user named always is."""
        if not named and not await asyncio.to_thread(usable, one):
            if one.key_variable:
                return f"has no key ({one.key_variable} is not set)"
            return "is not on this machine"
        if instead and one.window is not None:
            room = one.window - _prompt_tokens(request)
            if room < window.least_answer(request.max_tokens):
                return f"takes only {one.window:,} tokens"
        return ""

    async def _one(
        self, request: ChatRequest, one: ModelCard, hops: list[Hop]
    ) -> AsyncGenerator[ModelEvent, None]:
        """The events of one model; its breaker learns how it went."""
        request, put_into_words = ability.fitted(request, one)
        tokens = _prompt_tokens(request)
        limit = window.answer_tokens(one, tokens, request.max_tokens)
        asked = replace(request, model=one.name, prompt_tokens=tokens, max_tokens=limit)
        ticket, note = "", window.shortened(one, limit) if limit < request.max_tokens else ""
        if self._gate is not None:
            admitted = await self._gate.admit(asked, one)
            ticket, note = admitted.ticket, admitted.note or note
            asked = replace(asked, max_tokens=min(limit, admitted.max_tokens))
        self._breaker.begin(one.name)
        settled = begun = False
        try:
            async with aclosing(self._port.stream(asked)) as events:
                async for event in events:
                    begun = begun or isinstance(event, TextDelta)
                    if isinstance(event, Finished):
                        self._breaker.succeeded(one.name)
                        settled = True
                        event = _told(event, one, hops, ticket)
                        await self._settle(ticket, asked, one, event)
                        more = [note] if note and event.reason == "length" else []
                        if more := [*put_into_words, *more]:
                            event.detail["notes"] = [*event.detail.get("notes", []), *more]
                    yield event
        except AikiError as error:
            settled = True
            self._learn(error, one.name)
            if ticket and not begun and getattr(error, "stage", "") != "stream":
                await self._release(ticket)
            raise
        finally:
            if not settled:
                self._breaker.given_back(one.name)

    async def _settle(
        self, ticket: str, asked: ChatRequest, one: ModelCard, event: Finished
    ) -> None:
        """Hold no more than what the call did cost, until it is booked."""
        if not ticket or self._gate is None:
            return
        if not asked.turn_id:
            await self._gate.release(ticket)  # nobody will book this call
            return
        used = event.usage
        usd = event.detail.get("cost_usd")
        if usd is None:
            usd = one.cost_usd(
                used.input_tokens, used.output_tokens, used.cached_tokens, used.cache_write_tokens
            )
        if usd is not None:
            await self._gate.settle(ticket, usd)

    async def _release(self, ticket: str) -> None:
        if self._gate is not None:
            await self._gate.release(ticket)

    def _learn(self, error: AikiError, name: str) -> None:
        """A failure counts; a mistake shows that the model is there."""
        if isinstance(error, ConfigError) or getattr(error, "cause", "") in ("context", "mistake"):
            self._breaker.given_back(name)
            return
        routing = self._settings.routing
        self._breaker.failed(
            name,
            _why(error),
            threshold=routing.breaker_failures,
            open_s=routing.breaker_open_s,
        )


def _may_go_on(error: AikiError, *, named: bool) -> bool:
    """Whether another model may be a remedy for ``error``."""
    if isinstance(error, ConfigError):  # a key that is no key
        return not named
    if isinstance(error, DaemonError):  # this machine's own models cannot be reached
        return True
    if not isinstance(error, ModelError) or error.stage not in ("connect", "first token"):
        return False
    if error.cause in _NOT_SERVED:
        return not named
    return error.cause == ""


def followers(settings: Settings, name: str, *, named: bool) -> tuple[str, ...]:
    """The names to go on to when ``name`` fails.

    Of a model that the router or a tier chose, the rest of its tier. Of a model that the
    user ``named``, only what stands behind it in a chain of ``[routing]``: nothing is sent
    to an endpoint that the user wrote nowhere. Call it off the event loop.
    """
    routing = settings.routing
    if not routing.fallback:
        return ()
    for tier in TIERS:
        written = getattr(routing, tier) or ()
        if name in written:
            behind = written[written.index(name) + 1 :]
            return tuple(behind if named else (*behind, *written[: written.index(name)]))
    if named:
        return ()
    tier_ = card(settings, name).tier
    if tier_ is None or tier_ == "local":
        return ()
    others = [one.name for one in chain(settings, tier_) if one.name != name and usable(one)]
    return tuple(others)


def _told(event: Finished, one: ModelCard, hops: list[Hop], ticket: str) -> Finished:
    detail = dict(event.detail)
    detail["name"] = one.name
    if ticket:
        detail["reservation"] = ticket
    if hops:
        detail["hops"] = [hop.to_json() for hop in hops]
        detail["notes"] = [hop.note for hop in hops] + list(detail.get("notes", []))
    return replace(event, detail=detail)


def _prompt_tokens(request: ChatRequest) -> int:
    return request.prompt_tokens or sum(
        estimate(message.content) + message.image_tokens + _PER_MESSAGE
        for message in request.messages
    )


def _exhausted(first: tuple[str, AikiError] | None, tries: list[_Try]) -> AikiError:
    """The first failure, with what became of the others behind it."""
    if first is None:
        return ModelError(
            f"No model can answer: {'; '.join(map(str, tries))}. Set a key, or pick a local "
            "model with %aiki_model local.",
            stage="connect",
            cause="key",
        )
    name, error = first
    others = [str(one) for one in tries if one.name != name]
    if not others:
        return error
    return ModelError(
        f"{error} Also tried: {'; '.join(others).rstrip('.')}.",
        stage=getattr(error, "stage", ""),
        status=getattr(error, "status", None),
        cause=getattr(error, "cause", ""),
    )


def _why(error: AikiError) -> str:
    """A failure in a few words that follow the model's name."""
    if isinstance(error, ConfigError):
        return "has no usable key"
    status = getattr(error, "status", None)
    cause = getattr(error, "cause", "")
    if cause == "key":
        return f"was refused the key ({status})" if status else "has no key"
    if cause == "credit":
        return f"has no credit left ({status})"
    if cause == "model":
        return f"is not there ({status})"
    if status is not None:
        return {429: "is limiting requests (429)"}.get(status, f"is failing ({status})")
    if getattr(error, "stage", "") == "first token":
        return "sent no first token in time"
    return "could not be reached"
