"""A conversation: the exchanges of one notebook or terminal, in the order of their cells.

A cell that is run again replaces its own exchange and nothing else: later ones stay and
are marked stale, because the context that they answered to has changed.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aiki_kernel.memory.records import new_id, now
from aiki_kernel.safety.secrets import redact

_DIGEST = 20  # hexadecimal digits; two questions of one notebook never share them by chance

if TYPE_CHECKING:
    from aiki_kernel.mind.attachment import Attachment
    from aiki_kernel.mind.form import Form


@dataclass(frozen=True)
class Message:
    """What a user sent. ``cell_id`` is None where the frontend names no cell.

    ``model`` pins a model, ``persona`` names who answers, both for this message alone;
    ``parameters`` override fields of :class:`aiki_kernel.models.chat.ChatRequest`
    (temperature, max_tokens, seed, ...). ``note`` is a line to show with the answer.

    ``text`` has values in the place of names and placeholders in the place of what is
    ``attached``; ``typed`` is what the user wrote, where that differs. ``form`` asks for an
    answer that is a JSON value of that form.
    """

    text: str
    cell_id: str | None = None
    notebook: str | None = None
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    persona: str | None = None
    note: str = ""
    typed: str = ""
    attached: tuple[Attachment, ...] = ()
    form: Form | None = None

    @property
    def asked(self) -> str:
        """A mark of what is asked and of whom, the same for the same words: see :func:`asked`."""
        held = [one.digest for one in self.attached]
        if self.form is not None:
            held.append(self.form.instruction)
        return asked(self.text, self.persona, self.model, self.parameters, held)


def asked(
    text: str,
    persona: str | None = None,
    model: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    held: Sequence[str] = (),
) -> str:
    """A digest of a message, its own options and what it ``held`` besides. Of the text without
    secrets: it stands in notebooks, and must not let anybody test guesses of a password."""
    parts = [redact(text), persona or "", model or "", repr(sorted((parameters or {}).items()))]
    parts += held
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGEST]


@dataclass(frozen=True)
class Exchange:
    """One question with its answer; ``interrupted`` when the answer was cut, ``stale`` when an
    earlier one changed after it, ``kept`` when it was shown again instead of being asked again.
    ``asked`` is :attr:`Message.asked`, or "" where that is not known any more. A ``borrowed``
    one belongs to another notebook, of which this one is a copy.

    ``typed`` is what the user wrote where ``question`` has values and placeholders instead;
    ``sent`` is the question with what was attached to it, as later messages show it again.
    """

    turn_id: str
    question: str
    answer: str
    model: str
    created_at: str
    cell_id: str | None = None
    interrupted: bool = False
    stale: bool = False
    persona: str = "default"
    kept: bool = False
    asked: str = ""
    borrowed: bool = False
    typed: str = ""
    sent: str = ""

    def as_text(self) -> str:
        """Both sides as one text, as the lexical window wants it."""
        return f"{self.question}\n{self.answer}"


class Conversation:
    """The exchanges of one session. Thread-safe: subshells share it with the main shell."""

    def __init__(self, session_id: str | None = None, *, notebook: str | None = None) -> None:
        self.session_id = session_id or new_id()
        self.notebook = notebook
        self.path = ""  # the notebook's file, where its server tells it
        self.created_at = now()
        self.model: str | None = None
        self.persona: str | None = None  # who answers, when this session chose for itself
        self.backend: str | None = None  # what it computes with, when it chose for itself
        self.route: str = ""  # a tier or "auto", when the session is pinned to one
        self._exchanges: list[Exchange] = []
        self._lock = threading.Lock()

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What was said so far, in the order of the cells."""
        with self._lock:
            return tuple(self._exchanges)

    def before(self, message: Message) -> tuple[Exchange, ...]:
        """What was said before the place where ``message`` stands."""
        with self._lock:
            return tuple(self._exchanges[: self._place(message.cell_id)])

    def replaced_by(self, message: Message) -> Exchange | None:
        """The exchange that a rerun of the same cell supersedes, if there is one."""
        with self._lock:
            place = self._place(message.cell_id)
            return self._exchanges[place] if place < len(self._exchanges) else None

    def at(self, cell_id: str | None) -> Exchange | None:
        """What the cell said last, if it is in the conversation."""
        with self._lock:
            place = self._place(cell_id)
            return self._exchanges[place] if place < len(self._exchanges) else None

    def put(self, exchange: Exchange) -> None:
        """Store an exchange at its cell's place; a replaced one makes the later ones stale.

        The same turn shown again (a kept answer) changes nothing for those after it.
        """
        with self._lock:
            place = self._place(exchange.cell_id)
            if place == len(self._exchanges):
                self._exchanges.append(exchange)
                return
            same = self._exchanges[place].turn_id == exchange.turn_id
            self._exchanges[place] = exchange
            for later in range(place + 1, len(self._exchanges)):
                if not same:
                    self._exchanges[later] = replace(self._exchanges[later], stale=True)

    def drop(self, cell_ids: Collection[str]) -> tuple[Exchange, ...]:
        """Take the exchanges of deleted cells out; memories of them stay. What was dropped."""
        with self._lock:
            gone = tuple(one for one in self._exchanges if one.cell_id in cell_ids)
            if gone:
                self._exchanges = [one for one in self._exchanges if one not in gone]
            return gone

    def arrange(self, cell_ids: Sequence[str]) -> None:
        """Put the exchanges into the order of their cells; others keep their neighbour before."""
        with self._lock:
            self._exchanges = arranged(self._exchanges, cell_ids)

    def restore(self, session_id: str, exchanges: Iterable[Exchange]) -> None:
        """Go on with a conversation of the past; what was said here until now is left behind."""
        with self._lock:
            self._exchanges = list(exchanges)
            self.session_id = session_id
            if self._exchanges:
                self.created_at = min(one.created_at for one in self._exchanges)

    def clear(self) -> None:
        """Begin anew under a new session id; memories of the old session stay."""
        with self._lock:
            self._exchanges.clear()
            self.session_id = new_id()
            self.created_at = now()

    def _place(self, cell_id: str | None) -> int:
        if cell_id is not None:
            for index, exchange in enumerate(self._exchanges):
                if exchange.cell_id == cell_id:
                    return index
        return len(self._exchanges)


def arranged(exchanges: Sequence[Exchange], cell_ids: Sequence[str]) -> list[Exchange]:
    """``exchanges`` in the order of ``cell_ids``; one without a place there follows the one
    that it followed."""
    order = {cell: place for place, cell in enumerate(cell_ids)}
    at, keyed = -1, []
    for number, one in enumerate(exchanges):
        at = order.get(one.cell_id or "", at)
        keyed.append((at, (one.cell_id or "") not in order, number, one))
    return [one for *_, one in sorted(keyed, key=lambda key: key[:3])]
