"""A model that describes long texts for the curator: one of this machine, or one by name.

What rules can find they find better than a small model: names, dates, amounts, what to keep. A
model adds a summary, tags and themes to texts that are too long to be their own summary, and only
in the text's own words (see :mod:`aiki_kernel.memory.curation_record`). A model that costs money
is asked only when the settings name it, within the budget, once for each memory, and each call is
in the ledger under the stage ``curate``.
"""

from __future__ import annotations

import abc
import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from aiki_kernel.daemon.generation import PreemptedError, StoppingError
from aiki_kernel.errors import AikiError, ModelError
from aiki_kernel.memory.curation import YieldedError
from aiki_kernel.memory.curation_record import Described, schema
from aiki_kernel.memory.records import Record, now
from aiki_kernel.mind.booking import costs
from aiki_kernel.mind.budget import Budget
from aiki_kernel.mind.ledger import Entry, Ledger
from aiki_kernel.models.catalogue import LOCAL, resolve
from aiki_kernel.models.chat import ChatMessage, ChatRequest, Finished, TextDelta
from aiki_kernel.models.tokens import estimate

if TYPE_CHECKING:
    from aiki_kernel.daemon.engine import Engine

logger = logging.getLogger("aiki.daemon.curation")

RULES = ("", "rules", "off")
_MOST_CHARS = 1600
_MOST_TOKENS = 160
_LARGE = 600 << 20  # bytes of a model file from which its guesses at categories count
_REST_S = 300.0
_SYSTEM = (
    "You index notes. Answer with one JSON object: summary (one short sentence, only words of the "
    "note), tags (key words of the note), themes (what it is about)."
)


class ModelDescriber(abc.ABC):
    """Asks one model for :class:`Described` records. ``error`` is why the last call failed."""

    def __init__(self, engine: Engine, name: str, *, once: bool, trusted: bool) -> None:
        self.engine = engine
        self.name = name
        self.once = once
        self.trusted = trusted
        self.error = ""
        self.schema = schema(categories=trusted)
        self._rests_until = 0.0
        self._cancelled: threading.Event | None = None
        self._ledger = Ledger(engine.paths.ledger)

    def wants(self, text: str) -> bool:
        """Long texts, unless the model has just failed."""
        long = len(text) >= self.engine.settings.memory.curate_from_chars
        return long and time.monotonic() >= self._rests_until

    def make_room(self) -> None:
        """Stop a model of this machine within a token; one elsewhere is in nobody's way."""
        if self._cancelled is not None:
            self._cancelled.set()

    def describe(self, text: str, record: Record) -> Described | None:
        """What the model says; None when it fails, which is told in ``error``."""
        messages = (
            ChatMessage("system", _SYSTEM),
            ChatMessage("user", f"Note:\n{text[:_MOST_CHARS]}"),
        )
        began = time.perf_counter()
        try:
            answer, finished = self._ask(messages, record)
        except (YieldedError, PreemptedError, StoppingError):
            raise YieldedError from None
        except AikiError as error:
            self.error = str(error)
            self._rests_until = time.monotonic() + _REST_S
            logger.warning("curation goes on by rules: %s", error)
            return None
        self.error = ""
        self._book(record, finished, time.perf_counter() - began)
        return Described.read(answer)

    @abc.abstractmethod
    def _ask(self, messages: tuple[ChatMessage, ...], record: Record) -> tuple[str, Finished]:
        """The answer as it stands, and how it ended."""
        ...

    def _book(self, record: Record, finished: Finished, seconds: float) -> None:
        usage, local = finished.usage, self.name.partition("/")[0] == LOCAL
        settings = self.engine.settings
        charged = finished.detail.get("cost_usd")
        cost = costs(settings, self.name, usage, charged=charged, stage="curate")
        self.engine.audit.record(
            "model.call",
            model=self.name,
            stage="curate",
            session_id=record.run_id,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            reason=finished.reason,
        )
        self._ledger.record(
            Entry(
                when=now(),
                session_id=record.run_id or "",
                turn_id=record.turn_id or record.id,
                stage="curate",
                kind="curation",
                model=finished.model,
                provider=finished.provider,
                name=self.name,
                tier=(cost.card.tier or "") if cost.card else "",
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cached_tokens=usage.cached_tokens,
                cost_usd=0.0 if local else cost.usd,
                estimated=usage.estimated,
                latency_s=seconds,
                local_s=seconds if local else 0.0,
                finish_reason=finished.reason,
                smart_only_usd=0.0,
                cheap_only_usd=0.0,
            )
        )


