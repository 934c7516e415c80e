"""The curator: a worker of the daemon that keeps the memory clean when nobody waits.

It begins when no message has come for a while, works in batches at the lowest priority, and stops
at the next memory (within a token, when a model of this machine reads) as soon as a message comes.
What awaits it is in the history of the memory, so it needs no shutdown: a killed daemon goes on
where it was.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import AikiError

if TYPE_CHECKING:
    from aiki_kernel.daemon.curation_model import ModelDescriber
    from aiki_kernel.daemon.engine import Engine
    from aiki_kernel.memory.curation import Curation

logger = logging.getLogger("aiki.daemon.curation")

_LOOK_S = 1.0
_AGAIN_S = 30.0
_IDLE_NICE = 19
Progress = Callable[[int, int], None]


class Curator:
    """Curates the memory of ``engine``. Its methods are thread-safe and cost next to nothing,
    except :meth:`finish`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.settings = engine.settings.memory
        self._at_work = threading.Lock()
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._message_at = time.monotonic()
        self._curation: Curation | None = None
        self._describer: ModelDescriber | None = None
        self._state = "off" if not self.settings.curate else "starting"
        self._error = ""
        self._not_before = 0.0

    def start(self) -> None:
        """Begin to work behind the scenes, unless ``memory.curate`` says not to."""
        if self.settings.curate and self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(target=self._run, name="aiki-curation", daemon=True)
            self._thread.start()

    def message(self) -> None:
        """A message is being answered: make room at once."""
        self._message_at = time.monotonic()
        if self._describer is not None:
            self._describer.make_room()

    def close(self) -> None:
        """Stop, and wait for the memory at hand."""
        self._stopped.set()
        self._wake.set()
        if self._describer is not None:
            self._describer.make_room()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(30.0)

    def finish(self, progress: Progress | None = None, *, again: bool = False) -> dict[str, Any]:
        """Curate all that waits now, whoever waits for a model; the status when it is done.

        ``again`` looks at memories that were there before curation, too. Raises AikiError when
        the memory is away.
        """
        with self._at_work:
            curation = self._open()
            if again:
                curation.begin_again()
            total, done = curation.waiting(), 0
            while not self._stopped.is_set():
                step = curation.run(self.settings.curate_most, self._stopped.is_set)
                done += step
                if progress:
                    progress(min(done, total), total)
                if not step and not curation.waiting():
                    self._state = "idle" if self.settings.curate else "off"
                    break
                if not step:
                    self._stopped.wait(0.2)  # a message has the model
        return self.status()

    def status(self) -> dict[str, Any]:
        """What is done and what waits; plain JSON data. Never blocked by work under way."""
        found: dict[str, Any] = {
            "enabled": self.settings.curate,
            "state": self._state,
            "model": self._describer.name if self._describer else "rules",
        }
        memory = self.engine.opened
        if memory is not None:
            with contextlib.suppress(Exception):  # the store is closing: what is known is told
                found["waiting"] = memory.collection.log.left_to_curate()
        if self._curation is not None:
            found["done"] = self._curation.tally.to_json()
        error = self._error or (self._describer.error if self._describer else "")
        if error:
            found["error"] = error
        return found

    # --- the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        _lowest_priority()
        while not self._stopped.is_set():
            worked = False
            try:
                if time.monotonic() >= self._not_before and self._quiet():
                    worked = self._batch()
                elif self._state == "working":
                    self._state = "waiting"
            except AikiError as error:
                self._later(str(error))
            except Exception as error:  # a thread that ends would leave the memory as it is
                logger.exception("curation failed")
                self._later(f"curation failed ({type(error).__name__}): see the daemon's log")
            if not worked:
                self._wake.wait(_LOOK_S if self._state != "starting" else 0.2)
                self._wake.clear()

    def _batch(self) -> bool:
        """One batch; whether anything was done."""
        with self._at_work:
            curation = self._open()
            if not curation.waiting():
                self._state = "idle"
                return False
            self._state = "working"
            done = curation.run(self.settings.curate_most, lambda: not self._quiet())
        self._error = ""
        if not done:
            self._state = "waiting"
        return done > 0

    def _quiet(self) -> bool:
        """Whether nobody waits for an answer, and has not for a while."""
        if self._stopped.is_set() or self.engine.opened is None or self.engine.queue.busy:
            return False
        return time.monotonic() - self._message_at >= self.settings.curate_after_s

    def _open(self) -> Curation:
        from aiki_kernel.memory.curation import Curation

        memory = self.engine.memory
        if self._curation is None or self._curation.service is not memory:
            from aiki_kernel.daemon.curation_model import describer_for

            self._describer = describer_for(self.engine)
            tally = self._curation.tally if self._curation else None
            self._curation = Curation(
                memory, describer=self._describer, prompts=_prompts(self.engine)
            )
            if tally is not None:
                self._curation.tally = tally
        return self._curation

    def _later(self, why: str) -> None:
        logger.warning("%s", why)
        self._error, self._state = why, "waiting"
        self._not_before = time.monotonic() + _AGAIN_S


def _prompts(engine: Engine) -> tuple[str, ...]:
    """The system prompts that answers are made with: the settings' and the personas'."""
    from aiki_kernel.mind.persona import Persona
    from aiki_kernel.mind.roster import Roster

    personas = [one for one in Roster(engine.paths.home).all() if isinstance(one, Persona)]
    voices = [one.system(language) for one in personas for language in ("en", "no")]
    return tuple(dict.fromkeys([engine.settings.generation.system, *filter(None, voices)]))


def _lowest_priority() -> None:
    """On Linux a thread has a priority of its own; elsewhere the daemon's must do."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _IDLE_NICE)
