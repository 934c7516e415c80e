"""The cascade: the cheap model answers first, and its own signs say whether that will do.

What is seen. Nothing of the first answer is shown while it comes, because half an answer
that is taken back confuses more than a wait does. If it is kept it appears at once and
whole. If it is not, only the second model's answer is shown, streamed as usual, under a note
that says who was set aside, why, and what that cost. If the second model then fails before
its first word, the first answer is shown after all, and the note says that too.

The signs: a refusal; JSON asked for and not given; the mean log-probability where the
endpoint gives it, else the agreement with a second sample.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aiki_kernel.errors import AikiError
from aiki_kernel.mind import asking, side
from aiki_kernel.mind.events import Delta, Event, Routed
from aiki_kernel.mind.labels import Label
from aiki_kernel.mind.routing import lexicon
from aiki_kernel.mind.side import Said
from aiki_kernel.models.chat import ChatRequest, ModelPort

if TYPE_CHECKING:
    from aiki_kernel.config import Settings
    from aiki_kernel.mind.run import Run

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]{3,}")
_WARM = 0.7  # temperature of the second sample: at zero it would agree with itself

Stream = Callable[["Run", ChatRequest], AsyncGenerator[Event, None]]
"""How the loop streams an answer to the screen."""


@dataclass(frozen=True)
class Signs:
    """What a first answer says about itself; None is not known."""

    refusal: bool = False
    malformed: bool = False
    mean_logprob: float | None = None
    agreement: float | None = None

    def poor(self, settings: Settings) -> str:
        """Why the answer is not trusted, in words; "" when it is."""
        limits = settings.routing
        if self.refusal:
            return "it refused"
        if self.malformed:
            return "it is not the JSON that was asked for"
        if self.mean_logprob is not None and self.mean_logprob < limits.cascade_logprob:
            return (
                f"mean log-probability {self.mean_logprob:.2f} is below "
                f"{limits.cascade_logprob:.2f}"
            )
        if self.agreement is not None and self.agreement < limits.cascade_agreement:
            return (
                f"two samples agree to {100 * self.agreement:.0f} %, "
                f"{100 * limits.cascade_agreement:.0f} % are needed"
            )
        return ""


async def answer(
    run: Run, request: ChatRequest, port: ModelPort, settings: Settings, stream: Stream
) -> AsyncGenerator[Event, None]:
    """The events of a cascaded answer; ``run`` ends up as if one model had answered.

    Raises what the second model raises when the first had no answer either.
    """
    prompt_tokens, run.prompt_tokens = run.prompt_tokens, 0  # each call books itself
    first: Said | None = None
    try:
        with run.trace.span("generate") as span:
            asked = replace(request, logprobs=True)
            first = await side.ask(port, settings, run, asked, "generate")
            why, signs = await _judge(run, request, first, port, settings)
            if why:
                span.name = "cascade"
    except AikiError as error:
        if first is not None:
            raise
        why, signs = f"it failed ({error})", Signs()
    except BaseException:
        if first is not None:
            run.entries.append(first.entry(run, "cascade"))
        raise
    run.extra["cascade"] = {"first": request.model, "then": run.decision.then, "why": why}
    if first is not None and not why:
        run.prompt_tokens = prompt_tokens
        _keep(run, first)
        yield Delta(first.text)
        return
    _escalate(run, first, why, signs)
    yield Routed(run.decision, 0.0)
    begun = time.perf_counter()
    try:
        # The second model has a window, a price and fallbacks of its own.
        choice = await _choice(settings, run)
        again = asking.request(run, settings, choice)
        async with aclosing(stream(run, again)) as events:
            async for event in events:
                yield event
    except AikiError as error:
        if first is None or run.text:
            raise
        row = first.entry(run, "cascade")
        run.entries = [entry for entry in run.entries if entry != row]
        run.entries.append(side.failed(run, run.name, error, begun))
        run.decision = replace(run.decision, model=first.name, then="")
        run.notes.append(f"The first answer is shown after all: {error}")
        run.hops.clear()
        _keep(run, first)
        yield Delta(first.text)


def agreement(one: str, other: str) -> float:
    """How much two answers share, 0..1: F1 of their words and numbers; numbers count twice."""
    left, right = (_weights(text) for text in (one, other))
    total = sum(left.values()) + sum(right.values())
    if not total:
        return 1.0
    shared = sum(weight for word, weight in left.items() if word in right)
    return 2.0 * shared / total


def refuses(text: str) -> bool:
    """Whether an answer begins as refusals do, or is empty."""
    begin = text.strip().lower().replace("’", "'")
    return not begin or begin.startswith(lexicon.refusals())


def signs_of(said: Said, request: ChatRequest) -> Signs:
    """What an answer to ``request`` says about itself."""
    return Signs(
        refusal=refuses(said.text),
        malformed=request.response_format is not None and not _is_json(said.text),
        mean_logprob=said.finished.detail.get("mean_logprob"),
    )


async def _judge(
    run: Run, request: ChatRequest, first: Said, port: ModelPort, settings: Settings
) -> tuple[str, Signs]:
    signs = signs_of(first, request)
    why = signs.poor(settings)
    if not why and signs.mean_logprob is None:
        seed = None if request.seed is None else request.seed + 1
        other = replace(request, temperature=max(_WARM, request.temperature), seed=seed)
        second = await side.ask(port, settings, run, other, "cascade")
        run.entries.append(second.entry(run, "cascade"))
        signs = replace(signs, agreement=agreement(first.text, second.text))
        why = signs.poor(settings)
    return why, signs


def _keep(run: Run, first: Said) -> None:
    run.text, run.finished = first.text, first.finished
    run.first_token_s = None  # it came whole
    run.hops.extend(first.hops)


def _escalate(run: Run, first: Said | None, why: str, signs: Signs) -> None:
    before, then = run.decision.model, run.decision.then
    spent = ""
    if first is not None:
        row = first.entry(run, "cascade")
        run.entries.append(row)
        usd = row.cost_usd
        spent = " (its price is unknown)" if usd is None else f" (it cost ${usd:.4f})"
        run.labels.append(
            Label(
                when=run.created_at,
                turn_id=run.turn_id,
                session_id=run.conversation.session_id,
                message=run.message.text,
                model=first.name,
                tier=row.tier,
                source="escalated",
                good=0.0,
            )
        )
    note = f"{before} answered first and was set aside{spent}: {why}. {then} answers."
    run.notes.append(note)
    run.decision = replace(run.decision, model=then, then="", reason=f"escalated: {why}")


async def _choice(settings: Settings, run: Run) -> asking.Choice:
    return await asyncio.to_thread(asking.choice, settings, run.decision, run.persona)


def _weights(text: str) -> dict[str, float]:
    words = _WORD.findall(text.lower())
    return {word: 2.0 if word[0].isdigit() else 1.0 for word in words}


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
