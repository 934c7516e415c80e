"""What a question asks for: a period, people, kinds, tags; the rest is searched for.

Rules in English and Norwegian, with the words that this memory really has
(:class:`Vocabulary`): a name becomes a filter only where a memory is by or about it, a kind
only where one is of that kind. What the rules see and cannot read is left in
:attr:`Asked.unclear` for a model.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from aiki_kernel.memory.asking import period as periods
from aiki_kernel.memory.asking.vocabulary import KINDS, SAYING, SELF, THE_MODEL, word_set
from aiki_kernel.memory.store import Either, Where

VERSION = 1
_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*", re.UNICODE)
_TAG = re.compile(
    r"(?<!\w)#([^\W_][\w-]*)|\b(?:tagged|tag|merket|merkelapp)\s+['\"]?([\w-]+)", re.I
)
_CATEGORY = re.compile(r"\b(?:category|kategori|kategorien)\s+['\"]?([\w-]+)", re.I)
_TIME_HINT = re.compile(
    r"\b(?:ago|since|before|after|until|during|earlier|siden|før|etter|inntil|tidligere|"
    r"last|forrige|sist)\b",
    re.I,
)
_SOMEBODY = re.compile(r"\b(?:he|she|they|who|han|hun|hen|hvem)\b", re.I)
_BY = word_set("by av ifølge from fra")

SPEAKER = ("role", "agent_id")
LABELLED = ("kind", "tags", "categories")


@dataclass(frozen=True)
class Vocabulary:
    """What memories in a scope are labelled with: each value and how many have it."""

    kinds: Mapping[str, int] = field(default_factory=dict)
    roles: Mapping[str, int] = field(default_factory=dict)
    agents: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)
    entities: Mapping[str, int] = field(default_factory=dict)
    categories: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, dict[str, int]]:
        return {name: dict(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Vocabulary:
        return cls(**{name: data.get(name, {}) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Part:
    """One thing that was understood. ``name``: time, person, kind or tag; ``words`` are the
    question's; ``by``: rule, model or option. ``since`` and ``until`` as in ``Where``."""

    name: str
    words: str
    meaning: str
    by: str = "rule"
    since: str | None = None
    until: str | None = None
    either: tuple[Either, ...] = ()

    def to_json(self) -> dict[str, Any]:
        either = [{"keys": list(one.keys), "words": list(one.words)} for one in self.either]
        return {**{name: getattr(self, name) for name in _PLAIN}, "either": either}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Part:
        either = tuple(Either(tuple(e["keys"]), tuple(e["words"])) for e in data.get("either", ()))
        return cls(**{name: data.get(name) for name in _PLAIN}, either=either)  # type: ignore[arg-type]


_PLAIN = ("name", "words", "meaning", "by", "since", "until")


@dataclass(frozen=True)
class Asked:
    """A question, understood. ``query`` is what is searched for; empty means everything."""

    question: str
    query: str
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "question": self.question,
            "query": self.query,
            "parts": [part.to_json() for part in self.parts],
            "notes": list(self.notes),
            "unclear": list(self.unclear),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Asked:
        return cls(
            str(data.get("question", "")),
            str(data.get("query", "")),
            tuple(Part.from_json(part) for part in data.get("parts", ())),
            tuple(data.get("notes", ())),
            tuple(data.get("unclear", ())),
        )

    def without(self, names: Collection[str]) -> Asked:
        """The same without the filters of these names."""
        return replace(self, parts=tuple(part for part in self.parts if part.name not in names))

    def adding(self, *parts: Part) -> Asked:
        """With parts in the place of those of the same name."""
        kept = self.without({part.name for part in parts})
        return replace(kept, parts=(*kept.parts, *parts))

    def where(self, base: Where, *, but: Part | None = None, only: Part | None = None) -> Where:
        """``base`` and what was understood, but for one part, or only one."""
        for part in self.parts:
            if part is but or (only is not None and part is not only):
                continue
            base = replace(
                base,
                since=max(filter(None, (base.since, part.since)), default=None),
                until=min(filter(None, (base.until, part.until)), default=None),
                either=(*base.either, *part.either),
            )
        return base


def understand(question: str, known: Vocabulary, now: datetime) -> Asked:
    """What ``question`` asks for by the rules. ``now`` is aware, in the user's own zone."""
    text, notes, parts = question.strip(), [], []
    found, rest = periods.find(text, now)
    if found is not None:
        parts.append(time_part(found.since, found.until, found.words, now))
    rest, tagged = _tags(rest)
    parts += tagged
    words = _WORD.findall(rest)
    person = _person(words, known)
    parts += person
    kinds, missing = _kinds(words, known)
    parts += kinds
    notes += [
        f"No memory is marked as a {kind}: {word!r} is searched for as a word."
        for kind, word in missing
    ]
    unclear = []
    if found is None and _TIME_HINT.search(rest):
        unclear.append("time")
    if not person and _SOMEBODY.search(rest) and SAYING.intersection(map(str.lower, words)):
        unclear.append("person")
    return Asked(text, rest.strip(" ?!."), tuple(parts), tuple(notes), tuple(unclear))


