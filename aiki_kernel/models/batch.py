"""Steps of several threads joined into one: continuous batching.

Whoever wants the scores after one token asks here and waits. One of those who wait leads: it takes
all that were asked so far, and before that waits a moment for those who took part in the last step
and are choosing their next token. A conversation joins or leaves between any two steps. Everybody
who waits is served by the next step, so nobody is passed over.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiki_kernel.models.engine import Floats

_LONGEST_WAIT_S = 0.01
_SHARE = 0.5  # of a step's time that the leader waits at most


@dataclass
class _Ask:
    token: int
    state: Any
    scores: Floats | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.scores is not None or self.error is not None


class Batch:
    """Joins calls of :meth:`decode` into calls of ``step(tokens, states)``."""

    def __init__(
        self, step: Callable[[Sequence[int], Sequence[Any]], list[Floats]], most: int
    ) -> None:
        self._step, self._most = step, most
        self._changed = threading.Condition()
        self._waiting: deque[_Ask] = deque()
        self._last: set[int] = set()  # states of the last step
        self._leading = False
        self._step_s = 0.0

    def decode(self, token: int, state: Any) -> Floats:
        """Scores after ``token`` was appended to ``state``. What ``step`` raises, all raise."""
        ask = _Ask(token, state)
        with self._changed:
            self._waiting.append(ask)
            self._changed.notify_all()
            until = time.monotonic() + min(_LONGEST_WAIT_S, _SHARE * self._step_s)
            while not ask.done:
                if self._leading:
                    self._changed.wait()
                elif self._others_come() and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
                else:
                    self._lead()
        if ask.error is not None:
            raise ask.error
        assert ask.scores is not None
        return ask.scores

    def _others_come(self) -> bool:
        """Whether somebody of the last step has not asked again yet."""
        here = {id(ask.state) for ask in self._waiting}
        return len(self._waiting) < self._most and not self._last <= here

    def _lead(self) -> None:
        """Run a step for those who wait. The condition is held, but not while it runs."""
        asks = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        self._leading = True
        self._changed.release()
        begun = time.monotonic()
        found: list[Floats] = []
        error: BaseException | None = None
        try:
            found = self._step([ask.token for ask in asks], [ask.state for ask in asks])
        except BaseException as raised:
            error = raised
        finally:
            self._changed.acquire()
            self._leading = False
            self._step_s = time.monotonic() - begun
            self._last = {id(ask.state) for ask in asks}
            for number, ask in enumerate(asks):
                ask.scores = found[number] if error is None else None
                ask.error = error
            self._changed.notify_all()


class Turns:
    """A lock that is given in the order in which it was asked for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    def __enter__(self) -> None:
        me = object()
        with self._changed:
            self._queue.append(me)
            while self._queue[0] is not me:
                self._changed.wait()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._queue.popleft()
            self._changed.notify_all()
