"""Keys and values kept between the turns of a conversation.

A turn repeats all that was said before it, so most of its prompt has been computed already. Each
session keeps its last state with the tokens it stands for; the next turn begins behind their
longest common prefix. A new session may begin from a copy of another's prefix, which is how the
system prompt is computed once. States are bounded in number and in bytes; the least recently
used goes first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from aiki_kernel.models.engine import DecodeState

MAX_SESSIONS = 16
MAX_BYTES = 512 * 1024 * 1024
# Copying pays from about here on: a copy of a token costs far less than computing it.
_WORTH_COPYING = 8


@dataclass
class Session:
    """A state in use by one generation, and the tokens that it holds or soon will."""

    tokens: list[int]
    state: DecodeState

    def append(self, token: int) -> None:
        self.tokens.append(token)


class Sessions:
    """Safe for several threads: a state that was taken belongs to the taker until given back."""

    def __init__(self, max_sessions: int = MAX_SESSIONS, max_bytes: int = MAX_BYTES) -> None:
        self._max_sessions, self._max_bytes = max_sessions, max_bytes
        self._kept: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Memory of all states at rest, in bytes."""
        with self._lock:
            return sum(session.state.nbytes for session in self._kept.values())

    def take(
        self,
        name: str,
        prompt: Sequence[int],
        new_state: Callable[[], DecodeState],
        *,
        fresh: bool = False,
    ) -> Session:
        """A state holding as much of ``prompt`` as is known, but never all of it.

        The last token stays out, because its scores are wanted. ``fresh`` begins with nothing:
        what was computed in other pieces is rounded otherwise, which a seeded choice may show.
        """
        if fresh:
            with self._lock:
                self._kept.pop(name, None)
            return Session(list(prompt), new_state())
        ids = np.asarray(prompt, np.int64)
        with self._lock:
            own = self._kept.pop(name, None)
            shared = min(_shared(own, ids), len(ids) - 1)
            other = max(
                self._kept.values(), key=lambda session: _shared(session, ids), default=None
            )
            elsewhere = min(_shared(other, ids), len(ids) - 1)
            if other is not None and elsewhere >= shared + _WORTH_COPYING:
                state = other.state.fork(elsewhere)
            elif own is not None:
                state = own.state
                state.truncate(shared)
            else:
                state = new_state()
        return Session(list(prompt), state)

    def give_back(self, name: str, session: Session) -> None:
        """Keep ``session`` for the next turn, and let go of what is too much."""
        del session.tokens[session.state.length :]
        with self._lock:
            self._kept[name] = session
            self._kept.move_to_end(name)
            held = sum(kept.state.nbytes for kept in self._kept.values())
            while self._kept and (len(self._kept) > self._max_sessions or held > self._max_bytes):
                _, dropped = self._kept.popitem(last=False)
                held -= dropped.state.nbytes

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()


def _shared(session: Session | None, prompt: np.ndarray) -> int:
    """Length of the longest common prefix, in tokens."""
    if session is None:
        return 0
    length = min(len(session.tokens), len(prompt))
    differs = np.asarray(session.tokens[:length], np.int64) != prompt[:length]
    return int(differs.argmax()) if differs.any() else length
