"""Keys in text: found, blotted out, refused.

A small list of shapes, each with a prefix that ordinary prose does not have. Used before
anything is displayed, logged or written down, and by magics, which must not take a key.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from aiki_kernel.errors import ConfigError

MARK = "[key removed]"
"""What stands where a key stood."""

_SHAPES: tuple[tuple[str, str], ...] = (
    ("private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*KEY-----|\Z)"),
    ("Anthropic key", r"\bsk-ant-[A-Za-z0-9_-]{16,}"),
    ("OpenRouter key", r"\bsk-or-[A-Za-z0-9_-]{16,}"),
    ("OpenAI key", r"\bsk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{16,}"),
    ("API key", r"\bsk[-_](?=[A-Za-z0-9_-]*\d)[A-Za-z0-9_-]{20,}"),
    ("Google key", r"\bAIza[A-Za-z0-9_-]{35}"),
    ("AWS key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    ("GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    ("GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("Hugging Face token", r"\bhf_[A-Za-z0-9]{30,}"),
    ("Groq key", r"\bgsk_[A-Za-z0-9]{40,}"),
    ("xAI key", r"\bxai-[A-Za-z0-9]{40,}"),
    ("Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("JSON web token", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    ("bearer token", r"(?i:\bbearer\s+)(?P<bearer>(?=[^\s]*\d)[A-Za-z0-9._~+/=-]{20,})"),
    (
        "key",
        r"(?i:[A-Z0-9_]*(?:api[_-]?key|secret[_-]?key|access[_-]?token|auth[_-]?token))"
        r"[\"']?\s*[:=]\s*[\"']?(?P<assigned>[A-Za-z0-9._~+/=-]{16,})",
    ),
)
_PATTERN = re.compile("|".join(f"(?P<k{n}>{shape})" for n, (_, shape) in enumerate(_SHAPES)))
_SHORTEST_KNOWN = 6


@dataclass(frozen=True)
class Finding:
    """A key in a text: what kind, and where (half-open, in characters)."""

    kind: str
    start: int
    end: int


def find(text: str) -> tuple[Finding, ...]:
    """All keys in ``text`` by their shape, left to right, none overlapping."""
    found = []
    for match in _PATTERN.finditer(text):
        number = next(n for n in range(len(_SHAPES)) if match[f"k{n}"] is not None)
        group: str | int = {"bearer token": "bearer", "key": "assigned"}.get(_SHAPES[number][0], 0)
        if group == "assigned" and not _looks_random(match[group]):
            continue  # api_key=os.environ.get, key: "see-the-manual"
        found.append(Finding(_SHAPES[number][0], match.start(group), match.end(group)))
    return tuple(found)


def redact(text: str, *, known: Iterable[str] = ()) -> str:
    """``text`` with every key blotted out; ``known`` are secrets to remove whatever their shape."""
    for secret in sorted({s for s in known if len(s) >= _SHORTEST_KNOWN}, key=len, reverse=True):
        text = text.replace(secret, MARK)
    out, at = [], 0
    for finding in find(text):
        out += [text[at : finding.start], MARK]
        at = finding.end
    return "".join([*out, text[at:]])


def refuse(text: str, *, variable: str = "OPENAI_API_KEY") -> None:
    """Raise :class:`ConfigError` when ``text`` holds a key; the line never repeats it.

    ``variable`` is the name to suggest. For magics and ``config set``: a notebook is a
    file that gets shared.
    """
    found = find(text)
    if found:
        kind = found[0].kind
        article = "an" if kind[0] in "AEIOU" or kind.startswith("xAI") else "a"
        raise ConfigError(
            f"This holds {article} {kind}, which must not stand in a notebook: "
            f"put it into the environment ({variable}) or into keys.toml (chmod 600), "
            "and revoke it if it was shared."
        )


def _looks_random(value: str) -> bool:
    """Whether ``value`` is drawn rather than written: digits and letters, high entropy."""
    if not re.search(r"\d", value) or not re.search(r"[A-Za-z]", value):
        return False
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return entropy >= 3.0
