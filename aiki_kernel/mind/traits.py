"""Traits of a persona as plain sentences of its system prompt.

The rule, the same for every trait (0..1): up to 0.2 the first sentence, below 0.4 the second,
from there up to 0.6 none (the middle needs no words), below 0.8 the third, from 0.8 the
fourth. A trait that a persona does not set has no sentence either. The sentences stand behind
the persona's own text, in its language, in the order of :data:`TRAITS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from aiki_kernel.mind.language import Language

Trait = Literal["formality", "helpfulness", "detail", "technical_depth", "focus"]
TRAITS: tuple[Trait, ...] = get_args(Trait)

_SENTENCES: Mapping[Language, Mapping[Trait, tuple[str, str, str, str]]] = {
    "en": {
        "formality": (
            "Write casually, as to a friend.",
            "Keep an easy, informal tone.",
            "Keep a polite tone.",
            "Write formally, in full sentences.",
        ),
        "helpfulness": (
            "Answer exactly what was asked and offer nothing more.",
            "Offer more than was asked only when it matters.",
            "Say what would help next when you see it.",
            "Go out of your way to help: name the next step and what could go wrong.",
        ),
        "detail": (
            "Answer in one or two sentences.",
            "Keep answers short.",
            "Explain with the details that matter.",
            "Answer thoroughly, with every detail that counts.",
        ),
        "technical_depth": (
            "Use no technical terms.",
            "Avoid jargon, or explain it.",
            "Use the terms of the field.",
            "Go into technical depth: name mechanisms, numbers and limits.",
        ),
        "focus": (
            "Follow side tracks freely when they are interesting.",
            "A side remark is welcome.",
            "Stay with the question.",
            "Stay strictly with the question: no asides.",
        ),
    },
    "no": {
        "formality": (
            "Skriv uformelt, som til en venn.",
            "Hold en lett og uformell tone.",
            "Hold en høflig tone.",
            "Skriv formelt, i hele setninger.",
        ),
        "helpfulness": (
            "Svar nøyaktig på det som ble spurt om, og tilby ikke mer.",
            "Tilby mer enn det ble spurt om bare når det er viktig.",
            "Si hva som kan hjelpe videre når du ser det.",
            "Strekk deg langt for å hjelpe: nevn neste steg og hva som kan gå galt.",
        ),
        "detail": (
            "Svar med én eller to setninger.",
            "Hold svarene korte.",
            "Forklar med de detaljene som betyr noe.",
            "Svar grundig, med alle detaljer som teller.",
        ),
        "technical_depth": (
            "Bruk ingen faguttrykk.",
            "Unngå sjargong, eller forklar den.",
            "Bruk fagets egne ord.",
            "Gå i teknisk dybde: nevn mekanismer, tall og grenser.",
        ),
        "focus": (
            "Følg gjerne sidespor når de er interessante.",
            "En sidebemerkning er velkommen.",
            "Hold deg til spørsmålet.",
            "Hold deg strengt til spørsmålet: ingen sidespor.",
        ),
    },
}


def sentences(traits: Mapping[str, float], language: Language) -> tuple[str, ...]:
    """The sentences of ``traits`` (name -> 0..1), in the order of :data:`TRAITS`."""
    told = []
    for trait in TRAITS:
        step = None if trait not in traits else _step(traits[trait])
        if step is not None:
            told.append(_SENTENCES[language][trait][step])
    return tuple(told)


def _step(value: float) -> int | None:
    if value <= 0.2:
        return 0
    if value < 0.4:
        return 1
    if value <= 0.6:
        return None
    return 2 if value < 0.8 else 3
