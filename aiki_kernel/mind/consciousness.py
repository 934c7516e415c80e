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
import logging
import time
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from aiki_kernel.config import Paths
from aiki_kernel.errors import AikiError, ModelError
from aiki_kernel.memory.records import Recall, Scope, Stored, Turn
from aiki_kernel.mind import context
from aiki_kernel.mind.conversation import Conversation, Exchange, Message
from aiki_kernel.mind.events import (
    Completed,
    Delta,
    Event,
    Recalled,
    Remembered,
    Routed,
)
from aiki_kernel.mind.ledger import Entry
from aiki_kernel.mind.ports import MemoryPort, ModelPort
from aiki_kernel.mind.routing.planner import Planned, Planner
from aiki_kernel.mind.run import Run, metadata
from aiki_kernel.models.chat import ChatRequest, Finished, TextDelta, Usage
from aiki_kernel.models.tokens import estimate
from aiki_kernel.trace import Trace

if TYPE_CHECKING:
    from aiki_kernel.config import Settings


_log = logging.getLogger(__name__)


class LedgerPort(Protocol):
    """Where each model call is written down. ``notes`` are lines that the user must see."""

    @property
    def notes(self) -> list[str]: ...

    def record(self, entry: Entry) -> None: ...


class Consciousness:
    """Runs messages through the loop. One instance serves many conversations at once."""

    def __init__(
        self,
        memory: MemoryPort,
        model: ModelPort,
        ledger: LedgerPort,
        settings: Settings,
        planner: Planned | None = None,
    ) -> None:
        self.memory = memory
        self.model = model
        self.ledger = ledger
        self.settings = settings
        self.planner: Planned = planner or Planner(settings, Paths.default().home)
        self._writes: set[asyncio.Task[Any]] = set()

    async def respond(
        self, message: Message, conversation: Conversation
    ) -> AsyncGenerator[Event, None]:
        """Answer ``message`` as the next (or the same cell's) turn of ``conversation``.

        Raises :class:`AikiError` with one line when the answer cannot be had; whatever was
        streamed until then is kept in the conversation and the memory, marked as cut.
        """
        run = Run(message, conversation)
        try:
            async with contextlib.aclosing(self._recall_and_route(run)) as events:
                async for event in events:
                    yield event
            async with contextlib.aclosing(self._generate(run)) as deltas:
                async for delta in deltas:
                    yield delta
            completed = await self._complete(run)
        except BaseException as error:
            self._keep_cut(run, error)
            raise
        entry = self._entry(
            run, completed.usage, completed.cost_usd, run.finished.reason if run.finished else ""
        )
        write = self._background(self._write(self._turn(run, interrupted=False), entry, run.trace))
        yield completed
        yield await asyncio.shield(write)

    async def drain(self, seconds: float | None = None) -> None:
        """Wait for the writes that are still under way (at exit, on any loop)."""
        loop = asyncio.get_running_loop()
        waits: list[asyncio.Future[Any]] = []
        for task in list(self._writes):
            if task.get_loop() is loop:
                waits.append(task)
            elif task.get_loop().is_running():
                remote = asyncio.run_coroutine_threadsafe(_outcome(task), task.get_loop())
                waits.append(asyncio.wrap_future(remote))
        if waits:
            await asyncio.wait(waits, timeout=seconds)

    # -- stages -------------------------------------------------------------------------

    async def _recall_and_route(self, run: Run) -> AsyncGenerator[Event, None]:
        recall = asyncio.ensure_future(self._recall(run))
        try:
            with run.trace.span("route") as span:
                run.decision = await self.planner.decide(run.message, run.conversation)
                span.attributes["gen_ai.request.model"] = run.decision.model
            yield Routed(run.decision, span.seconds)
            run.recall = await recall
        finally:
            if not recall.done():
                recall.cancel()
        if run.recall.note:
            run.notes.append(run.recall.note)
        seconds = run.trace.latencies().get("recall", 0.0)
        yield Recalled(run.recall.hits, seconds, run.recall.backend, run.recall.note)

    async def _recall(self, run: Run) -> Recall:
        limit = self.settings.memory.recall_k
        if not limit:
            return Recall()
        exclude = [exchange.turn_id for exchange in run.conversation.before(run.message)]
        if run.replaces:
            exclude.append(run.replaces)
        with run.trace.span("recall") as span:
            scope = Scope(self.settings.memory.user_id)
            found = await self.memory.recall(
                run.message.text,
                scope=scope,
                limit=limit,
                exclude=exclude,
                backend=self._backend(run),
            )
            span.attributes.update(
                {"aiki.recall.hits": len(found.hits), "aiki.recall.backend": found.backend.name}
            )
            for name, seconds in found.seconds.items():
                span.attributes[f"aiki.recall.{name}_s"] = round(seconds, 6)
        return found

    def _backend(self, run: Run) -> str:
        """What this session computes with."""
        return run.conversation.backend or self.settings.compute.backend

    async def _generate(self, run: Run) -> AsyncGenerator[Event, None]:
        request = self._request(run)
        begun = time.perf_counter()
        with run.trace.span("generate") as span:
            span.attributes["gen_ai.request.model"] = request.model
            stream = self.model.stream(request)
            try:
                async for event in stream:
                    if isinstance(event, Finished):
                        run.finished = event
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

    def _request(self, run: Run) -> ChatRequest:
        settings = self.settings.generation
        built = context.build(
            run.message.text,
            run.conversation.before(run.message),
            run.recall.hits,
            system=settings.system,
            context_tokens=settings.context_tokens,
            recall_tokens=self.settings.memory.recall_tokens,
            relevance=self.settings.memory.relevance,
        )
        run.used = built.used
        if built.dropped_exchanges:
            run.notes.append(
                f"The {built.dropped_exchanges} oldest turns did not fit into "
                f"{settings.context_tokens} tokens of context."
            )
        run.prompt_tokens = built.tokens
        request = ChatRequest(
            model=run.decision.model,
            messages=built.messages,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            repetition_penalty=settings.repetition_penalty,
            max_tokens=settings.max_tokens,
            seed=settings.seed,
            stop=settings.stop,
            session_id=run.conversation.session_id,
            backend=self._backend(run),
        )
        return replace(request, **run.message.parameters) if run.message.parameters else request

    async def _complete(self, run: Run) -> Completed:
        assert run.finished is not None
        run.notes += run.finished.detail.get("notes", [])
        cost = run.finished.detail.get("cost_usd")  # what the provider says it charged
        if cost is None:
            cost = await asyncio.to_thread(self._price, run.decision.model, run.finished.usage)
        run.conversation.put(self._exchange(run, interrupted=False))
        return Completed(
            text=run.text,
            model=run.finished.model,
            usage=run.finished.usage,
            cost_usd=cost,
            trace=run.trace,
            finish_reason=run.finished.reason,
            metadata=metadata(run, cost),
        )

    def _price(self, model: str, usage: Usage) -> float | None:
        from aiki_kernel.models.catalogue import resolve
        from aiki_kernel.models.prices import cost_usd

        return cost_usd(resolve(self.settings, model), usage)

    # -- writing ------------------------------------------------------------------------

    def _keep_cut(self, run: Run, error: BaseException) -> None:
        """Keep what there is of an answer that ended early, in a task of its own."""
        if not run.decision.model:
            return
        interrupted = not isinstance(error, Exception)
        reason = "interrupted" if interrupted else "error"
        entry = None
        usage = Usage()
        if interrupted or run.text:
            usage = Usage(run.prompt_tokens, estimate(run.text), estimated=True)
        # A call that failed before any answer is booked, at no cost.
        if run.prompt_tokens and (interrupted or isinstance(error, ModelError)):
            entry = self._entry(run, usage, None, reason, error=type(error).__name__)
        turn = None
        if interrupted or run.text:
            run.conversation.put(self._exchange(run, interrupted=True))
            turn = self._turn(run, interrupted=True)
        if entry is not None or turn is not None:
            self._background(self._write_cut(run, turn, entry, usage))

    async def _write_cut(
        self, run: Run, turn: Turn | None, entry: Entry | None, usage: Usage
    ) -> None:
        if entry is not None:
            cost: float | None = 0.0
            if usage.input_tokens:
                cost = None
                with contextlib.suppress(AikiError):
                    cost = await asyncio.to_thread(self._price, run.decision.model, usage)
            entry = replace(entry, cost_usd=cost)
        await self._write(turn, entry, run.trace)

    async def _write(self, turn: Turn | None, entry: Entry | None, trace: Trace) -> Remembered:
        """Ledger and memory side by side; a failure of either is a note, not a lost answer."""
        notes: list[str] = []

        async def book() -> None:
            if entry is not None:
                try:
                    await asyncio.to_thread(self.ledger.record, entry)
                except AikiError as error:
                    notes.append(str(error))
                while self.ledger.notes:
                    notes.append(self.ledger.notes.pop(0))

        async def remember() -> Stored:
            if turn is None:
                return Stored(())
            try:
                return await self.memory.remember(turn)
            except AikiError as error:
                return Stored((), note=f"This turn was NOT remembered. {error}")

        with trace.span("remember") as span:
            stored, _ = await asyncio.gather(remember(), book())
            span.attributes["aiki.remember.spooled"] = stored.spooled
        note = " ".join(part for part in (stored.note, *notes) if part)
        return Remembered(stored.ids, span.seconds, stored.spooled, note)

    def _background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._settle)
        return task

    def _settle(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a turn could not be written", exc_info=error)

    def _exchange(self, run: Run, *, interrupted: bool) -> Exchange:
        return Exchange(
            turn_id=run.turn_id,
            question=run.message.text,
            answer=run.text,
            model=run.decision.model,
            created_at=run.created_at,
            cell_id=run.message.cell_id,
            interrupted=interrupted,
        )

    def _turn(self, run: Run, *, interrupted: bool) -> Turn:
        provenance = {
            "notebook": run.message.notebook or run.conversation.notebook,
            "session_id": run.conversation.session_id,
            "cell_id": run.message.cell_id,
        }
        return Turn(
            id=run.turn_id,
            user_id=self.settings.memory.user_id,
            session_id=run.conversation.session_id,
            question=run.message.text,
            answer=run.text,
            model=run.finished.model if run.finished else run.decision.model,
            created_at=run.created_at,
            previous=run.previous,
            replaces=run.replaces,
            interrupted=interrupted,
            provenance={key: value for key, value in provenance.items() if value},
        )

    def _entry(
        self, run: Run, usage: Usage, cost: float | None, reason: str, *, error: str | None = None
    ) -> Entry:
        return Entry(
            when=run.created_at,
            session_id=run.conversation.session_id,
            turn_id=run.turn_id,
            cell_id=run.message.cell_id or "",
            stage="generate",
            model=run.finished.model if run.finished else run.decision.model,
            provider=run.finished.provider if run.finished else run.decision.model.split("/")[0],
            persona="default",
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            cost_usd=cost,
            estimated=usage.estimated,
            latency_s=run.trace.latencies().get("generate", 0.0),
            first_token_s=run.first_token_s,
            finish_reason=reason,
            error=error,
            interrupted=reason == "interrupted",
        )


async def _outcome(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task])
