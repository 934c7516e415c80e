"""What an engine for language models must do, whatever it is written in.

:class:`LanguageModel` is the whole of it: token ids in, scores of the next token out, with a
:class:`DecodeState` in between that holds keys and values. Templates, tokens, sampling, stop
strings and sessions live above this line and are the same for every engine. The NumPy engine
(:mod:`aiki_kernel.models.llama`) is the judge of correctness for those that come after it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class CancelledError(Exception):
    """The caller's event was set. The state holds as much as was finished before."""


class DecodeState(Protocol):
    """Keys and values of the first ``length`` tokens of one conversation."""

    @property
    def length(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        ...

    def truncate(self, length: int) -> None:
        """Forget everything after the first ``length`` tokens."""
        ...

    def fork(self, length: int) -> DecodeState:
        """A copy of the first ``length`` tokens, independent of this one."""
        ...


class LanguageModel(Protocol):
    """Weights that are ready to run. Safe to use from several threads, one state each."""

    @property
    def engine_name(self) -> str: ...

    @property
    def context_length(self) -> int:
        """The most tokens that a state can hold."""
        ...

    @property
    def vocabulary(self) -> int: ...

    @property
    def threads(self) -> int:
        """Threads in use; 0 when the engine cannot tell."""
        ...

    def new_state(self) -> DecodeState: ...

    def forward(
        self, tokens: Sequence[int], state: DecodeState, cancelled: threading.Event
    ) -> Floats:
        """Append ``tokens`` to ``state``; scores of the token after them, float32 (vocabulary,).

        ``cancelled`` is looked at many times a second; raises :class:`CancelledError` then.
        """
        ...
