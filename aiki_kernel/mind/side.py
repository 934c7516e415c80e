"""A model call beside the answer: a first try, a second sample, a consultation.

Nothing of it is shown as it comes. Its row for the ledger is kept with the run, whether
it ends well, fails or is cut, so that what was spent is booked in every case.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aiki_kernel.errors import ModelError
from aiki_kernel.mind import limits
from aiki_kernel.mind.booking import Costs, costs, row
from aiki_kernel.mind.ledger import Entry, Stage
from aiki_kernel.models.chat import ChatRequest, Finished, Hop, ModelPort, TextDelta, Usage
from aiki_kernel.models.tokens import estimate
from aiki_kernel.safety.secrets import redact

if TYPE_CHECKING:
    from aiki_kernel.config import Settings
    from aiki_kernel.mind.run import Run


@dataclass(frozen=True)
class Said:
    """What one call gave. ``name`` is the catalogue's name of the model that answered."""

    text: str
    finished: Finished
    name: str
    cost: Costs
    seconds: float
    hops: tuple[Hop, ...] = ()

    def entry(self, run: Run, stage: Stage) -> Entry:
        """Its row of the ledger."""
        return row(run, self.name, self.finished, self.cost, self.seconds, stage)


async def ask(
    port: ModelPort, settings: Settings, run: Run, request: ChatRequest, stage: Stage
) -> Said:
    """Make one call and wait for all of it. Raises :class:`aiki_kernel.errors.AikiError`.

    A call that fails or is cut after it began leaves its row in ``run.entries``; the row of
    one that ends well is the caller's (:meth:`Said.entry`).
    """
    if run.persona.models:
        asked = (request.model, *request.fallbacks)
        await asyncio.to_thread(limits.refuse, settings, run.persona, *asked)
    begun = time.perf_counter()
    text, finished, hops = "", None, []
    stream = port.stream(replace(request, stage=stage))
    try:
        async for event in stream:
            if isinstance(event, Finished):
                finished = event
            elif isinstance(event, Hop):
                hops.append(event)
            elif isinstance(event, TextDelta):
                text += event.text
        if finished is None:
            raise ModelError(
                f"{request.model} ended its answer without saying so: run the cell again.",
                stage="stream",
            )
    except BaseException as error:
        interrupted = not isinstance(error, Exception)
        if text or interrupted:
            prompt = sum(estimate(one.content) + one.image_tokens for one in request.messages)
            usage = Usage(prompt, estimate(text), estimated=True)
            run.entries.append(_cut(run, request.model, usage, error, begun, stage))
        elif isinstance(error, ModelError):
            run.entries.append(failed(run, request.model, error, begun, stage))
        raise
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
    name = hops[-1].to if hops else request.model
    charged = finished.detail.get("cost_usd")
    cost = await asyncio.to_thread(
        costs, settings, name, finished.usage, charged=charged, stage=stage
    )
    return Said(redact(text), finished, name, cost, time.perf_counter() - begun, tuple(hops))


def failed(
    run: Run, name: str, error: BaseException, begun: float, stage: Stage = "generate"
) -> Entry:
    """The row of a call that failed before any answer came: it is booked at no cost.
    ``begun`` is its ``time.perf_counter()``."""
    return replace(_cut(run, name, Usage(), error, begun, stage), cost_usd=0.0)


def _cut(
    run: Run, name: str, usage: Usage, error: BaseException, begun: float, stage: Stage
) -> Entry:
    interrupted = not isinstance(error, Exception)
    ended = Finished("interrupted" if interrupted else "error", usage, name, name.split("/")[0])
    made = row(run, name, ended, Costs(None), time.perf_counter() - begun, stage)
    return replace(made, error=type(error).__name__)
