"""Threads for the Mojo kernels, and how many of them a step should use.

Helpers are Python threads that stay inside the library and sleep there between jobs. Threads that
work in step are only as fast as the slowest, so a core that another process keeps busy costs more
than it brings. :class:`Pace` notices that from the times of the steps themselves.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from statistics import fmean
from typing import Any

_TRIAL = 3  # steps of a trial with the other number
_KEPT = 8  # steps whose mean counts: on busy cores most are fast, and some wait for a turn
_FIRST_REST, _CHANGED_REST, _LONGEST_REST = 2, 16, 512  # steps before the next trial
_LONGER = 4  # times as long a rest after each trial that is lost
PROBE = 3  # layers of a probe; the first wakes the helpers
_SLOWER = 1.3  # all threads so much slower than they can be, or one so much faster: try at once
_HOPELESS = 1.4  # a step of a trial this much slower than usual ends it
_PROMISING = 1.0  # of the usual time: a probe that takes longer is followed by no trial. With 1.4
# prompts of two threads, 1.6 times as fast as of one, were now and then given to one to try.
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

    From time to time a step begins with a probe: a few layers with the other number. On busy cores
    a whole step of all threads, which meet some hundred times, may take as long as ten of one; and
    on quiet ones a probe of one costs hardly anything. Only when that looks well some whole steps
    are tried. Trials that change nothing become rarer; a hopeless one ends after one step.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.using = threads
        self._times: dict[int, deque[float]] = {n: deque(maxlen=_KEPT) for n in (1, threads)}
        self._best = float("inf")  # of all threads, since they were last chosen
        self._alone = 0.0  # of one thread, when it was last chosen
        self._trial = 0  # steps left of the one that runs
        self.probing = False  # the next step should begin with a probe
        self._pause = self._rest = _FIRST_REST
        self._cold = True

    def note(self, threads: int, seconds: float) -> None:
        """A step took so many seconds, per unit of its work, with ``threads``."""
        if self.threads == 1 or self._cold:  # the first step waits for memory, and says nothing
            self._cold = False
            return
        self._times[threads].append(seconds)
        if threads != self.using:
            return  # begun before a trial of somebody else
        if self._trial:
            usual = fmean(self._times[self.other])
            self._trial = 0 if seconds > _HOPELESS * usual else self._trial - 1
            if not self._trial:
                self._decide()
            return
        if self.probing:
            return
        self._rest -= 1
        usual = fmean(self._times[threads])
        if self.using == self.threads:
            self._best = min(self._best, seconds)
            changed = usual > _SLOWER * self._best
        else:  # a thread that is no longer disturbed tells that the cores are free again
            changed = _SLOWER * usual < self._alone
        if changed and self._rest < self._pause - _TRIAL:
            self._rest = 0
        if self._rest <= 0:
            self.probing = True

    def probed(self, seconds: float) -> None:
        """A step of the :attr:`other` number would take so long, by what a probe has taken."""
        if not self.probing:
            return  # somebody else was first
        self.probing = False
        usual = fmean(self._times[self.using])
        if seconds > _PROMISING * usual:
            self._rest_longer()
            self._remember()
        else:
            self._trial, self.using = _TRIAL, self.other
            self._times[self.using].clear()

    def _rest_longer(self) -> None:
        self._pause = self._rest = min(_LONGER * self._pause, _LONGEST_REST)

    @property
    def other(self) -> int:
        """The number that is not in use."""
        return 1 if self.using == self.threads else self.threads

    def _decide(self) -> None:
        tried, before = self.using, self.other
        if fmean(self._times[tried]) < fmean(self._times[before]):
            self._pause = self._rest = _CHANGED_REST
        else:
            self.using = before
            self._rest_longer()
        self._remember()

    def _remember(self) -> None:
        """What the number in use takes now is what it can do."""
        usual = fmean(self._times[self.using])
        if self.using == 1:
            self._alone = usual
        else:
            self._best = usual
