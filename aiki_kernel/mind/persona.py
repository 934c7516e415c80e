"""A persona: who answers, in which voice, with which models, and what it may see.

How one lies on disk stands in ``persona_file.py``, where they are found in ``roster.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from aiki_kernel.mind.language import Language, language_of
from aiki_kernel.mind.traits import sentences
from aiki_kernel.models.cards import TIERS, ModelCard
from aiki_kernel.safety.permissions import SHARED, Grant, Rights

DEFAULT = SHARED


@dataclass(frozen=True)
class Voice:
    """What a persona is called and told in one language."""

    title: str
    system: str


@dataclass(frozen=True)
class AllowedModels:
    """Patterns over catalogue names (``local/*``, ``openai/gpt-6*``) and names of tiers.

    ``local`` is a tier, too: all models of this machine. Without patterns all are allowed.
    """

    patterns: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def __str__(self) -> str:
        return ", ".join(self.patterns)

    def allows(self, card: ModelCard) -> bool:
        """Whether the model of ``card`` is among them."""
        if not self.patterns or card.tier in self.patterns:
            return True
        if card.local and "local" in self.patterns:
            return True
        return any(
            fnmatchcase(card.name, pattern) for pattern in self.patterns if pattern not in TIERS
        )


ANY = AllowedModels()
"""Every model."""


@dataclass(frozen=True)
class Persona:
    """One persona. What is None is as the settings say. ``source`` is its file, for people.

    ``voices`` holds a text for each language it speaks, its own first.
    """

    name: str
    voices: Mapping[Language, Voice] = field(default_factory=dict)
    temperature: float | None = None
    context_tokens: int | None = None
    traits: Mapping[str, float] = field(default_factory=dict)
    models: AllowedModels = ANY
    rights: Rights = field(default_factory=Rights)
    privileged: bool = False
    source: str = ""

    def voice(self, language: Language) -> tuple[Language, Voice]:
        """Its text in ``language``, or else in its own, and which of the two that is."""
        if language not in self.voices and self.voices:
            language = next(iter(self.voices))
        return language, self.voices.get(language, Voice(self.name, ""))

    def title(self, language: Language = "en") -> str:
        return self.voice(language)[1].title

    def system(self, language: Language) -> str:
        """The system prompt: its own text, then its traits as sentences."""
        spoken, voice = self.voice(language)
        return " ".join([voice.system, *sentences(self.traits, spoken)]).strip()

    def grant(self) -> Grant:
        """What it may do with the memory."""
        return self.rights.grant(self.name)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as ``aiki persona show --json`` prints it."""
        return {
            "name": self.name,
            "voices": {
                language: {"title": voice.title, "system": voice.system}
                for language, voice in self.voices.items()
            },
            "temperature": self.temperature,
            "context_tokens": self.context_tokens,
            "traits": dict(self.traits),
            "models": list(self.models.patterns),
            "read": list(self.rights.read),
            "write": list(self.rights.write),
            "tools": list(self.rights.tools),
            "privileged": self.privileged,
            "min_trust": self.rights.min_trust or None,
            "source": self.source,
        }


def spoken(setting: str, texts: Iterable[str]) -> Language:
    """The language of an answer: the setting; where it is ``auto``, that of the first of
    ``texts`` that shows one (the message, then earlier ones, newest first); else English."""
    if setting in ("en", "no"):
        return "en" if setting == "en" else "no"
    return next((found for text in texts if (found := language_of(text))), "en")
