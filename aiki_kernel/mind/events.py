"""The events of one message, in the order in which they happen.

``Recalled`` and ``Routed`` (either first) -> ``Consulted``? -> ``Hop``* -> ``Delta``* ->
``Completed`` -> ``Remembered``. The kernel, the terminal and the tests are three
renderers of these; there is no other way to run the loop.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from aiki_kernel.memory.records import Hit, Searched
from aiki_kernel.models.chat import Hop as Hop
from aiki_kernel.models.chat import Usage
from aiki_kernel.trace import Trace


@dataclass(frozen=True)
class Recalled:
    """Memories found. ``note`` is a line for the user when recall could not be had."""

    hits: tuple[Hit, ...]
    seconds: float
    backend: Searched = field(default_factory=Searched)
    note: str = ""


@dataclass(frozen=True)
class Candidate:
    """One model that could answer. ``quality`` is the chance of a right answer, ``cost_usd``
    what this message would cost with it, of which ``cache_loss_usd`` is what the prompt cache
    of the conversation so far would have saved; None is unknown. ``note`` says why it is out.
    """

    model: str
    tier: str
    quality: float | None = None
    cost_usd: float | None = None
    cache_loss_usd: float | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Decision:
    """Which model answers, and why.

    ``complexity`` is 0..1, None where nothing was judged. ``then`` is the model that a
    cascade escalates to, ``consult`` the one that is asked for an insight first; ``reasons``
    are lines for people.
    """

    model: str
    reason: str
    router: str = "fixed"
    complexity: float | None = None
    candidates: tuple[Candidate, ...] = ()
    reasons: tuple[str, ...] = ()
    then: str = ""
    consult: str = ""

    @property
    def named(self) -> bool:
        """Whether the user chose this very model, in a cell, a session or the settings."""
        return self.router == "fixed"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Routed:
    """A model was chosen, in so many seconds."""

    decision: Decision
    seconds: float


@dataclass(frozen=True)
class Consulted:
    """One insight of an expensive model, given to the one that answers.

    ``confidence`` is calibrated, 0..1; ``reused`` says that it was stored already and no call
    was made for it.
    """

    insight: str
    model: str
    cost_usd: float | None
    seconds: float
    confidence: float = 0.0
    reused: bool = False


@dataclass(frozen=True)
class Delta:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class Completed:
    """The answer is whole (or cut: then ``finish_reason`` says how).

    ``cost_usd`` is None when the price is unknown, which is not zero.
    ``metadata`` is what a notebook stores under the key ``aiki``; ``object`` is the value of an
    answer that was asked for in a form.
    """

    text: str
    model: str
    usage: Usage
    cost_usd: float | None
    trace: Trace
    finish_reason: str
    metadata: dict[str, Any] = field(default_factory=dict)
    object: Any = None


@dataclass(frozen=True)
class Remembered:
    """The turn is durable: in the store, or (``spooled``) on disk until the store is back."""

    ids: tuple[str, ...]
    seconds: float
    spooled: bool = False
    note: str = ""


Event = Recalled | Routed | Consulted | Hop | Delta | Completed | Remembered
