"""Measures of a message: how long, how built, which of certain words, as one vector.

Everything is counted from the text alone, in well under a millisecond for a message of
ordinary length; of a longer one the first and the last :data:`READ` characters are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aiki_kernel.mind.routing import lexicon

if TYPE_CHECKING:
    from numpy.typing import NDArray

READ = 2500
_VERSION = 1

_OPTION = re.compile(r"\n(?:[A-Za-z][.)]|\d+[.)]|[-*•]) *(.*)")
_SENTENCE = re.compile(r"[.!?](?=\s|$)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_SIGN = re.compile(r"[=+*/^<>\\$%]")
_DECIMAL = re.compile(r"\d(?:\.|,(?=\d{1,2}(?!\d)))\d")  # not the comma of 1,000
_PAUSE = re.compile(r"[,;:]")
_CAPITALS = re.compile(r"\b[A-Z]{2,}\b")
_ROMAN = re.compile(r"\b(?:I|II|III|IV|[1-4])\b")
_WORD = re.compile(r"[^\W\d_]+")

SHAPE = (
    "length",
    "length before the options",
    "mean length of an option",
    "spread of the options",
    "longest over shortest option",
    "options",
    "numbers",
    "different numbers",
    "numbers per word",
    "a decimal number",
    "digits of the longest number",
    "signs of mathematics",
    "mean length of a word",
    "share of long words",
    "words",
    "share of different words",
    "sentences",
    "question marks",
    "a blank to fill",
    "commas and colons",
    "share of capitalised words",
    "options with digits",
    "lines",
    "quotation marks",
    "numbered items",
    "words in capitals",
    "words per sentence",
    "share of one-letter words",
    "a list of options",
    "share of letters beyond ASCII",
    "code",
)
"""What the first entries of the vector are, in order; the word lists follow."""


def version() -> str:
    """Stored with what was trained: measures of another version do not mix."""
    return f"{_VERSION}-{lexicon.counter().digest}"


def names() -> tuple[str, ...]:
    """What each entry of :func:`measure` is."""
    return (*SHAPE, *(f"word: {name}" for name in lexicon.counter().names))


def measure(text: str) -> NDArray[np.float64]:
    """The vector of one message, (d,) float64; its first entry is log(1 + characters)."""
    whole = len(text)
    if whole > 2 * READ:
        text = f"{text[:READ]} {text[-READ:]}"
    first = _OPTION.search(text)
    stem = text[: first.start()] if first else text
    options = _OPTION.findall(text) if first else []
    sizes = [len(option) for option in options] or [0]
    words = _WORD.findall(stem)
    n, length = max(1, len(words)), max(1, len(text))
    every = _WORD.findall(text)
    numbers = _NUMBER.findall(text)
    sentences = len(_SENTENCE.findall(stem))
    mean = sum(sizes) / len(sizes)
    spread = math.sqrt(sum((size - mean) ** 2 for size in sizes) / len(sizes))
    shape = (
        math.log1p(whole),
        math.log1p(len(stem)),
        math.log1p(mean),
        math.log1p(spread),
        math.log1p(max(sizes)) - math.log1p(min(sizes)),
        float(len(options)),
        math.log1p(len(numbers)),
        math.log1p(len(set(numbers))),
        len(numbers) / n,
        float(bool(_DECIMAL.search(text))),
        float(max((len(number) for number in numbers), default=0)),
        100 * len(_SIGN.findall(text)) / length,
        sum(map(len, every)) / max(1, len(every)),
        sum(len(word) > 8 for word in every) / max(1, len(every)),
        math.log1p(len(words)),
        len({word.lower() for word in words}) / n,
        float(sentences),
        float(stem.count("?")),
        float("_" in stem),
        100 * len(_PAUSE.findall(text)) / length,
        sum(word[0].isupper() for word in words) / n,
        float(sum(any(sign.isdigit() for sign in option) for option in options)),
        float(text.count("\n") - len(options)),
        float(text.count('"') + text.count("'")),
        float(len(_ROMAN.findall(text))),
        len(_CAPITALS.findall(text)) / n,
        math.log1p(n / max(1, sentences)),
        sum(len(word) == 1 for word in words) / n,
        float(bool(first)),
        0.0 if text.isascii() else sum(not sign.isascii() for sign in text) / length,
        float("```" in text or "def " in text or "();" in text),
    )
    counts = [math.log1p(c) for c in lexicon.counter().count(lexicon.tokens(text))]
    return np.array([*shape, *counts])


def matrix(texts: Sequence[str]) -> NDArray[np.float64]:
    """(n, d): :func:`measure` of each."""
    if not texts:
        return np.zeros((0, len(names())))
    return np.stack([measure(text) for text in texts])
