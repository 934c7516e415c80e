"""Secrets in text: found, blotted out, refused.

Used before anything is displayed, logged or written down, and by magics, which must not
take a key. Found are the keys and tokens of issuers whose shape is known, private keys,
passwords in addresses and after the word for one, values called a key or a token that look
drawn by a machine, payment cards and Norwegian identity numbers. Not found is what only its
owner knows to be secret.

Measured beside ``detect-secrets`` 1.5 on chat turns: that needs 5.8 MB with five packages and
1.3 ms a text, says which line but not which characters, knows no cards, no Norwegian and few of
the issuers of model keys, and its entropy tests take most long words for keys.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiki_kernel.errors import ConfigError
from aiki_kernel.safety.numbers import CARD, IDENTITY, find_numbers
from aiki_kernel.safety.secret_shapes import SHAPES

MARK = "[key removed]"
"""What stands where a key stood."""

_MARKS = {
    "password": "[password removed]",
    "password in an address": "[password removed]",
    CARD: "[card number removed]",
    IDENTITY: "[identity number removed]",
}
_SHORTEST_KNOWN = 6
_PERSONAL = (CARD, IDENTITY)
_SHORTEST = 8
_IDENTIFIER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.+Z-]+")
_DIGIT = re.compile(r"\d")
_DIGITS = re.compile(r"\d{6}")
_SPACED = re.compile(r"\d{4}[ -]\d{4}|\d{6} \d{5}")
_WRITTEN = re.compile(
    r"[A-Z]?[a-z]+(?:[-_./](?:[A-Za-z]?[a-z]+|\d{1,4}))*\d{0,2}|\d+|[A-Za-z_]+\.[A-Za-z_.()]+"
)
_HOLDER = re.compile(
    r"[$%{\[(<*]|(.)\1+$|.*\.{3}|.*example|.*placeholder|.*change.?me|.*removed\]|.*redacted|"
    r"(?:.*[-_.])?(?:your|my|din|ditt|min|hidden|password|passord|pass|secret|env|environ|getenv)"
    r"(?:[-_.(].*)?$|(?:foo:)?bar$|\w+\(",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Finding:
    """A secret in a text: what kind, and where (half-open, in characters)."""

    kind: str
    start: int
    end: int

    @property
    def mark(self) -> str:
        """What stands in its place."""
        return _MARKS.get(self.kind, MARK)


def find(text: str) -> tuple[Finding, ...]:
    """All secrets in ``text``, left to right, none overlapping."""
    if not _could_hold_one(text):
        return ()
    folded = text.lower()
    found: list[Finding] = []
    for shape in SHAPES:
        within = folded if shape.folded else text
        if not any(trigger in within for trigger in shape.triggers):
            continue
        group = "value" if "value" in shape.pattern.groupindex else 0
        for match in shape.pattern.finditer(text):
            value = match[group]
            if group and (_holds_a_place(value) or not _looks_drawn(value, shape.drawn)):
                continue  # api_key=os.environ.get, key: "see-the-manual", user:<password>@
            found.append(Finding(shape.kind, match.start(group), match.end(group)))
    if _DIGITS.search(text) or _SPACED.search(text):
        found += [Finding(kind, start, end) for kind, start, end in find_numbers(text)]
    return _apart(found) if len(found) > 1 else tuple(found)


def redact(text: str, *, known: Iterable[str] = ()) -> str:
    """``text`` with every secret blotted out; ``known`` go whatever their shape."""
    return cleaned(text, known=known)[0]


def cleaned(text: str, *, known: Iterable[str] = ()) -> tuple[str, dict[str, int]]:
    """As :func:`redact`, and how many of each kind were found."""
    for secret in sorted({s for s in known if len(s) >= _SHORTEST_KNOWN}, key=len, reverse=True):
        text = text.replace(secret, MARK)
    found = find(text)
    if not found:
        return text, {}
    out, at = [], 0
    for finding in found:
        out += [text[at : finding.start], finding.mark]
        at = finding.end
    return "".join([*out, text[at:]]), dict(Counter(finding.kind for finding in found))


def refuse(text: str, *, variable: str = "OPENAI_API_KEY") -> None:
    """Raise :class:`ConfigError` when ``text`` holds a secret; the line never repeats it.

    ``variable`` is the name to suggest. For magics and ``config set``: a notebook is a
    file that gets shared.
    """
    found = find(text)
    if not found:
        return
    kind = found[0].kind
    article = "an" if kind[0] in "AEIOUaeiou" or kind.startswith("xAI") else "a"
    if kind in _PERSONAL:
        raise ConfigError(
            f"This holds {article} {kind}, which must not stand in a notebook: take it out."
        )
    raise ConfigError(
        f"This holds {article} {kind}, which must not stand in a notebook: "
        f"put it into the environment ({variable}) or into keys.toml (chmod 600), "
        "and revoke it if it was shared."
    )


def told(kinds: Mapping[str, int]) -> str:
    """``2 GitHub tokens and a password`` for people."""
    words = [f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in kinds.items()]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _could_hold_one(text: str) -> bool:
    """A quick no for ordinary prose: every secret has a long word with a digit in it, but for
    cards in groups, private keys and passwords in addresses."""
    if "PRIVATE" in text or "://" in text:
        return True
    if _DIGIT.search(text) is None or (len(text) < 40 and _IDENTIFIER.fullmatch(text)):
        return False
    if _SPACED.search(text):
        return True
    return any(
        len(word) >= _SHORTEST and not word.isalpha() and _DIGIT.search(word)
        for word in text.split()
    )


def _apart(found: list[Finding]) -> tuple[Finding, ...]:
    """Of findings that overlap the first, and of those that begin together the longest."""
    out: list[Finding] = []
    for finding in sorted(found, key=lambda one: (one.start, -one.end)):
        if not out or finding.start >= out[-1].end:
            out.append(finding)
        elif finding.end > out[-1].end:
            out[-1] = Finding(out[-1].kind, out[-1].start, finding.end)
    return tuple(out)


def _holds_a_place(value: str) -> bool:
    """Whether ``value`` stands for a secret: ``<password>``, ``$DB_PASS``, ``xxx``."""
    return len(value) < 40 and _HOLDER.match(value) is not None


def _looks_drawn(value: str, least: float) -> bool:
    """Whether ``value`` is drawn rather than written: digits and letters, and at least
    ``least`` bits a character; anything is where nothing is asked for."""
    if not least:
        return True
    if not re.search(r"\d", value) or not re.search(r"[A-Za-z]", value):
        return False
    if _WRITTEN.fullmatch(value):
        return False
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return entropy >= least
