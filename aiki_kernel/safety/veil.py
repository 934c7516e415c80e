"""Secrets taken out of text that is still growing: no part of one is ever shown.

A model's answer comes in pieces, and a key may lie across two of them. The veil lets through
what can no longer become part of a secret and holds back the rest: the word at the end while
it could be the beginning of a key, digits that could become a card, a value after ``api_key =``.
Ordinary words pass at once; whatever is held comes with the next blank, or at the end. The
joined output is what :func:`~aiki_kernel.safety.secrets.redact` makes of the whole text, as
long as its secrets are no longer than the veil looks back.
"""

from __future__ import annotations

import re
from collections import Counter

from aiki_kernel.safety.secret_shapes import SHAPES
from aiki_kernel.safety.secrets import find

_BACK = 300
"""Characters before the held ones that are looked at again: the word that a value stands after."""
_MOST = 8192
"""Characters that a single word may be held for; a longer one (an image in base64) passes."""

_WORD = re.compile(r"[!-~\u00a1-\u00ff\u2018-\u201d]*\Z")
_NUMBERS = re.compile(r"(?:(?<=\s)|(?<![\s\S])|(?<=[^\w\s]))\d[\d -]{0,40}\Z")
_NAMED = re.compile(
    r"(?:key|token|secret|passphrase|passw(?:or)?d|passord(?:et)?|pwd|pass|bearer|basic)"
    r"[\"'`\u2019\u201d]?[\w ]{0,8}\s{0,3}(?:[:=>]{0,3}|is|er)\s{0,3}[\"'`\u00ab\u201c]?\S*\Z",
    re.IGNORECASE,
)
_OPENED = 1 << 20
_PREFIXES = tuple(
    sorted(
        {
            "-----BEGIN",
            "dop_v1_",
            "doo_v1_",
            "dor_v1_",
        }
        | {
            trigger
            for shape in SHAPES
            if not shape.folded
            for trigger in shape.triggers
            if len(trigger) > 1
        }
    )
)
_BEGINNINGS = frozenset(prefix[:size] for prefix in _PREFIXES for size in range(1, len(prefix)))
_LONGEST = max(len(prefix) for prefix in _PREFIXES)
_OPEN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,60}(?:-{0,5}|PRIVATE KEY(?: BLOCK)?-----[\s\S]*)\Z")


class Veil:
    """One answer on its way out. ``found`` counts what was taken out, by kind."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self._before = ""
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece; return what may be shown now, perhaps nothing."""
        self._held += text
        return self._release(self._safe())

    def end(self) -> str:
        """The text has ended: what was held back, without its secrets."""
        return self._release(len(self._held))

    def _safe(self) -> int:
        """How much of what is held can no longer become part of a secret."""
        text = self._before + self._held
        at = len(text)
        word = _WORD.search(text)
        assert word is not None
        if len(word[0]) > _MOST:
            return len(self._held) - _MOST // 2
        if word[0] and _suspicious(word[0]):
            at = word.start()
        for pattern, back in ((_NUMBERS, 60), (_NAMED, 160), (_OPEN, _OPENED)):
            if pattern is _OPEN and "-----BEGIN" not in text:
                continue
            match = pattern.search(text, max(0, len(text) - back))
            if match is not None:
                at = min(at, match.start())
        safe = at - len(self._before)
        if safe <= 0:
            return 0
        # A secret that is whole up to here and ends where the held part begins may still grow.
        if at < len(text):
            for finding in find(text):
                if finding.start < at and finding.end >= len(text):
                    safe = min(safe, finding.start - len(self._before))
        return max(safe, 0)

    def _release(self, count: int) -> str:
        if not count:
            return ""
        text = self._before + self._held
        start, end = len(self._before), len(self._before) + count
        out, at = [], start
        for finding in find(text):
            if finding.end <= start or finding.start >= end:
                continue
            # One that began before showed at most the letters that every such key begins with.
            out += [text[at : max(finding.start, start)], finding.mark]
            self.found[finding.kind] += 1
            end = max(end, finding.end)
            at = finding.end
        out.append(text[at:end])
        self._before = text[max(0, end - _BACK) : end]
        self._held = text[end:]
        return "".join(out)


def _suspicious(word: str) -> bool:
    """Whether the word at the end could be, or become, a secret."""
    if any(letter.isdigit() for letter in word) or "://" in word:
        return True
    if any(prefix in word for prefix in _PREFIXES):
        return True
    # A prefix begins a word: the "n" of "unfin" does not begin a token of npm.
    return any(
        word[-size:] in _BEGINNINGS and not word[-size - 1 : -size].isalnum()
        for size in range(1, min(_LONGEST, len(word)) + 1)
    )
