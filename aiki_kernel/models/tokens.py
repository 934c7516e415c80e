"""How many tokens a text has, about, without any tokenizer or download.

Words of English prose cost about one token each; in other languages a token holds about
2.4 letters, and the share of common English words tells which it is. Fitted on chat turns,
Norwegian sentences, Python and Markdown. Sum of the estimates over the true sum, and the
95th percentile of one text's error:

==================  ================  ================
text                SmolLM2           o200k (OpenAI)
==================  ================  ================
English chat        1.00 (p95 16 %)   1.06 (p95 21 %)
Norwegian           0.82 (p95 40 %)   1.17 (p95 53 %)
Python              1.00 (p95 20 %)   1.14 (p95 41 %)
Markdown            0.93 (p95 20 %)   1.10 (p95 28 %)
==================  ================  ================

Norwegian stands between the two on purpose: SmolLM2 cuts it far finer than OpenAI's
models do. Bytes divided by four, the usual guess, gives 0.64 and 0.90 there.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W\d_]+")
_DIGIT = re.compile(r"\d")
_SIGN = re.compile(r"[^\w\s]|_")
_ENGLISH = (
    "the a an and or of to in is it i you that this was for on are with as at be have not but "
    "my so we they me do your what how if can will from by has all there"
)
_COMMON = frozenset(_ENGLISH.split())
_ENGLISH_SHARE = 0.25  # of common words, from which on a text counts as English throughout
_LETTERS_PER_TOKEN = 2.4
_LAST_LATIN = 0x24F


def estimate(text: str) -> int:
    """Tokens of ``text``, about; 0 only for the empty text. See the module for the error."""
    if not text:
        return 0
    words = _WORD.findall(text)
    common = sum(word.lower() in _COMMON for word in words)
    english = min(1.0, common / len(words) / _ENGLISH_SHARE) if words else 1.0
    total = 0.5 * text.count("\n") + len(_DIGIT.findall(text))
    for word in words:
        length = len(word)
        if ord(max(word)) > _LAST_LATIN:
            total += length  # Cyrillic, Chinese and the like: about a token a letter
            continue
        total += english * (1.0 + 0.2 * max(0, length - 6))
        total += (1.0 - english) * max(1.0, length / _LETTERS_PER_TOKEN)
    total += sum(0.6 if sign.isascii() else 2.0 for sign in _SIGN.findall(text))
    return max(1, round(total))
