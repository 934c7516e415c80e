"""The record that curation writes beside a memory, and what a model may add to it.

A model's output is untrusted. It obeys the JSON schema (our own engine cannot do otherwise), but
what it says must also stand in the text: tags, themes and entities whose words do not are
dropped, and so is a summary with a name, a number or too many words of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiki_kernel.memory import curation_text, curation_topics
from aiki_kernel.memory.curation_facts import Fact, facts
from aiki_kernel.memory.curation_gate import hollow
from aiki_kernel.memory.curation_text import sentences, words
from aiki_kernel.memory.curation_topics import CATEGORIES, MOST_CATEGORIES, MOST_TAGS, MOST_THEMES
from aiki_kernel.memory.curation_words import FUNCTION, HOLLOW
from aiki_kernel.memory.lexical import Lexicon

VERSION = 1
"""Of the rules and of the record: a memory curated by an older one may be curated anew."""

SUMMARY_CHARS = 200
_WORD_CHARS = 40
_READ_CHARS = 20_000
_SUMMARY_GROUND = 0.8
_MARKED = ("remember", "important", "husk", "viktig", "never forget", "don't forget", "ikke glem")
_DECIDED = (
    "decided",
    "agreed to",
    "decision",
    "bestemte",
    "besluttet",
    "vedtok",
    "vedtatt",
    "avtalte",
)

KEYS = (
    "summary",
    "entities",
    "categories",
    "tags",
    "themes",
    "emotion",
    "importance",
    "language",
    "dates",
    "amounts",
    "facts",
    "valid_from",
)
"""Payload keys that a record sets; one without a value is taken away."""


def schema(*, categories: bool = True) -> dict[str, Any]:
    """JSON schema of what a model is asked for."""

    def listed(most: int) -> dict[str, Any]:
        return {
            "type": "array",
            "items": {"type": "string", "minLength": 2, "maxLength": 30},
            "maxItems": most,
        }

    properties: dict[str, Any] = {
        "summary": {"type": "string", "minLength": 8, "maxLength": SUMMARY_CHARS},
        "tags": listed(5),
        "themes": listed(2),
    }
    if categories:
        properties["entities"] = listed(6)
        properties["categories"] = {
            "type": "array",
            "items": {"enum": list(CATEGORIES)},
            "maxItems": MOST_CATEGORIES,
        }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@dataclass(frozen=True)
class Described:
    """What a model said of a text, checked for form but not yet against the text."""

    summary: str = ""
    tags: tuple[str, ...] = ()
    themes: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @classmethod
    def read(cls, answer: str) -> Described | None:
        """The record in ``answer``, whatever stands around it; None when there is none."""
        start, end = answer.find("{"), answer.rfind("}")
        if start < 0 or end < start:
            return None
        try:
            data = json.loads(answer[start : end + 1])
        except (ValueError, RecursionError):
            return None
        if not isinstance(data, dict):
            return None
        summary = data.get("summary")
        return cls(
            " ".join(summary.split()) if isinstance(summary, str) else "",
            *(_strings(data.get(name)) for name in ("tags", "themes", "entities", "categories")),
        )


@dataclass(frozen=True)
class Curated:
    """What is known of one memory. Ranges are kept whatever is put in."""

    summary: str = ""
    entities: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    themes: tuple[str, ...] = ()
    valence: float = 0.0
    arousal: float = 0.0
    importance: float = 0.0
    language: str = ""
    dates: tuple[str, ...] = ()
    amounts: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    dropped: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("summary", _cut(self.summary, SUMMARY_CHARS))
        put("entities", _labels(self.entities, 12))
        put("tags", _labels(self.tags, MOST_TAGS + 2))
        put("themes", _labels(self.themes, MOST_THEMES))
        known = [name for name in _labels(self.categories, 99) if name in CATEGORIES]
        put("categories", tuple(known[:MOST_CATEGORIES]))
        put("valence", _within(self.valence, -1.0, 1.0))
        put("arousal", _within(self.arousal, 0.0, 1.0))
        put("importance", _within(self.importance, 0.0, 1.0))

    def notes(self) -> dict[str, Any]:
        """Payload keys and values; None for a key that has no value."""
        values: dict[str, Any] = {
            "summary": self.summary,
            "entities": list(self.entities),
            "categories": list(self.categories),
            "tags": list(self.tags),
            "themes": list(self.themes),
            "emotion": {"valence": self.valence, "arousal": self.arousal},
            "importance": self.importance,
            "language": self.language,
            "dates": list(self.dates),
            "amounts": list(self.amounts),
            "facts": [fact.key for fact in self.facts if fact.value],
            "valid_from": self.facts[0].since if self.facts else None,
        }
        return {
            key: value if value not in ("", [], None) else None for key, value in values.items()
        }


def by_rules(text: str, said: str, role: str | None = None) -> Curated:
    """Everything that rules can find in what was said at ``said`` (ISO-8601)."""
    said_by = curation_text.without_speaker(text[:_READ_CHARS], role)
    plain = curation_text.prose(said_by).strip() or said_by
    names = curation_text.names(plain)
    stated = tuple(facts(plain, said)) if role != "assistant" else ()
    dates = curation_text.dates(plain, said)
    amounts = curation_text.amounts(plain)
    mood = curation_topics.emotion(plain)
    slots = [fact.slot.split()[-1] for fact in stated]
    return Curated(
        summary=summary(plain),
        entities=tuple(names),
        categories=tuple(curation_topics.categories(plain)),
        tags=(*slots, *curation_topics.tags(plain, names)),
        themes=tuple(curation_topics.themes(plain)),
        valence=mood["valence"],
        arousal=mood["arousal"],
        importance=_importance(plain, role, mood["arousal"], stated, dates, amounts, names),
        language=curation_text.language(plain),
        dates=tuple(dates),
        amounts=tuple(amounts),
        facts=stated,
    )


def summary(text: str) -> str:
    """The sentences that say most, in their order, as far as they fit; nothing is worded anew."""
    parts = [part for part in sentences(text) if not hollow(part)] or sentences(text)
    if sum(map(len, parts)) + len(parts) <= SUMMARY_CHARS:
        return " ".join(parts)
    seen: set[str] = set()
    chosen: list[int] = []
    room = SUMMARY_CHARS
    for _ in parts:
        left = [at for at in range(len(parts)) if at not in chosen and len(parts[at]) < room]
        if not left:
            break
        best = max(left, key=lambda at: _tells(parts[at], seen) / math.sqrt(len(parts[at]) + 20))
        chosen.append(best)
        seen |= {word for word in words(parts[best]) if word not in HOLLOW}
        room -= len(parts[best]) + 1
    return " ".join(parts[at] for at in sorted(chosen)) or _cut(
        parts[0] if parts else text, SUMMARY_CHARS
    )


def enriched(
    rules: Curated, said: Described, text: str, lexicon: Lexicon, *, trusted: bool
) -> Curated:
    """``rules`` with what a model adds and the text bears out.

    ``trusted`` lets the model's categories count too: the smallest models guess them.
    """
    ground = ground_of(text, lexicon)
    dropped: list[str] = []

    def borne(found: Iterable[str], most: int) -> tuple[str, ...]:
        good: list[str] = []
        for label in found:
            (good if _grounded(label, ground, lexicon) else dropped).append(label)
        return tuple(good[:most])

    entities = borne((*rules.entities, *said.entities), 12)
    out = replace(
        rules,
        tags=(*rules.tags, *borne(said.tags, 5)),
        themes=(*borne(said.themes, 2), *rules.themes),
        entities=entities,
        categories=(*rules.categories, *(said.categories if trusted else ())),
    )
    if _summarises(said.summary, rules.summary, text, ground, lexicon):
        out = replace(out, summary=said.summary)
    elif said.summary:
        dropped.append(said.summary)
    return replace(out, dropped=tuple(dropped))


def ground_of(text: str, lexicon: Lexicon) -> frozenset[int]:
    """The stems of ``text``: what a label may be made of."""
    return frozenset(stem for ids in lexicon.words(text) for stem in ids)


def _grounded(label: str, ground: frozenset[int], lexicon: Lexicon) -> bool:
    """Whether every telling word of ``label`` stands in the text, in some form."""
    told = lexicon.words(label)
    return bool(told) and all(any(stem in ground for stem in ids) for ids in told)


def _summarises(found: str, own: str, text: str, ground: frozenset[int], lexicon: Lexicon) -> bool:
    """Whether a model's summary is shorter than the text and made of it."""
    if not found or len(found) >= len(text) or found.endswith(("…", "...")):
        return False
    told = lexicon.words(found)
    if len(told) < 3 or len(set(told)) < 0.6 * len(told):
        return False
    borne = sum(any(stem in ground for stem in ids) for ids in told)
    numbers = {word for word in words(found) if any(sign.isdigit() for sign in word)}
    spoken = set(words(text))
    named = {part for name in curation_text.names(found) for part in name.split()}
    return borne >= _SUMMARY_GROUND * len(told) and numbers <= spoken and named <= spoken