class LocalDescriber(ModelDescriber):
    """A model of this machine, behind every cell in the generation queue."""

    def _ask(self, messages: tuple[ChatMessage, ...], record: Record) -> tuple[str, Finished]:
        def produce(cancelled: threading.Event) -> Iterator[TextDelta | Finished]:
            self._cancelled = cancelled
            with self.engine.models.using(self.name) as model:
                yield from model.generate(
                    messages,
                    temperature=0.0,
                    repetition_penalty=1.1,
                    max_tokens=_MOST_TOKENS,
                    cancelled=cancelled,
                    schema=self.schema,
                )

        text, finished = "", None
        try:
            for item in self.engine.queue.run(produce, session="curation", priority="curation"):
                if isinstance(item, TextDelta):
                    text += item.text
                else:
                    finished = item
        finally:
            self._cancelled = None
        if finished is None or finished.reason == "cancelled":
            raise YieldedError
        return text, finished


class RemoteDescriber(ModelDescriber):
    """A model by name, through the budget."""

    def _ask(self, messages: tuple[ChatMessage, ...], record: Record) -> tuple[str, Finished]:
        return asyncio.run(self._stream(messages, record))

    async def _stream(
        self, messages: tuple[ChatMessage, ...], record: Record
    ) -> tuple[str, Finished]:
        from aiki_kernel.models.fallback import Fallback
        from aiki_kernel.models.provider import Provider

        settings = self.engine.settings
        provider = Provider(settings)
        port = Fallback(provider, settings, gate=Budget(self._ledger.file, settings))
        inside = {"name": "note", "strict": False, "schema": self.schema}
        request = ChatRequest(
            model=self.name,
            messages=messages,
            temperature=0.0,
            max_tokens=_MOST_TOKENS * 2,
            session_id=record.run_id or "",
            turn_id=record.turn_id or record.id,
            stage="curate",
            prompt_tokens=sum(estimate(message.content) for message in messages),
            response_format={"type": "json_schema", "json_schema": inside},
        )
        text, finished = "", None
        try:
            async with aclosing(port.stream(request)) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        text += event.text
                    elif isinstance(event, Finished):
                        finished = event
        finally:
            await provider.aclose()
        if finished is None:
            raise ModelError(f"{self.name} ended its answer without saying so.", stage="stream")
        return text, finished


def describer_for(engine: Engine) -> ModelDescriber | None:
    """The model that ``memory.curate_model`` means; None where rules are to do.

    ``local`` without any model installed means rules. Raises :class:`ModelError` for a name that
    nobody knows.
    """
    name = engine.settings.memory.curate_model.strip()
    if name.lower() in RULES:
        return None
    ref = resolve(engine.settings, name)
    if not ref.local:
        return RemoteDescriber(engine, ref.name, once=True, trusted=True)
    if name == LOCAL and not engine.models.installed():
        return None
    found, path = engine.models.find(name)
    large = path.stat().st_size >= _LARGE
    return LocalDescriber(engine, f"{LOCAL}/{found}", once=False, trusted=large)


def status_of(engine: Engine) -> dict[str, Any]:
    """The curator's status with what was turned away in all, by reason."""
    from aiki_kernel.memory.curation import REASON

    found = engine.curator.status()
    endings: dict[str, int] = {}
    for reason, count in engine.memory.collection.log.endings(REASON).items():
        plain = reason.removeprefix(REASON).partition(" (")[0]
        endings[plain] = endings.get(plain, 0) + count
    return {**found, "turned_away": endings}
