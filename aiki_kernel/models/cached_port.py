"""A model port that answers identical deterministic requests from the response cache.

It stands before the chain of fallbacks and the budget: a hit asks nobody and costs nothing. It
is asked only where the settings, or the request itself, want it, and only for requests with
temperature 0 or a seed. Kept are whole answers of the very model that was asked, with no hop
to another and no limit but the request's own. What a hit has saved is reckoned at the prices
of the day of the hit; a model whose price is unknown has saved an unknown sum.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import AikiError
from aiki_kernel.models import response_key
from aiki_kernel.models.cards import card
from aiki_kernel.models.catalogue import resolve
from aiki_kernel.models.chat import ChatRequest, Finished, Hop, ModelEvent, TextDelta, Usage
from aiki_kernel.models.response_cache import Kept, ResponseCache

if TYPE_CHECKING:
    from pathlib import Path

    from aiki_kernel.config import Settings
    from aiki_kernel.models.catalogue import ModelRef
    from aiki_kernel.models.fallback import Streams

_FIGURES = ("engine", "quantisation", "mean_logprob", "upstream", "left_out")
"""What is kept of an answer's detail; what it cost, held or noted belongs to that one call."""


class CachedPort:
    """The :class:`ModelPort` around another one that looks into ``cache`` first.

    ``models`` is the folder of this machine's model files.
    """

    def __init__(
        self, port: Streams, settings: Settings, cache: ResponseCache, models: Path
    ) -> None:
        self._port = port
        self._settings = settings
        self._cache = cache
        self._models = models

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ModelEvent, None]:
        """The events of the answer, kept or new. ``Finished.detail["cache"]`` tells of a hit."""
        key = await self._key(request)
        if key:
            kept = await asyncio.to_thread(self._cache.get, key)
            if kept is not None:
                finished = await asyncio.to_thread(self._again, request, kept)
                if kept.text:
                    yield TextDelta(kept.text)
                yield finished
                return
        pieces: list[str] = []
        hopped = False
        async with aclosing(self._port.stream(request)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    pieces.append(event.text)
                elif isinstance(event, Hop):
                    hopped = True
                elif isinstance(event, Finished) and key:
                    if not hopped and _whole(event, request):
                        kept = _kept("".join(pieces), event)
                        await asyncio.to_thread(self._cache.put, key, kept)
                    if self._cache.trouble:
                        notes = [*event.detail.get("notes", []), _note(self._cache.trouble)]
                        event = replace(event, detail={**event.detail, "notes": notes})
                yield event

    async def _key(self, request: ChatRequest) -> str:
        """The key of a request for which the cache is to be asked; "" for others."""
        wanted = self._settings.cache.chat if request.cache is None else request.cache
        if not wanted or not response_key.deterministic(request):
            return ""
        try:
            ref = resolve(self._settings, request.model)
            file = await asyncio.to_thread(self._state, ref) if ref.local else ""
        except (AikiError, OSError):
            return ""  # whoever asks the model says what is wrong with its name
        return response_key.key(request, endpoint=ref.base_url, model=ref.model, file=file)

    def _state(self, ref: ModelRef) -> str:
        """Which file a local model is and in what state, and the engine of the settings."""
        from aiki_kernel.models.weights import DEFAULT, installed

        here = installed(self._models)
        wanted = ref.model.removeprefix("local/")
        if wanted in ("local", ""):
            wanted = DEFAULT if DEFAULT in here or not here else sorted(here)[0]
        if wanted not in here:
            raise FileNotFoundError(wanted)
        found = here[wanted].stat()
        engine = self._settings.local.engine
        return f"{wanted}:{found.st_size}:{found.st_mtime_ns}:{engine}"

    def _again(self, request: ChatRequest, kept: Kept) -> Finished:
        """The end of an answer that was kept."""
        usage = Usage(**kept.usage)
        saved = None
        try:
            saved = card(self._settings, request.model).cost_usd(
                usage.input_tokens,
                usage.output_tokens,
                usage.cached_tokens,
                usage.cache_write_tokens,
            )
        except AikiError:
            saved = None
        if saved:
            self._cache.saved(saved)
        when = datetime.fromtimestamp(kept.made, UTC)
        told = "an unknown sum" if saved is None else f"${saved:.4f}" if saved else "$0"
        line = (
            f"From the response cache, asked {when.astimezone():%Y-%m-%d %H:%M}: no model was "
            f"called, {told} saved."
        )
        detail: dict[str, Any] = {
            **kept.detail,
            "name": request.model,
            "cost_usd": 0.0,
            "notes": [line],
            "cache": {
                "hit": True,
                "saved_usd": saved,
                "made": when.isoformat(timespec="seconds"),
                "age_s": round(max(0.0, time.time() - kept.made), 1),
                "usage": usage.to_json(),
            },
        }
        return Finished(kept.reason, Usage(), kept.model, kept.provider, detail=detail)


def _whole(event: Finished, request: ChatRequest) -> bool:
    """Whether the same request would end so again: by itself, or at its own limit."""
    if event.reason == "stop":
        return True
    return event.reason == "length" and event.usage.output_tokens >= request.max_tokens


def _kept(text: str, event: Finished) -> Kept:
    used = event.usage
    usage = {
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cached_tokens": used.cached_tokens,
        "estimated": used.estimated,
        "cache_write_tokens": used.cache_write_tokens,
    }
    detail = {name: event.detail[name] for name in _FIGURES if name in event.detail}
    return Kept(text, event.reason, usage, event.model, event.provider, detail)


def _note(trouble: str) -> str:
    return f"{trouble[:1].upper()}{trouble[1:]}: `aiki config set cache.chat false` leaves it out."
