"""The answer as a value: what ``reply`` and ``Out[n]`` hold, and what ``Aiki().ask`` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiki_kernel.memory.records import Hit
from aiki_kernel.mind.events import Completed, Delta, Event, Recalled, Remembered
from aiki_kernel.models.chat import Usage


@dataclass(frozen=True)
class Reply:
    """One answer. ``str(reply)`` is its text; ``cost_usd`` is None when the price is unknown;
    ``object`` is its value where it was asked for in a form."""

    text: str
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None
    hits: tuple[Hit, ...] = field(default=(), repr=False)
    finish_reason: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    object: Any = None

    def __str__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """The answer in a notebook: Markdown made harmless, and the text as it is."""
        from aiki_kernel.safety.markdown import harmless

        return {"text/markdown": harmless(self.text), "text/plain": self.text}

    @property
    def latency_s(self) -> Mapping[str, float]:
        """Seconds by stage."""
        found: Mapping[str, float] = self.metadata.get("latency_s", {})
        return found

    def to_json(self) -> dict[str, Any]:
        """Text and metadata as plain data."""
        return {"text": self.text, **self.metadata}


def with_remembered(metadata: Mapping[str, Any], event: Remembered) -> dict[str, Any]:
    """The metadata of an answer, completed by what became of its turn."""
    done = dict(metadata)
    done["remembered"] = {"ids": list(event.ids), "spooled": event.spooled}
    done["latency_s"] = {**done.get("latency_s", {}), "remember": round(event.seconds, 4)}
    if event.note:
        done["notes"] = [*done.get("notes", []), event.note]
    return done


class ReplyBuilder:
    """Folds events into a :class:`Reply`; ``reply`` may be read at any moment."""

    def __init__(self) -> None:
        self.reply = Reply("")

    def add(self, event: Event) -> Reply:
        """Take one event in and return the reply as it now stands."""
        if isinstance(event, Recalled):
            self.reply = replace(self.reply, hits=event.hits)
        elif isinstance(event, Delta):
            self.reply = replace(self.reply, text=self.reply.text + event.text)
        elif isinstance(event, Completed):
            self.reply = replace(
                self.reply,
                text=event.text,
                model=event.model,
                usage=event.usage,
                cost_usd=event.cost_usd,
                finish_reason=event.finish_reason,
                metadata=event.metadata,
                object=event.object,
            )
        elif isinstance(event, Remembered):
            self.reply = replace(self.reply, metadata=with_remembered(self.reply.metadata, event))
        return self.reply
