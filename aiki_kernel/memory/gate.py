"""A gate that many may pass at once, or one alone: readers never see a store being swapped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Shared and exclusive passage. Whoever waits to be alone goes before new readers."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._alone = False
        self._waiting = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Pass beside others."""
        with self._condition:
            while self._alone or self._waiting:
                self._condition.wait()
            self._inside += 1
        try:
            yield
        finally:
            with self._condition:
                self._inside -= 1
                if not self._inside:
                    self._condition.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Pass when everybody has left; nobody enters meanwhile. Not to be nested."""
        with self._condition:
            self._waiting += 1
            while self._alone or self._inside:
                self._condition.wait()
            self._waiting -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._condition:
                self._alone = False
                self._condition.notify_all()
