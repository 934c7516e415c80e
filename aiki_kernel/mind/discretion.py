"""No secret leaves the loop: not in the answer as it grows, not in what is remembered of it.

The model still gets the question as it was asked. What is shown, kept in the conversation's
answers, written to memory, spool, ledger and metadata has marks where secrets stood; notes say
what kind, and the audit log how many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from aiki_kernel.memory.records import Turn
from aiki_kernel.models.chat import Finished, ModelEvent, TextDelta
from aiki_kernel.safety.secrets import cleaned, told
from aiki_kernel.safety.veil import Veil

if TYPE_CHECKING:
    from aiki_kernel.mind.run import Run


async def veiled(events: AsyncIterator[ModelEvent], veil: Veil) -> AsyncIterator[ModelEvent]:
    """The events of a model, their text through ``veil``. What the veil holds when the model
    is done comes before :class:`Finished`; what it holds when the answer is cut, it keeps."""
    try:
        async for event in events:
            if isinstance(event, TextDelta) and event.text:
                yield replace(event, text=veil.feed(event.text))
            elif isinstance(event, Finished):
                if rest := veil.end():
                    yield TextDelta(rest)
                yield event
            else:
                yield event
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


def closed(run: Run, veil: Veil) -> None:
    """The stream is over: what was found goes into the books. What the veil still holds of a
    cut answer was not shown, and is not kept."""
    if veil.found:
        run.secrets["answer"] = run.secrets.get("answer", Counter()) + veil.found


def look_at_question(run: Run) -> None:
    """Note what of the question will not be remembered, and what was taken out of the answer."""
    _, found = cleaned(run.message.text)
    if found:
        run.secrets["question"] = Counter(found)
        run.notes.append(f"Not remembered from the question: {told(found)}.")
    if answered := run.secrets.get("answer"):
        run.notes.append(f"Taken out of the answer: {told(answered)}.")


def discreet(turn: Turn) -> Turn:
    """``turn`` without secrets."""
    return replace(
        turn,
        question=cleaned(turn.question)[0],
        answer=cleaned(turn.answer)[0],
        previous=cleaned(turn.previous)[0],
    )
