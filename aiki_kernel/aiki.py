"""Aiki: the one place where the parts are put together.

``Aiki()`` costs next to nothing: the connection to the memory, the provider and the
ledger are made when they are first needed. The asynchronous side (``stream``,
``respond``) runs on the caller's loop; the synchronous side (``ask``, ``memory``) runs
on a loop of its own in a thread, so that it works in a script, in a notebook cell and
inside a running loop alike.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from aiki_kernel.aiki_memory import MemoryFacade
from aiki_kernel.config import Paths, Settings, load
from aiki_kernel.errors import AikiError
from aiki_kernel.mind.conversation import Conversation, Message
from aiki_kernel.mind.events import Event
from aiki_kernel.mind.reply import Reply, ReplyBuilder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aiki_kernel.daemon.connect import Connection
    from aiki_kernel.mind.consciousness import Consciousness
    from aiki_kernel.mind.ledger import Ledger
    from aiki_kernel.mind.roster import Roster
    from aiki_kernel.mind.routing.planner import Planner
    from aiki_kernel.mind.telemetry import Telemetry
    from aiki_kernel.models.provider import Provider
    from aiki_kernel.models.response_cache import ResponseCache

T = TypeVar("T")


@runtime_checkable
class _Drains(Protocol):
    """A part with writes that may still be under way."""

    async def drain(self) -> None: ...


class Aiki:
    """A ready mind: ``Aiki().ask("...")``, ``Aiki().memory.search("...")``.

    Settings come from ``aiki.toml`` and ``AIKI_*``; pass ``settings`` to use others.
    """

    def __init__(self, settings: Settings | None = None, *, paths: Paths | None = None) -> None:
        self.settings = settings or load()
        self.paths = paths or Paths.default()
        self.conversation = Conversation()
        self.memory = MemoryFacade(self)
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._consciousness: Consciousness | None = None
        self._responses: ResponseCache | None = None
        self._provider: Provider | None = None
        self._telemetry: Telemetry | None = None
        self._ledger: Ledger | None = None
        self._personas: Roster | None = None
        self._retired: list[Consciousness | Provider | Telemetry | Connection] = []
        self._runner = _LoopThread()

    # -- parts, made when first needed ----------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The way to the memory and the local models (the daemon, or in-process)."""
        with self._lock:
            if self._connection is None:
                from aiki_kernel.daemon.connect import connect

                self._connection = connect(self.settings, self.paths)
            return self._connection

    @property
    def ledger(self) -> Ledger:
        """Where each model call is written down."""
        with self._lock:
            if self._ledger is None:
                from aiki_kernel.mind.ledger import Ledger

                self._ledger = Ledger(self.paths.ledger)
            return self._ledger

    @property
    def consciousness(self) -> Consciousness:
        """The loop itself."""
        with self._lock:
            if self._consciousness is None:
                from aiki_kernel.mind.budget import Budget
                from aiki_kernel.mind.consciousness import Consciousness
                from aiki_kernel.mind.labels import Labels
                from aiki_kernel.mind.recollection import Recollections
                from aiki_kernel.mind.sessions import Sessions
                from aiki_kernel.mind.telemetry import Telemetry
                from aiki_kernel.models.cached_port import CachedPort
                from aiki_kernel.models.fallback import Fallback
                from aiki_kernel.models.provider import Provider
                from aiki_kernel.safety.audit import audit_of

                self._telemetry = Telemetry.of(self.settings.otel)
                self._provider = Provider(self.settings, self.connection.local_client)
                budget = Budget(self.ledger.file, self.settings)
                chain = Fallback(self._provider, self.settings, gate=budget)
                port = CachedPort(chain, self.settings, self.responses, self.paths.models)
                self._consciousness = Consciousness(
                    self.connection.memory,
                    port,
                    self.ledger,
                    self.settings,
                    self.planner,
                    Labels(self.paths.ledger),
                    self.connection.admin,
                    self._telemetry,
                    self.personas,
                    audit_of(self.paths.home),
                    Recollections(self.paths.recollections, self.settings),
                    Sessions(self.paths.sessions),
                )
            return self._consciousness

    @property
    def responses(self) -> ResponseCache:
        """The response cache; no file is made before something is kept in it."""
        from aiki_kernel.models.response_cache import ResponseCache

        with self._lock:
            if self._responses is None:
                wanted = self.settings.cache
                most = int(wanted.size_mb * 1e6)
                self._responses = ResponseCache(self.paths.responses, most, wanted.days)
            return self._responses

    @property
    def personas(self) -> Roster:
        """The personas of this home."""
        with self._lock:
            if self._personas is None:
                from aiki_kernel.mind.roster import Roster

                self._personas = Roster(self.paths.home)
            return self._personas

    @property
    def planner(self) -> Planner:
        """Who decides which model answers; embeddings come from the memory's own embedder."""
        from aiki_kernel.mind.routing.planner import Planner

        return Planner(self.settings, self.paths.home, self._embed)

    async def _embed(self, text: str) -> NDArray[np.float32]:
        import numpy as np

        answer = await self.connection.door.call("POST", "/v1/embeddings", {"input": text})
        return np.asarray(answer["data"][0]["embedding"], np.float32)

    def _build(self) -> Consciousness:
        return self.consciousness

    def configure(self, settings: Settings) -> None:
        """Take on other settings from the next message on; the conversation goes on."""
        with self._lock:
            keep = settings.memory == self.settings.memory and settings.daemon == (
                self.settings.daemon
            )
            self.settings = settings
            # What the old parts still write is waited for at the end.
            parts = (self._consciousness, self._provider, self._telemetry)
            self._retired += [part for part in parts if part is not None]
            self._consciousness = self._provider = self._telemetry = None
            if self._responses is not None:
                self._responses.close()
                self._responses = None
            if not keep and self._connection is not None:
                self._retired.append(self._connection)
                self._connection = None

    # -- asynchronous -----------------------------------------------------------------------

    def respond(
        self, message: Message, conversation: Conversation | None = None
    ) -> AsyncGenerator[Event, None]:
        """The events of one message. Close the generator (or cancel) to stop the answer."""
        return self._respond(message, conversation or self.conversation)

    async def _respond(
        self, message: Message, conversation: Conversation
    ) -> AsyncGenerator[Event, None]:
        # Building the loop imports the model client: a second of work that must not
        # hold up an interrupt.
        mind = self._consciousness
        if mind is None:
            mind = await asyncio.to_thread(self._build)
        events = mind.respond(message, conversation)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    def stream(
        self, text: str, *, schema: Any = None, **options: Any
    ) -> AsyncGenerator[Event, None]:
        """The events of the answer to ``text``; ``options`` are fields of :class:`Message`.

        ``schema`` (a pydantic model, a dataclass, a TypedDict, or a JSON schema as a dict) makes
        the answer JSON of that form, and ``Completed.object`` its value.
        """
        if schema is not None:
            from aiki_kernel.mind.form import of

            options["form"] = of(schema)
        return self.respond(Message(text, **options))

    async def aclose(self) -> None:
        """Finish the writes under way and close connections."""
        # In this order: a turn still being written needs its connection.
        parts = (self._consciousness, self._provider, self._telemetry, self._connection)
        for part in (*self._retired, *parts):
            if isinstance(part, _Drains):
                await part.drain()
            elif part is not None:
                await part.aclose()
        self._retired.clear()
        if self._ledger is not None:
            await asyncio.to_thread(self._ledger.close)
        if self._responses is not None:
            self._responses.close()

    # -- synchronous ------------------------------------------------------------------------

    def ask(self, text: str, *, schema: Any = None, **options: Any) -> Reply:
        """Answer ``text`` as the next turn of this object's conversation and remember it.

        ``options`` are fields of :class:`Message`: ``model``, ``persona``, ``parameters``, ...
        With a ``schema``, as :meth:`stream` takes it, ``Reply.object`` is the validated value.
        Returns when the turn is durable.
        Raises :class:`aiki_kernel.errors.AikiError` when no answer can be had.
        """

        async def run() -> Reply:
            builder = ReplyBuilder()
            try:
                async for event in self.stream(text, schema=schema, **options):
                    builder.add(event)
            except AikiError:
                await self.consciousness.drain()  # what it did cost is in the books
                raise
            return builder.reply

        return self._runner.run(run())

    def health(self) -> dict[str, Any]:
        """The state of the memory daemon and what it owns, and under "routing" the breakers
        of the models and the latest hops from one to another, as this process saw them, and
        under "response_cache" how often that answered."""
        from aiki_kernel.models.breaker import BREAKER

        return {
            **self._runner.run(self.connection.health()),
            "routing": BREAKER.health(),
            "response_cache": self.responses.health(),
        }

    def usage(self) -> dict[str, Any]:
        """Sums over all calls in the ledger: ``calls``, ``input_tokens``, ``output_tokens``,
        ``cost_usd`` (of what has a known price; ``unpriced`` counts the others), ...
        """
        return self.ledger.totals()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on this object's own loop and wait for it (used by commands)."""
        return self._runner.run(work)

    def close(self) -> None:
        """Finish writes, close connections, end the thread. The object must not be used after."""
        if self._runner.started:
            self._runner.run(self.aclose())
            self._runner.stop()
        elif self._connection is not None or self._consciousness is not None:
            asyncio.run(self.aclose())

    def __enter__(self) -> Aiki:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _LoopThread:
    """An event loop in a daemon thread, started at first use."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    @property
    def started(self) -> bool:
        return self._loop is not None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="aiki-loop", daemon=True).start()
                self._loop = loop
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C in the caller's thread must stop the work as well.
            future.cancel()
            raise

    def stop(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