def _importance(
    text: str,
    role: str | None,
    arousal: float,
    stated: Sequence[Fact],
    found_dates: Sequence[str],
    found_amounts: Sequence[str],
    names: Sequence[str],
) -> float:
    """How much a memory is worth, by what it holds. The weights are judgement, not measurement."""
    low = text.lower()
    parts = sentences(text)
    asks = sum(part.rstrip().endswith("?") for part in parts)
    score = 0.3
    score += 0.3 * bool(stated)
    score += 0.1 * bool(found_dates) + 0.1 * bool(found_amounts) + 0.1 * bool(names)
    score += 0.4 * any(word in low for word in _MARKED)
    score += 0.2 * any(word in low for word in _DECIDED)
    score += 0.1 * (arousal >= 0.6)
    score -= 0.2 * (bool(parts) and asks == len(parts))
    score -= 0.1 * (role == "assistant")
    telling = sum(word not in HOLLOW for word in words(text))
    score -= 0.1 * (telling < 4)
    return round(min(1.0, max(0.0, score)), 2)


def _tells(part: str, seen: set[str]) -> float:
    fresh = {word for word in words(part) if word not in HOLLOW and word not in FUNCTION} - seen
    digits = sum(any(sign.isdigit() for sign in word) for word in fresh)
    return len(fresh) + digits + len(curation_text.names(part)) - 2.0 * part.endswith("?")


def _labels(found: Iterable[Any], most: int) -> tuple[str, ...]:
    plain = (
        " ".join(str(label).lower().split())[:_WORD_CHARS].strip(" .,;:#\"'") for label in found
    )
    return tuple([label for label in dict.fromkeys(plain) if label][:most])


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _within(value: float, low: float, high: float) -> float:
    return round(min(high, max(low, value)), 3) if math.isfinite(value) else 0.0


def _cut(text: str, most: int) -> str:
    plain = " ".join(text.split())
    if len(plain) <= most:
        return plain
    return plain[: most - 1].rpartition(" ")[0].rstrip(" ,;:") + "…"
