"""A problem made small: what a consultant is shown instead of the whole conversation.

Three parts within a budget of tokens: the problem (the message; of a long one its beginning
and its end), the error pattern (lines that look like errors, here and in the last turn), and
a summary of what was said just before. No model is called for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiki_kernel.mind.conversation import Exchange
from aiki_kernel.models.tokens import estimate

_ERROR = re.compile(
    r"^.*(?:\b[A-Z]\w*(?:Error|Exception|Warning)\b|Traceback|\berror\b|\bfeil\b|\bfailed\b|"
    r"\bfeilet\b|\bexit code\b|\bsegfault).*$",
    re.IGNORECASE | re.MULTILINE,
)
_LINES = 8  # of errors, at most
_LINE = 240  # characters of one
_PROBLEM = 0.6  # share of the budget that the message itself may take


@dataclass(frozen=True)
class Problem:
    """What is shown. ``tokens`` is our estimate of it."""

    problem: str
    errors: tuple[str, ...]
    summary: str

    @property
    def text(self) -> str:
        parts = [f"Problem:\n{self.problem}"]
        if self.errors:
            parts.append("Error pattern:\n" + "\n".join(self.errors))
        if self.summary:
            parts.append(f"Before this:\n{self.summary}")
        return "\n\n".join(parts)

    @property
    def tokens(self) -> int:
        return estimate(self.text)


def distil(question: str, before: Sequence[Exchange], budget: int) -> Problem:
    """The problem of ``question`` in at most ``budget`` tokens (about)."""
    room = budget - 12  # the headings
    problem = shorten(question, max(1, round(room * _PROBLEM)))
    room -= estimate(problem)
    last = before[-1] if before else None
    told = "\n".join([question, *([last.question, last.answer] if last else [])])
    errors: list[str] = []
    for line in dict.fromkeys(found.strip()[:_LINE] for found in _ERROR.findall(told)):
        if line in problem or len(errors) == _LINES:
            continue
        price = estimate(line) + 1
        if price > room // 2:
            break
        errors.append(line)
        room -= price
    summary = ""
    if last is not None and room > 20:
        asked = shorten(" ".join(last.question.split()), room // 2)
        said = shorten(" ".join(last.answer.split()), room - estimate(asked) - 8)
        summary = f"Asked: {asked}\nAnswered: {said}"
        if estimate(summary) > room:
            summary = shorten(summary, room)
    return Problem(problem, tuple(errors), summary)


def shorten(text: str, tokens: int) -> str:
    """``text`` if it fits, else its beginning and its end around an ellipsis."""
    if estimate(text) <= tokens:
        return text
    if tokens <= 2:
        return ""
    low, high = 0, len(text)
    while low < high:  # the longest pair of ends that fits
        middle = (low + high + 1) // 2
        if estimate(_ends(text, middle)) <= tokens:
            low = middle
        else:
            high = middle - 1
    return _ends(text, low)


def _ends(text: str, letters: int) -> str:
    head = (2 * letters) // 3
    tail = letters - head
    return f"{text[:head].rstrip()} … {text[len(text) - tail :].lstrip()}" if letters else ""
