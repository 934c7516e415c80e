"""The Mojo engine: a :class:`~aiki_kernel.models.engine.LanguageModel` on compiled kernels.

Python owns all memory and decides what is computed; the library computes some layers for some
tokens and returns. Between such calls, a few hundredths of a second apart, the caller's event is
looked at. Several conversations may decode in one pass (:meth:`MojoModel.step`): the weights are
then read once for all of them.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aiki_kernel.compute.native import load_best
from aiki_kernel.errors import ModelError
from aiki_kernel.models.arena_file import ArenaFile
from aiki_kernel.models.batch import Batch, Turns
from aiki_kernel.models.engine import CancelledError, DecodeState, Floats
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.mojo_state import HalfKeyValues
from aiki_kernel.models.mojo_team import PROBE, Pace, Team, thread_count
from aiki_kernel.models.mojo_weights import LAYOUT, MojoWeights, UnsupportedError, aligned
from aiki_kernel.models.quants import Bytes

CHUNK = 192  # tokens of a prompt in one pass
MOST_SEGMENTS = 32  # conversations of one step
_LOOK_S = 0.04  # seconds between looks at the event
_WIDE = 12  # columns of the widest kernel; scores are padded to it
_FIRST_POSITIONS = 512

Ints = npt.NDArray[np.int32]


def tiles_file(cache: Any, sha256: str) -> ArenaFile:
    """Where the repacked weights of a file are kept."""
    return ArenaFile(cache, sha256, kind="tiles", layout=LAYOUT)


class MojoModel:
    """Weights that are ready to run. Safe to use from several threads, one state each."""

    engine_name = "mojo"

    def __init__(self, file: GGUF, *, threads: int = 0, stored: ArenaFile | None = None) -> None:
        """Raises :class:`UnsupportedError` where only NumPy can do it, else :class:`ModelError`."""
        loaded = load_best("language")
        if loaded.library is None:
            raise UnsupportedError(loaded.reason)
        self.variant: str = loaded.variant
        self._kernels = loaded.library
        self.weights = MojoWeights.read(file, stored)
        self.shape = self.weights.shape
        try:
            self._handle = self._kernels.open(self.weights.plan, self.weights.arena)
        except ValueError as error:
            raise UnsupportedError(f"the kernels refuse the file ({error})") from None
        self.threads = thread_count(threads)
        self._team = Team(self._kernels, self.threads)
        self._paces = (Pace(self.threads), Pace(self.threads))  # steps, prompts
        self._turns = Turns()
        self._batch = Batch(self.step, MOST_SEGMENTS)
        self._scratch: Bytes = aligned(64)
        self._scores = aligned(64).view(np.float32)
        self._angles: Floats = np.empty((0, self.shape.rotary), np.float32)
        self._layer_s = [1e-4, 1e-5]  # seconds a layer: of a step, of a token of a prompt
        self.storing: threading.Thread | None = None
        if stored is not None and not self.weights.mapped:
            self.storing = stored.write_later(self.weights.arena.view(np.float32))

    @property
    def context_length(self) -> int:
        return self.shape.context

    @property
    def vocabulary(self) -> int:
        return self.shape.vocabulary

    def new_state(self) -> HalfKeyValues:
        return HalfKeyValues(self.shape)

    def forward(
        self, tokens: Sequence[int], state: DecodeState, cancelled: threading.Event
    ) -> Floats:
        """See :meth:`LanguageModel.forward`. Looks at ``cancelled`` some 25 times a second.

        Single tokens of several threads are computed together, prompts a chunk in turn.
        """
        ids, own = self._ids(tokens), self._own(state)
        self._make_room(own, len(ids))
        if cancelled.is_set():
            raise CancelledError
        if len(ids) == 1:
            return self._batch.decode(int(ids[0]), own)
        passes = -(-len(ids) // CHUNK)
        edges = [round(len(ids) * number / passes) for number in range(passes + 1)]
        for first, last in itertools.pairwise(edges):
            with self._turns:
                self._run(ids[first:last], [own], [last - first], last == len(ids), cancelled)
                if last == len(ids):
                    return self._scores[: self.vocabulary].copy()
        raise AssertionError("a prompt has at least one token")

    def step(self, tokens: Sequence[int], states: Sequence[DecodeState]) -> list[Floats]:
        """Append one token to each state in one pass: the scores after each.

        At most :data:`MOST_SEGMENTS`, all of them different states.
        """
        ids, own = self._ids(tokens), [self._own(state) for state in states]
        if len(own) != len(ids) or len({id(state) for state in own}) != len(own):
            raise ValueError("a step takes one token for each of some different states")
        if len(own) > MOST_SEGMENTS:
            raise ValueError(f"a step takes at most {MOST_SEGMENTS} states")
        for state in own:
            self._make_room(state, 1)
        with self._turns:
            self._run(ids, own, [1] * len(own), True, None)
            stride = -(-self.vocabulary // 16) * 16
            return [
                self._scores[number * stride : number * stride + self.vocabulary].copy()
                for number in range(len(own))
            ]

    def _ids(self, tokens: Sequence[int]) -> Ints:
        ids = np.asarray(tokens, np.int64)
        if not len(ids) or ids.min() < 0 or ids.max() >= self.vocabulary:
            raise ModelError("A token lies outside the vocabulary of this model.")
        return ids.astype(np.int32)

    def _own(self, state: DecodeState) -> HalfKeyValues:
        if not isinstance(state, HalfKeyValues):
            raise TypeError("the state belongs to another engine")
        return state

    def _make_room(self, state: HalfKeyValues, count: int) -> None:
        length = state.length + count
        if length > self.shape.context:
            raise ModelError(
                f"The conversation is longer than the model's context of {self.shape.context} "
                "tokens: start a new session or ask for less."
            )
        state.reserve(length)

    def _turn_to(self, length: int) -> None:
        """Angles for so many positions."""
        if length > len(self._angles):
            most = min(max(length, 2 * len(self._angles), _FIRST_POSITIONS), self.shape.context)
            turns = np.arange(most, dtype=np.float64)[:, None] * self.weights.frequencies
            self._angles = np.concatenate([np.cos(turns), np.sin(turns)], axis=1, dtype=np.float32)

    def _run(
        self,
        ids: Ints,
        states: list[HalfKeyValues],
        counts: list[int],
        wanted: bool,
        cancelled: threading.Event | None,
    ) -> None:
        """All layers for ``ids``, a few at a time. It is the caller's turn."""
        kernels, layers = self._kernels, self.shape.layers
        many = int(len(ids) > MOST_SEGMENTS)
        step = len(ids) == len(states)
        pace, units = self._paces[int(not step)], len(ids) if many else 1
        self._fit(len(ids), len(states), self.threads)
        self._turn_to(max(s.length + n for n, s in zip(counts, states, strict=True)))
        segments = np.array(
            [(n, s.length, s.capacity) for n, s in zip(counts, states, strict=True)], np.int64
        )
        caches = [state.room for state in states]

        def run(threads: int, first: int, last: int) -> float:
            """Seconds that the layers [first, last) take."""
            begun = time.perf_counter()
            kernels.run(
                self._handle,
                self._team.handle,
                threads,
                first,
                last,
                int(wanted and last == layers),
                segments,
                ids,
                self._angles,
                self._scratch,
                self._scores,
                *caches,
            )
            return time.perf_counter() - begun

        first = 0
        paced = many or step  # the time of a short prompt says nothing of a long one's
        if pace.probing and paced and layers > PROBE:
            run(pace.other, 0, 1)
            took = run(pace.other, 1, PROBE) / (PROBE - 1) * layers / units
            pace.probed(took if many else took / self.weights.layers_share)
            first = PROBE
        elif pace.probing and paced:
            pace.probed(0.0)
        threads, probed, begun = pace.using, first, time.perf_counter()
        while first < layers:
            if cancelled is not None and cancelled.is_set():
                raise CancelledError
            slice_s = self._layer_s[many] * units
            last = min(layers, first + max(1, int(_LOOK_S / slice_s)))
            took = run(threads, first, last) / (last - first) / units
            self._layer_s[many] += 0.3 * (took - self._layer_s[many])
            first = last
        if paced and not probed:
            pace.note(threads, (time.perf_counter() - begun) / units)
        for state, count in zip(states, counts, strict=True):
            state.length += count

    def _fit(self, rows: int, segments: int, threads: int) -> None:
        """Working memory and scores for a call of this size."""
        needed = self._kernels.room(self._handle, rows, segments, threads)
        if needed > len(self._scratch):
            self._scratch = aligned(needed)
        stride = -(-self.vocabulary // 16) * 16
        padded = 1 if segments == 1 else -(-segments // _WIDE) * _WIDE
        if padded * stride > len(self._scores):
            self._scores = aligned(4 * padded * stride).view(np.float32)
