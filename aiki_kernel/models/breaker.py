"""A circuit breaker for each model: after repeated failures it is left alone for a while.

Closed: calls go through. Open, after a number of failures in a row: calls go to the next
model of the chain. Half-open, when its time is up: one call may try; if it succeeds the
breaker closes, if it fails the breaker opens for twice as long. One breaker serves the whole
process, so what one notebook's subshell learns the other knows.

Source of the pattern: M. Nygard, Release It!, "Circuit Breaker".
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiki_kernel.models.chat import Hop

_LONGEST_S = 600.0
_HOPS_KEPT = 20


@dataclass
class _State:
    """Of one model. ``opened_at`` is None while closed; ``trial`` while one call tries."""

    failures: int = 0
    opened_at: float | None = None
    open_s: float = 0.0
    trial: bool = False
    why: str = ""


class Breaker:
    """States by model name. Thread-safe. ``clock`` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._states: dict[str, _State] = {}
        self._hops: deque[dict[str, str]] = deque(maxlen=_HOPS_KEPT)

    def wait_s(self, name: str) -> float:
        """Seconds until ``name`` may be tried; 0.0 when it may now."""
        with self._lock:
            state = self._states.get(name)
            if state is None or state.opened_at is None:
                return 0.0
            left = state.opened_at + state.open_s - self._clock()
            return max(left, 0.1 if state.trial else 0.0)

    def begin(self, name: str) -> bool:
        """Whether ``name`` may be called now. In a half-open breaker that takes the one trial."""
        if self.wait_s(name) > 0:
            return False
        with self._lock:
            state = self._states.get(name)
            if state is not None and state.opened_at is not None:
                if state.trial:
                    return False  # another thread took it between the two locks
                state.trial = True
        return True

    def succeeded(self, name: str) -> None:
        """It answered: the breaker closes."""
        with self._lock:
            self._states.pop(name, None)

    def failed(self, name: str, why: str, *, threshold: int, open_s: float) -> None:
        """It failed; after ``threshold`` failures in a row the breaker opens for ``open_s``."""
        with self._lock:
            state = self._states.setdefault(name, _State())
            state.failures += 1
            state.why = why
            if state.opened_at is not None:  # the trial failed, or a call begun before it opened
                if state.trial:
                    state.open_s = min(2 * state.open_s, _LONGEST_S)
                    state.opened_at = self._clock()
            elif state.failures >= threshold:
                state.open_s, state.opened_at = min(open_s, _LONGEST_S), self._clock()
            state.trial = False

    def given_back(self, name: str) -> None:
        """A call ended without saying anything of the model (an interrupt): free the trial."""
        with self._lock:
            state = self._states.get(name)
            if state is not None:
                state.trial = False

    def hopped(self, hop: Hop) -> None:
        """Keep a hop for health to show."""
        with self._lock:
            when = datetime.now(UTC).isoformat(timespec="seconds")
            self._hops.append({"when": when, **hop.to_json()})

    def health(self) -> dict[str, Any]:
        """``breakers``: models with failures; ``hops``: the latest ones, newest last."""
        with self._lock:
            now = self._clock()
            return {
                "breakers": [
                    {
                        "model": name,
                        "state": _named(state, now),
                        "failures": state.failures,
                        "retry_in_s": _left(state, now),
                        "last_failure": state.why,
                    }
                    for name, state in sorted(self._states.items())
                ],
                "hops": list(self._hops),
            }

    def clear(self) -> None:
        """Forget everything: all breakers are closed."""
        with self._lock:
            self._states.clear()
            self._hops.clear()


def _left(state: _State, now: float) -> float:
    if state.opened_at is None:
        return 0.0
    return round(max(0.0, state.opened_at + state.open_s - now), 1)


def _named(state: _State, now: float) -> str:
    if state.opened_at is None:
        return "closed"
    return "open" if _left(state, now) > 0 else "half-open"


BREAKER = Breaker()
"""The one of this process."""
