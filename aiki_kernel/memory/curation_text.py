"""What rules can find in a text: sentences, language, dates, amounts, names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta

from aiki_kernel.memory.curation_words import (
    DAYS,
    FUNCTION,
    HOLLOW,
    MONTHS,
    SPEAKS,
    SUPPOSING,
)
from aiki_kernel.memory.lexical import FUNCTION_WORDS

_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*", re.UNICODE)
_SENTENCE = re.compile(
    r"(?:(?<=[.!?…])(?<!\d\.)(?<!\bkl\.)|(?<=\d\.)(?=\s+[A-ZÆØÅ]))[\"'”»)\]]*\s+|\s*\n+\s*"
)
_NORDIC = re.compile("[æøåÆØÅ]")
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)

_NUMBER = r"\d+(?:[., \u00a0]\d{3})*(?:[.,]\d+)?"
_UNIT = (
    r"%|percent|prosent|kroner|kr|nok|sek|dkk|usd|dollars?|eur|euros?|pounds?|gbp|million(?:er|s)?|"
    r"km|kg|cm|mm|miles?|lit(?:er|re)s?|hours?|timer|minutes?|minutter|days?|dager|weeks?|uker|"
    r"months?|måneder|years?|år|gb|mb|tb|°c"
)
_AMOUNT = re.compile(
    rf"(?:[$€£]|\b(?:nok|sek|dkk|usd|eur|gbp|kr)\.?)\s?{_NUMBER}(?:\s?(?:k|million|mill)\b)?"
    rf"|\b{_NUMBER}\s?(?:{_UNIT})(?![\w])",
    re.IGNORECASE,
)
_NAMED = "|".join(sorted(MONTHS, key=len, reverse=True))
_DATES = (
    re.compile(r"\b(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})\b"),
    re.compile(r"\b(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})\b"),
    re.compile(
        rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|"
        rf"th)?\.?\s+(?:of\s+)?(?P<n>{_NAMED})\b(?:,?\s+(?P<y>\d{{4}}))?",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?P<n>{_NAMED})\.?\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<y>\d{{4}}))?",
        re.IGNORECASE,
    ),
)
_NEAR = (
    (re.compile(r"\b(?:today|tonight|i dag|idag|i kveld)\b", re.IGNORECASE), 0),
    (re.compile(r"\b(?:yesterday|last night|i går|igår)\b", re.IGNORECASE), -1),
    (re.compile(r"\b(?:tomorrow|i morgen|imorgen)\b", re.IGNORECASE), 1),
)
_ADDRESS = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b|\bhttps?://([\w.-]+)", re.UNICODE)
_MOST = 12


def without_speaker(text: str, role: str | None) -> str:
    """``text`` without the name that a transcript puts before what somebody says."""
    head, colon, rest = text.partition(":")
    return rest.strip() if colon and role and head.strip() == role else text.strip()


def prose(text: str) -> str:
    """``text`` without fenced code."""
    return _CODE.sub(" ", text)


def sentences(text: str) -> list[str]:
    """The sentences and lines of ``text``, none of them empty."""
    return [part.strip() for part in _SENTENCE.split(text) if part and part.strip()]


def words(text: str) -> list[str]:
    """Lower-case words; what is inside one stays (``it's``, ``e-mail``, ``2.5``)."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def language(text: str) -> str:
    """``en``, ``no``, or nothing when the text does not show it."""
    spoken = words(text)
    own = {name: frozenset(listed.split()) for name, listed in FUNCTION_WORDS.items()}
    only = {
        name: listed.difference(*(other for key, other in own.items() if key != name))
        for name, listed in own.items()
    }
    english = sum(word.partition("'")[0] in only["english"] for word in spoken)
    norwegian = sum(word in only["norwegian"] for word in spoken) + len(_NORDIC.findall(text))
    if norwegian > english:
        return "no"
    return "en" if english else ""


def amounts(text: str) -> list[str]:
    """Sums and measures as they stand in the text, lower-case, each once."""
    return _each(" ".join(found.split()).lower() for found in _AMOUNT.findall(text))


def dates(text: str, said: str) -> list[str]:
    """Days that the text names, as ISO dates. ``said`` is when: it gives a missing year (the
    nearest), and the day that "yesterday" is counted from."""
    try:
        day = datetime.fromisoformat(said).date()
    except ValueError:
        return []
    found = [
        when for pattern in _DATES for match in pattern.finditer(text) if (when := _day(match, day))
    ]
    found += [day + timedelta(days=away) for pattern, away in _NEAR if pattern.search(text)]
    return _each(when.isoformat() for when in found)


def names(text: str) -> list[str]:
    """Proper names by their capitals, and addresses; lower-case, each once.

    The first word of a sentence counts when it is written so elsewhere in the text, is followed
    by another capital, or looks like nothing but a name (``GitHub``, ``Anna's``).
    """
    inside: set[str] = set()
    first: list[tuple[list[str], list[str]]] = []
    found: list[str] = []
    for sentence in sentences(text):
        tokens = _WORD.findall(sentence)
        if len(tokens) > 2 and sentence.isupper():
            continue
        for at, run, after in _capitals(tokens):
            plain = [_bare(token) for token in run]
            if at:
                found.append(" ".join(plain))
                inside.update(plain)
            else:
                first.append((run, [token.lower() for token in after]))
    for run, after in first:
        lead, plain = run[0], [_bare(token) for token in run]
        odd = any(sign.isupper() or sign.isdigit() for sign in lead[1:]) and len(lead) > 1
        owns = lead.endswith(("'s", "’s"))
        if len(run) > 1 or odd or owns or plain[0] in inside or (after[:1] and after[0] in SPEAKS):
            found.append(" ".join(plain))
    found += [(match.group(1) or match.group(0)).lower() for match in _ADDRESS.finditer(text)]
    return _each(found)


def supposing(sentence: str) -> bool:
    """Whether a sentence asks, wishes or supposes rather than states."""
    return sentence.rstrip("\"'”»)] ").endswith("?") or any(w in SUPPOSING for w in words(sentence))


def _capitals(tokens: list[str]) -> Iterator[tuple[int, list[str], list[str]]]:
    """Runs of capitalised words: where each begins, the run, and what follows."""
    at = 0
    while at < len(tokens):
        if not _capital(tokens[at]):
            at += 1
            continue
        end = at + 1
        while end < len(tokens) and end - at < 4 and _capital(tokens[end]):
            end += 1
        yield at, tokens[at:end], tokens[end:]
        at = end


def _capital(token: str) -> bool:
    bare = _bare(token)
    return (
        token[:1].isupper()
        and len(bare) > 1
        and bare not in HOLLOW
        and bare not in FUNCTION
        and bare not in MONTHS
        and bare not in DAYS
        and bare.partition("'")[0] not in FUNCTION
    )


def _bare(token: str) -> str:
    return token.lower().replace("’", "'").removesuffix("'s").rstrip(".-'")


def _day(match: re.Match[str], said: date) -> date | None:
    parts = match.groupdict()
    month = MONTHS[parts["n"].lower()] if parts.get("n") else int(parts["m"])
    with suppress(ValueError):
        if parts["y"]:
            return date(int(parts["y"]), month, int(parts["d"]))
        near = [date(said.year + step, month, int(parts["d"])) for step in (-1, 0, 1)]
        return min(near, key=lambda day: abs((day - said).days))
    return None


def _each(found: Iterable[str]) -> list[str]:
    return [one for one in dict.fromkeys(found) if one][:_MOST]
