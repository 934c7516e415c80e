"""An answer that has to have a form: asked for, read, asked for once more, or refused.

Nothing is shown before it fits. The first answer that does not is booked as a call of its own
(stage ``form``), and the model is told what is wrong with it, once. When that does not help the
cell fails with one line, and the text that came stays where the answer would stand. An answer
that was cut at its limit is not asked for again: it would be cut again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiki_kernel.mind import side
from aiki_kernel.mind.events import Delta, Event
from aiki_kernel.mind.form import Form, FormError
from aiki_kernel.mind.side import Said
from aiki_kernel.models.chat import ChatMessage, ChatRequest, ModelPort

if TYPE_CHECKING:
    from aiki_kernel.config import Settings
    from aiki_kernel.mind.run import Run


async def answer(
    run: Run, request: ChatRequest, port: ModelPort, settings: Settings
) -> AsyncGenerator[Event, None]:
    """The events of one answer whose text is JSON; ``run.object`` holds what it means.

    Raises :class:`FormError` when it does not fit in the end, after its text.
    """
    form = run.message.form
    assert form is not None
    prompt_tokens, run.prompt_tokens = run.prompt_tokens, 0  # each call books itself
    with run.trace.span("generate") as span:
        said = await side.ask(port, settings, run, request, "generate")
        read, problem = await _read(form, said)
        if problem and said.finished.reason != "length":
            run.entries.append(said.entry(run, "form"))
            usd = said.cost.usd
            spent = "at unknown cost" if usd is None else f"for ${usd:.4f}" if usd else "at no cost"
            run.notes.append(
                f"{said.name} answered {spent} what is no {form.name} ({problem}) and was asked "
                "once more."
            )
            said = await side.ask(
                port, settings, run, _corrected(request, said, problem), "generate"
            )
            read, problem = await _read(form, said)
        span.attributes["gen_ai.request.model"] = said.name
    run.finished, run.text = said.finished, said.text
    run.hops.extend(said.hops)
    if problem:
        run.entries.append(said.entry(run, "generate"))
        yield Delta(said.text)
        raise FormError(_refusal(form, said, problem), problem)
    run.prompt_tokens = prompt_tokens
    data, run.object = read
    run.text = json.dumps(data, ensure_ascii=False, indent=2)
    run.extra["form"] = {"name": form.name, "type": type(run.object).__name__}
    yield Delta(run.text)


async def _read(form: Form, said: Said) -> tuple[tuple[Any, Any], str]:
    """Data and object, or what is wrong; in a thread, since a user's own validators may run."""
    try:
        return await asyncio.to_thread(form.read, said.text), ""
    except ValueError as error:
        return (None, None), str(error).splitlines()[0]


def _corrected(request: ChatRequest, said: Said, problem: str) -> ChatRequest:
    """The same request, with the answer and what is wrong with it behind."""
    told = f"That does not fit the schema ({problem}). Answer again with the whole JSON object."
    more = (ChatMessage("assistant", said.text or "(nothing)"), ChatMessage("user", told))
    return replace(request, messages=(*request.messages, *more), prompt_tokens=0)


def _refusal(form: Form, said: Said, problem: str) -> str:
    kept = "its text is in reply.text"
    if said.finished.reason == "length":
        tokens = said.finished.usage.output_tokens
        return (
            f"{said.name}'s answer was cut after {tokens:,} tokens and is no {form.name} "
            f"({problem}): raise --max-tokens (generation.max_tokens); {kept}."
        )
    return (
        f"{said.name} gave no {form.name} in two tries ({problem}): simplify the schema, say in "
        f"the question what is wanted, or choose another model; {kept}."
    )
