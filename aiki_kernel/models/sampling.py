"""From scores to one token, and where an answer ends.

The order is that of the OpenAI and Hugging Face interfaces: a grammar's mask, repetition penalty,
temperature, then top-k, then top-p and min-p over what is left. The penalty (CTRL, arXiv
1909.05858) looks at the answer's own last tokens and never at the prompt, so that a small model may
quote but does not run in circles. Randomness is one PCG64 stream per answer, so that a seed gives
the same answer again from the same engine. Log-probabilities that are asked for are the model's
own, before all of that.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.chat import MAX_TOP_LOGPROBS

_FIRST_LOOK = 512  # candidates sorted first; a nucleus is rarely larger
_PENALISED = 256  # tokens of the answer that the repetition penalty looks back on


@dataclass(frozen=True)
class Picked:
    """A token with its log-probability (natural log), and the likeliest ones, best first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class Restriction(Protocol):
    """Tells which tokens may come next (:class:`~aiki_kernel.models.grammar.Constraint`)."""

    def restrict(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]: ...

    def accept(self, token: int) -> None: ...


class Sampler:
    """Picks tokens. ``temperature`` 0 is greedy; ``top_k`` 0 is no limit; ``min_p`` leaves out what
    is less likely than that part of the likeliest; ``repetition_penalty`` 1 is none: scores of
    tokens picked lately are divided by it (multiplied when negative). With ``top_logprobs`` (0 to
    20) :attr:`picked` says how likely the last token was; None keeps it None. ``seeded``: the
    answer has to come out the same again."""

    def __init__(
        self,
        *,
        temperature: float = 0.7,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        repetition_penalty: float = 1.0,
        min_p: float = 0.0,
        top_logprobs: int | None = None,
        restriction: Restriction | None = None,
    ) -> None:
        """Raises :class:`ModelError` for a number out of range."""
        self.seeded = seed is not None
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ModelError(f"temperature is {temperature}: it must be 0 or more.")
        if not 0 < top_p <= 1:
            raise ModelError(f"top_p is {top_p}: it must be above 0 and at most 1.")
        if top_k < 0:
            raise ModelError(f"top_k is {top_k}: it must be 0 (no limit) or more.")
        if not (math.isfinite(repetition_penalty) and repetition_penalty >= 1):
            raise ModelError(f"repetition_penalty is {repetition_penalty}: it must be 1 or more.")
        if not 0 <= min_p <= 1:
            raise ModelError(f"min_p is {min_p}: it must be from 0 to 1.")
        if top_logprobs is not None and not 0 <= top_logprobs <= MAX_TOP_LOGPROBS:
            raise ModelError(
                f"top_logprobs is {top_logprobs}: it must be from 0 to {MAX_TOP_LOGPROBS}."
            )
        self.picked: Picked | None = None
        self._min_p, self._top_logprobs, self._restriction = min_p, top_logprobs, restriction
        self._penalty = repetition_penalty
        self._recent: deque[int] = deque(maxlen=_PENALISED)
        self._temperature, self._top_p, self._top_k = temperature, top_p, top_k
        self._random = np.random.Generator(
            np.random.PCG64(None if seed is None else seed % (1 << 64))
        )

    def pick(self, scores: npt.NDArray[np.float32]) -> int:
        """One token from ``scores`` (vocabulary,). Raises :class:`ModelError` on NaN."""
        stated = scores
        if self._restriction is not None:
            scores = self._restriction.restrict(scores)
        if self._penalty > 1 and self._recent:
            scores = scores.copy()
            recent = np.fromiter(set(self._recent), np.int64)
            old = scores[recent]
            scores[recent] = np.where(old > 0, old / self._penalty, old * self._penalty)
        token = self._pick(scores)
        self._recent.append(token)
        if self._restriction is not None:
            self._restriction.accept(token)
        if self._top_logprobs is not None:
            self.picked = _picked(stated, token, self._top_logprobs)
        return token

    def _pick(self, scores: npt.NDArray[np.float32]) -> int:
        best = int(scores.argmax())
        top = float(scores[best])
        if not math.isfinite(top):
            raise ModelError("The model computed no usable scores: fetch its file again.")
        # Below this the division overflows for no gain: the best token has all the probability.
        if self._temperature < 1e-5 or self._top_k == 1:
            return best
        weights = np.exp((scores.astype(np.float64) - top) / self._temperature)
        order = self._nucleus(weights)
        order = order[weights[order] >= self._min_p]  # the likeliest weighs 1
        cumulated = np.cumsum(weights[order])
        point = self._random.random() * cumulated[-1]
        place = int(np.searchsorted(cumulated, point, side="right"))
        return int(order[min(place, len(order) - 1)])

    def _nucleus(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Candidates in falling order of weight, after top-k and top-p."""
        size = len(weights)
        limit = min(self._top_k or size, size)
        if limit == size and self._top_p >= 1:
            return np.arange(size)
        looks = [limit] if self._top_k else sorted({min(_FIRST_LOOK, size), size})
        total = 0.0 if self._top_k else float(weights.sum())
        order = np.arange(0)
        for look in looks:
            chosen = (
                np.argpartition(weights, size - look)[size - look :]
                if look < size
                else np.arange(size)
            )
            order = chosen[np.lexsort((chosen, -weights[chosen]))]
            cumulated = np.cumsum(weights[order])
            needed = self._top_p * (total or cumulated[-1])
            if self._top_p < 1 and cumulated[-1] >= needed:
                return order[: int(np.searchsorted(cumulated, needed)) + 1]
        return order


def _picked(scores: npt.NDArray[np.float32], token: int, count: int) -> Picked:
    shifted = scores.astype(np.float64) - float(scores.max())
    logs = shifted - np.log(np.exp(shifted).sum())
    count = min(count, len(logs) - 1)
    best = np.argpartition(logs, len(logs) - count - 1)[len(logs) - count :]
    order = sorted(map(int, best), key=lambda number: (-logs[number], number))
    return Picked(token, float(logs[token]), tuple((n, float(logs[n])) for n in order))


class StopText:
    """Ends an answer at the first of some texts, which never appear, not even in part."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """What may be shown after ``text`` was added; the rest could still become a stop."""
        if not self._stops or self.found:
            return "" if self.found else text
        held = self._held + text
        places = [place for stop in self._stops if (place := held.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return held[: min(places)]
        keep = max(_overlap(held, stop) for stop in self._stops)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def rest(self) -> str:
        """What was held back and did not become a stop."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
