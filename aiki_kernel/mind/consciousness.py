"""The consciousness loop: recall and route side by side, generate, remember.

One async generator of events is the only way to run it. Three things are settled here
and nowhere else:

* **Nothing that was said is lost.** A turn is remembered in a task of its own, shielded
  from the interrupt that ends the answer; a cut answer is remembered as cut.
* **Nothing waits for bookkeeping.** The answer is complete before the ledger and the
  memory are written; both writes run side by side.
* **A cancel is heard at every await**, and closes the model's connection on its way out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiki_kernel.config import Paths
from aiki_kernel.errors import ModelError
from aiki_kernel.memory.records import Recall, Scope, Turn
from aiki_kernel.mind import asking, booking, cascade, discretion, limits, structured
from aiki_kernel.mind.asking import Choice
from aiki_kernel.mind.booking import Costs
from aiki_kernel.mind.consultant import Consultant, InsightStore
from aiki_kernel.mind.conversation import Conversation, Exchange, Message
from aiki_kernel.mind.events import (
    Completed,
    Decision,
    Delta,
    Event,
    Hop,
    Recalled,
    Routed,
)
from aiki_kernel.mind.labels import Labels
from aiki_kernel.mind.ports import MemoryPort, ModelPort
from aiki_kernel.mind.roster import Roster
from aiki_kernel.mind.routing.planner import Planned, Planner
from aiki_kernel.mind.run import Run, metadata
from aiki_kernel.mind.writing import LedgerPort, Writer
from aiki_kernel.models.chat import ChatRequest, Finished, TextDelta, Usage
from aiki_kernel.models.tokens import estimate
from aiki_kernel.safety.veil import Veil

if TYPE_CHECKING:
    from aiki_kernel.config import Settings
    from aiki_kernel.mind.recollection import Recollections
    from aiki_kernel.mind.sessions import Sessions
    from aiki_kernel.mind.telemetry import Telemetry
    from aiki_kernel.safety.audit import AuditLog


class Consciousness:
    """Runs messages through the loop. One instance serves many conversations at once."""

    def __init__(
        self,
        memory: MemoryPort,
        model: ModelPort,
        ledger: LedgerPort,
        settings: Settings,
        planner: Planned | None = None,
        labels: Labels | None = None,
        insights: InsightStore | None = None,
        telemetry: Telemetry | None = None,
        personas: Roster | None = None,
        audit: AuditLog | None = None,
        recollections: Recollections | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self.memory = memory
        self.model = model
        self.settings = settings
        self.planner: Planned = planner or Planner(settings, Paths.default().home)
        self.personas = personas or Roster(Paths.default().home)
        self.audit = audit
        self.consultant = Consultant(settings, model, insights, labels)
        self.writer = Writer(
            settings, memory, ledger, labels, telemetry, audit, recollections, sessions
        )

    async def respond(
        self, message: Message, conversation: Conversation
    ) -> AsyncGenerator[Event, None]:
        """Answer ``message`` as the next (or the same cell's) turn of ``conversation``.

        Raises :class:`AikiError` with one line when the answer cannot be had; whatever was
        streamed until then is kept in the conversation and the memory, marked as cut.
        """
        name = message.persona or conversation.persona or self.settings.persona
        run = Run(message, conversation, self.personas.get(name))
        run.notice_rerun()
        try:
            async with contextlib.aclosing(self._recall_and_route(run)) as events:
                async for event in events:
                    yield event
            async with contextlib.aclosing(self._generate(run)) as deltas:
                async for delta in deltas:
                    yield delta
            completed, cost = await self._complete(run)
        except BaseException as error:
            self._keep_cut(run, error)
            raise
        entry = booking.entry(run, completed.usage, cost, completed.finish_reason)
        run.entries.append(entry)
        write = self.writer.background(self.writer.write(run, self._turn(run, interrupted=False)))
        yield completed
        yield await asyncio.shield(write)

    async def rehearse(
        self, message: Message, conversation: Conversation
    ) -> tuple[Run, ChatRequest, Choice]:
        """What :meth:`respond` would send, to whom: recall and route are done, and no more.
        Nothing is asked, booked or remembered."""
        name = message.persona or conversation.persona or self.settings.persona
        run = Run(message, conversation, self.personas.get(name))
        async with contextlib.aclosing(self._recall_and_route(run)) as events:
            async for _ in events:
                continue
        assert run.choice is not None
        choice = await run.choice
        return run, asking.request(run, self.settings, choice), choice

    async def drain(self, seconds: float | None = None) -> None:
        """Wait for the writes that are still under way (at exit, on any loop)."""
        await self.writer.drain(seconds)

    # -- stages -------------------------------------------------------------------------

    async def _recall_and_route(self, run: Run) -> AsyncGenerator[Event, None]:
        recall = asyncio.ensure_future(self._recall(run))
        try:
            with run.trace.span("route") as span:
                run.decision = await self._decided(run)
                span.attributes["gen_ai.request.model"] = run.decision.model
            # The first card of a public model takes a second: beside recall, not after it.
            run.choice = asyncio.ensure_future(
                asyncio.to_thread(asking.choice, self.settings, run.decision, run.persona)
            )
            run.choice.add_done_callback(_heard)  # an interrupt may come before it is awaited
            yield Routed(run.decision, span.seconds)
            run.recall = await recall
        finally:
            if not recall.done():
                recall.cancel()
        if run.recall.note:
            run.notes.append(run.recall.note)
        seconds = run.trace.latencies().get("recall", 0.0)
        yield Recalled(run.recall.hits, seconds, run.recall.backend, run.recall.note)

    async def _decided(self, run: Run) -> Decision:
        """Who answers: the planner's decision, within the persona's models."""
        persona, message = run.persona, run.message
        decision = await self.planner.decide(message, run.conversation, persona.models)
        if not persona.models:
            return decision
        decision, note = await asyncio.to_thread(
            limits.within,
            self.settings,
            persona,
            decision,
            asked=bool(message.model),
            images=any(one.image for one in message.attached),
        )
        run.notes += [note] if note else []
        return decision

    async def _recall(self, run: Run) -> Recall:
        limit = self.settings.memory.recall_k
        if not limit:
            return Recall()
        exclude = [exchange.turn_id for exchange in run.conversation.before(run.message)]
        if run.replaces:
            exclude.append(run.replaces)
        with run.trace.span("recall") as span:
            scope = Scope(self.settings.memory.user_id, persona=run.persona.name)
            found = await self.memory.recall(
                run.message.text,
                scope=scope,
                limit=limit,
                exclude=exclude,
                backend=run.conversation.backend or self.settings.compute.backend,
            )
            span.attributes.update(
                {"aiki.recall.hits": len(found.hits), "aiki.recall.backend": found.backend.name}
            )
            for name, seconds in found.seconds.items():
                span.attributes[f"aiki.recall.{name}_s"] = round(seconds, 6)
        return found

    async def _generate(self, run: Run) -> AsyncGenerator[Event, None]:
        assert run.choice is not None
        request = asking.request(run, self.settings, await run.choice)
        events = self._stream(run, request)
        if run.message.form is not None:
            events = structured.answer(run, request, self.model, self.settings)
        elif run.decision.then:
            events = cascade.answer(run, request, self.model, self.settings, self._stream)
        elif run.decision.consult:
            events = self.consultant.answer(run, request, self._stream)
        async with contextlib.aclosing(events):
            async for event in events:
                yield event

    async def _stream(self, run: Run, request: ChatRequest) -> AsyncGenerator[Event, None]:
        begun = time.perf_counter()
        with run.trace.span("generate") as span:
            span.attributes["gen_ai.request.model"] = request.model
            veil = Veil()
            stream = discretion.veiled(self.model.stream(request), veil)
            try:
                async for event in stream:
                    if isinstance(event, Finished):
                        run.finished = event
                        continue
                    if isinstance(event, Hop):
                        run.hops.append(event)
                        span.attributes["gen_ai.request.model"] = event.to
                        yield event
                        continue
                    if isinstance(event, TextDelta) and event.text:
                        if run.first_token_s is None:
                            run.first_token_s = time.perf_counter() - begun
                        run.text += event.text
                        yield Delta(event.text)
            finally:
                close = getattr(stream, "aclose", None)
                if close is not None:
                    await close()
                discretion.closed(run, veil)
            if run.finished is None:
                raise ModelError(
                    f"{request.model} ended its answer without saying so: run the cell again.",
                    stage="stream",
                )
            span.attributes["gen_ai.response.model"] = run.finished.model
            span.attributes["gen_ai.provider.name"] = run.finished.provider
            span.attributes["gen_ai.usage.input_tokens"] = run.finished.usage.input_tokens
            span.attributes["gen_ai.usage.output_tokens"] = run.finished.usage.output_tokens
            if run.first_token_s is not None:
                span.attributes["aiki.first_token_s"] = round(run.first_token_s, 6)

    async def _complete(self, run: Run) -> tuple[Completed, Costs]:
        assert run.finished is not None
        discretion.look_at_question(run)
        run.notes += run.finished.detail.get("notes", [])
        charged = run.finished.detail.get("cost_usd")  # what the provider says it charged
        cost = await self._costs(run, run.finished.usage, charged)
        if run.closing is not None:
            run.notes[:0] = run.closing(cost)
        run.conversation.put(self._exchange(run, interrupted=False))
        completed = Completed(
            text=run.text,
            model=run.finished.model,
            usage=run.finished.usage,
            cost_usd=run.total(cost.usd),
            trace=run.trace,
            finish_reason=run.finished.reason,
            metadata=metadata(run, cost),
            object=run.object,
        )
        return completed, cost

    async def _costs(self, run: Run, usage: Usage, charged: float | None = None) -> Costs:
        return await asyncio.to_thread(
            booking.costs, self.settings, run.name, usage, charged=charged
        )

    # -- writing ------------------------------------------------------------------------

    def _keep_cut(self, run: Run, error: BaseException) -> None:
        """Keep what there is of an answer that ended early, in a task of its own."""
        if not run.decision.model:
            self.writer.tell(run)
            return
        interrupted = not isinstance(error, Exception)
        reason = "interrupted" if interrupted else "error"
        usage = Usage()
        if interrupted or run.text:
            usage = Usage(run.prompt_tokens, estimate(run.text), estimated=True)
        elif isinstance(error, ModelError) and error.stage == "first token" and not error.status:
            # It was taken in and thought about until we gave up: that may well be charged.
            usage = Usage(run.prompt_tokens, estimated=True)
        # A call that failed before any answer is booked, at no cost.
        booked = bool(run.prompt_tokens) and (interrupted or isinstance(error, ModelError))
        turn = None
        if interrupted or run.text:
            run.conversation.put(self._exchange(run, interrupted=True))
            turn = self._turn(run, interrupted=True)
        if booked or turn is not None or run.entries:
            kind = type(error).__name__
            self.writer.background(self._write_cut(run, turn, usage, reason, kind, booked=booked))
        else:
            self.writer.tell(run)

    async def _write_cut(
        self, run: Run, turn: Turn | None, usage: Usage, reason: str, error: str, *, booked: bool
    ) -> None:
        if booked:
            cost = await self._costs(run, usage)
            if not usage.input_tokens:
                cost = replace(cost, usd=0.0, smart_usd=0.0, cheap_usd=0.0)
            run.entries.append(booking.entry(run, usage, cost, reason, error=error))
        await self.writer.write(run, turn)

    def _exchange(self, run: Run, *, interrupted: bool) -> Exchange:
        return Exchange(
            turn_id=run.turn_id,
            question=run.message.text,
            answer=run.text,
            model=run.name,
            created_at=run.created_at,
            cell_id=run.message.cell_id,
            interrupted=interrupted,
            persona=run.persona.name,
            typed=run.message.typed,
            sent=run.sent if run.message.attached else "",
            asked=run.message.asked,
        )

    def _turn(self, run: Run, *, interrupted: bool) -> Turn:
        provenance = {
            "notebook": run.message.notebook or run.conversation.notebook,
            "session_id": run.conversation.session_id,
            "cell_id": run.message.cell_id,
        }
        turn = Turn(
            id=run.turn_id,
            user_id=self.settings.memory.user_id,
            session_id=run.conversation.session_id,
            question=run.message.text,
            answer=run.text,
            model=run.finished.model if run.finished else run.name,
            created_at=run.created_at,
            previous=run.previous,
            replaces=run.replaces,
            interrupted=interrupted,
            persona=run.persona.name,
            provenance={key: value for key, value in provenance.items() if value},
        )
        return discretion.discreet(turn)


def _heard(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
