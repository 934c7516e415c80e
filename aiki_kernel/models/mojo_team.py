"""Threads for the Mojo kernels, and how many of them a step should use.

Helpers are Python threads that stay inside the library and sleep there between jobs. Threads that
work in step are only as fast as the slowest, so a core that another process keeps busy costs more
than it brings. :class:`Pace` notices that from the times of the steps themselves.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_TRIAL = 3  # steps with the other number before the two are compared
_REST = 48  # steps before another trial while one thread is in use
_SLOWER = 1.15  # a step this much slower than the best of its kind calls for a trial
MOST_THREADS = 8


def thread_count(asked: int) -> int:
    """Threads to use at most: ``asked``, or as many as this process may run on."""
    try:
        here = len(os.sched_getaffinity(0))
    except AttributeError:
        here = os.cpu_count() or 1
    return max(1, min(asked or here, here, MOST_THREADS))


class Team:
    """The threads of one model. Started on first use; gone when the model is collected."""

    def __init__(self, kernels: Any, threads: int) -> None:
        self._kernels, self.threads = kernels, threads
        self._owner = 0
        self._handle: Any = None

    @property
    def handle(self) -> Any:
        """What the library knows the team by. After a fork the helpers are made anew."""
        if self._owner != os.getpid():
            self._owner = os.getpid()
            self._handle = handle = self._kernels.team()
            for number in range(1, self.threads):
                threading.Thread(
                    target=self._kernels.serve,
                    args=(handle, number),
                    name=f"aiki-mojo-{number}",
                    daemon=True,
                ).start()
            weakref.finalize(self, self._kernels.dismiss, handle)
        return self._handle


class Pace:
    """Chooses between all threads and one, by what steps of the same kind have taken.

    ``seconds`` of a step are compared per unit of its work, whatever the unit is.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.using = threads
        self._recent: dict[int, list[float]] = {1: [], threads: []}
        self._best = float("inf")
        self._left = 0  # steps of the trial that runs
        self._rest = _REST

    def note(self, threads: int, seconds: float) -> None:
        """A step of this kind took so long with ``threads``."""
        if self.threads == 1:
            return
        recent = self._recent[threads]
        recent.append(seconds)
        del recent[:-_TRIAL]
        if self._left:
            self._left -= 1
            if not self._left:
                self._decide()
            return
        if self.using == self.threads:
            self._best = min(self._best, seconds)
            self._rest -= 1
            slow = len(recent) == _TRIAL and sorted(recent)[1] > _SLOWER * self._best
            if slow and self._rest <= _REST - _TRIAL:
                self._try(1)
        else:
            self._rest -= 1
            if self._rest <= 0:
                self._try(self.threads)

    def _try(self, threads: int) -> None:
        self.using, self._left = threads, _TRIAL
        self._recent[threads].clear()

    def _decide(self) -> None:
        one, all_ = (sorted(self._recent[n])[len(self._recent[n]) // 2] for n in (1, self.threads))
        self.using = 1 if one < all_ else self.threads
        self._rest = _REST
        if self.using == self.threads:
            self._best = all_