def time_part(
    since: str | None, until: str | None, words: str, now: datetime, by: str = "rule"
) -> Part:
    """A period as a filter; its meaning is told in the zone of ``now``."""
    ends = [_told(one, now) for one in (since, until)]
    if since and until:
        meaning = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
    else:
        meaning = f"since {ends[0]}" if since else f"until {ends[1]}"
    return Part("time", words, meaning, by, since, until)


def person_part(name: str, known: Vocabulary, by: str = "option") -> Part:
    """Somebody who spoke or is spoken of, named by the user or a model."""
    low = name.lower()
    if low in SELF:
        return _speaker("user", name, by)
    if low in THE_MODEL:
        return _speaker("assistant", name, by)
    spoken = [one for one in (*known.roles, *known.agents) if one.lower() == low]
    either = Either((*SPEAKER, "entities"), tuple(dict.fromkeys((*spoken, low))))
    return Part("person", name, f"by or about {name}", by, either=(either,))


def kind_part(name: str, known: Vocabulary, by: str = "option", words: str = "") -> Part:
    """A kind of memory, under whichever of its names this memory knows it."""
    low = name.lower()
    concept = next((key for key, names in KINDS.items() if low == key or low in names), low)
    wanted = _kept_as(concept, known) or (low,)
    return Part("kind", words or name, concept, by, either=(Either(LABELLED, wanted),))


def tag_part(name: str, by: str = "option") -> Part:
    low = name.lower().lstrip("#")
    return Part("tag", name, f"#{low}", by, either=(Either(("tags",), (low,)),))


def _tags(text: str) -> tuple[str, list[Part]]:
    parts = [tag_part(found[1] or found[2], "rule") for found in _TAG.finditer(text)]
    for found in _CATEGORY.finditer(text):
        low = found[1].lower()
        either = (Either(("categories",), (low,)),)
        parts.append(Part("category", found[0], low, "rule", either=either))
    return _CATEGORY.sub(" ", _TAG.sub(" ", text)) if parts else text, parts


def _person(words: Sequence[str], known: Vocabulary) -> list[Part]:
    """Who said it, by the verb that they stand beside; else a name that memories are about."""
    low = [word.lower() for word in words]
    names = {name.lower(): name for name in (*known.roles, *known.agents)}
    for place, word in enumerate(low):
        near = [*range(place - 1, max(place - 4, -1), -1), *range(place + 1, place + 2)]
        if word in _BY:
            near = [place + 1]
        elif word not in SAYING:
            continue
        for at in near:
            if not 0 <= at < len(low):
                continue
            if low[at] in SELF and word in SAYING:
                return [_speaker("user", words[at])]
            if low[at] in THE_MODEL and word in SAYING:
                return [_speaker("assistant", words[at])]
            if low[at] in names:
                return [_speaker(names[low[at]], words[at])]
            if low[at] in known.entities and word in SAYING:
                break
    text = f" {' '.join(low)} "
    about = [name for name in known.entities if f" {name} " in text and len(name) > 1]
    longest = [one for one in about if not any(one != two and one in two for two in about)]
    return [
        Part("person", name, f"about {name}", either=(Either(("entities", *SPEAKER), (name,)),))
        for name in longest
    ]


def _speaker(name: str, words: str, by: str = "rule") -> Part:
    meaning = {"user": "said by you", "assistant": "said by the model"}.get(name, f"said by {name}")
    return Part("person", words, meaning, by, either=(Either(SPEAKER, (name,)),))


def _kinds(words: Sequence[str], known: Vocabulary) -> tuple[list[Part], list[tuple[str, str]]]:
    parts: dict[str, Part] = {}
    missing: dict[str, str] = {}
    for word in words:
        for concept, names in KINDS.items():
            if word.lower() in names and concept not in parts:
                if _kept_as(concept, known):
                    parts[concept] = kind_part(concept, known, "rule", word)
                elif concept in _TOLD:
                    missing.setdefault(concept, word)
    return list(parts.values()), list(missing.items())


_TOLD = ("decision", "insight", "issue", "sensor", "preference", "task")
"""Kinds whose absence is worth a line: nobody means a kind by `plan` or `note` alone."""


def _kept_as(concept: str, known: Vocabulary) -> tuple[str, ...]:
    names = {concept, *KINDS.get(concept, ())}
    there = (*known.kinds, *known.tags, *known.categories)
    return tuple(sorted({name for name in there if name.lower() in names}))


def _told(iso: str | None, now: datetime) -> str:
    if iso is None:
        return ""
    when = datetime.fromisoformat(iso).astimezone(now.tzinfo)
    edges = ((0, 0), (23, 59))
    return f"{when:%Y-%m-%d}" if (when.hour, when.minute) in edges else f"{when:%Y-%m-%d %H:%M}"
