"""The write gate: is what was said worth keeping? By rules alone, and always with a reason.

It is in doubt for the memory: a text is turned away only when every sentence of it says nothing
(a greeting, thanks, assent, an assistant's stock phrase), or when it is machinery that restates
itself (a system prompt, a start-up text, recalled notes). "Yes" to a question is an answer and
stays. Repetitions are another matter: see ``curation_merge``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aiki_kernel.memory.curation_text import sentences, without_speaker, words
from aiki_kernel.memory.curation_words import (
    ASSENT,
    DAYS,
    FAREWELL,
    FUNCTION,
    GREETING,
    HOLLOW,
    MONTHS,
    SOCIAL,
    THANKS,
)

_ASKED = 4  # words of a question that may still ask nothing
_LONGEST = 16  # words of a sentence that may still say nothing
_BEFORE_NAME = frozenset(["you", "too", "again", "deg", "du", "igjen", "now", "soon"])
_NAME = re.compile(r"[A-ZÆØÅ][\w'’-]*")
_TOKEN = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*", re.UNICODE)

_WELLBEING = re.compile(
    r"^(?:and |so |og |så )?(?:how(?:'s| is| are| have)? (?:it going|(?:are )?you(?: doing| been|"
    r" today)*|"
    r"things(?: going)?|everything(?: going)?|life|your day(?: going)?)|how do you do|what'?s up|"
    r"what'?s new|long time(?: no (?:see|talk|speak|chat))?|lenge siden(?: sist)?|you (?:ok|okay|"
    r"good|alright)|hvordan (?:går det|har du det|står det til)|står det (?:bra )?til|"
    r"åssen går det|går det bra|alt (?:bra|vel)|hva skjer)(?: (?:with|for) (?:you|deg)| med deg| "
    r"i dag|"
    r" today| a?nd? you| \w{2,12})?$"
)
_MOOD = re.compile(
    r"^(?:i'?m|i am|i feel|jeg er|jeg føler meg|jeg har det)(?: (?:so|very|really|not|ikke|så|"
    r"veldig))?"
    r" (?:happy|good|great|fine|sad|proud|glad|lucky|grateful|bra|fin|stolt|takknemlig|lei)(?: "
    r"now| nå)?$"
)
"""How somebody is: a memory, and not a courtesy, when it is all that is said."""
_TIME_OF_DAY = re.compile(
    r"\b(god)(?: morgen| kveld| natt| ettermiddag| dag| helg)\b", re.IGNORECASE
)
_STOCK = re.compile(
    r"^(?:(?:great|sure|of course|certainly|absolutely|selvfølgelig|gjerne|ja) )?(?:"
    r"how (?:can|may) i (?:help|assist|be of \w+)(?: you)?(?: today| further| with (?:that|this))?|"
    r"(?:is|was) there anything else.*|what (?:else )?(?:can i (?:do|help)|would you like).*|"
    r"(?:please )?(?:just )?(?:feel free to|let me know|do not hesitate to|don't hesitate to|"
    r"just) (?:ask|tell|reach|if (?:you (?:have|need)|there'?s|there is|i can)).{0,70}"
    r"(?:questions?|help|assist\w*|else|more|further|know|ask|out)|"
    r"i'?m (?:here|happy|glad|always happy) to (?:help|assist).*|"
    r"(?:as|i am|i'm) an? (?:ai|artificial|large|virtual|language).*|"
    r"(?:hva|hvordan) kan jeg (?:hjelpe|bistå|gjøre for) ?.*|er det noe (?:annet|mer) .*|"
    r"(?:bare )?(?:spør|si fra|gi beskjed|si ifra|gi meg beskjed|ta kontakt).{0,60}"
    r"(?:spørsmål|hjelp|mer|noe|lurer|fra)|"
    r"jeg (?:er her|hjelper gjerne|er glad for) .*hjelpe?.*|jeg hjelper gjerne.*|"
    r"som en? (?:ki|ai|språkmodell).*|jeg er en? (?:ki|ai)[ -]?\w*.*"
    r")$"
)
_LEAD = (
    r"^(?:[#>*\-\s\[\]`]|\d{4}-\d\d-\d\d[t ][\d:.,z+]+)*"
    r"(?:\b(?:info|debug|notice|warn(?:ing)?)\b[\]:\s]+)?"
)
_BOOT = re.compile(
    _LEAD + r"(?:"
    r"(?:you are|you're|your name is|du er|du heter) (?!my |our |min |vår ).{0,60}(?:assistant|"
    r"chatbot|ai agent|ai model|"
    r"language model|assistent|samtalerobot|språkmodell)\b|"
    r"(?:system (?:prompt|message)|systemmelding|systemprompt|knowledge cutoff|available tools|"
    r"current working directory|context window|kontekstvindu|tilgjengelige verktøy)\b|"
    r"(?:session|kernel|daemon|økt|økten|kjernen|assistenten) .{0,14}"
    r"\b(?:started|initiali[sz]ed|ready|loaded|restarted|startet|klar|lastet)\b|"
    r"(?:loading|loaded|initiali[sz]ing|booting|laster|lastet|leser inn|initialiserer) "
    r"(?!the |my |our |an? |ned ).{0,40}"
    r"(?:memories|\w+\.md|tools?|plugins?|config\w*|profile|workspace|minner|verktøy|"
    r"innstillinger|profil)|"
    r"(?:agents|claude|soul|memory|identity|bootstrap|tools|user)\.md\b"
    r")",
    re.IGNORECASE,
)
_BOOT_TOO = re.compile(
    _LEAD + r"(?:"
    r"\[?(?:info|debug|notice)\b|"
    r"(?:instructions?|instruksjoner?|identity|identitet|persona|guidelines|retningslinjer|rules|"
    r"regler|tools|verktøy|current (?:date|time)|dagens dato|session(?: id)?|økt(?:-id)?|"
    r"user profile|brukerprofil|model|modell|temperature|language|språk|version|versjon)\s*(?::|"
    r"=|#|$)|"
    r"(?:always|never|do not|don't|alltid|aldri|ikke|be|vær|answer|svar|use|bruk|keep|hold|follow|"
    r"følg)\b"
    r")",
    re.IGNORECASE,
)
"""Lines that belong to a start-up text when something else shows that it is one."""
_RECALLED = re.compile(
    r"^(?:what you remember, as data|\(end of [0-9a-f]+\)|<\/?(?:memory|memories|recalled|"
    r"recall)\b|"
    r"(?:relevant|recalled|retrieved|stored) (?:memories|memory|notes)\b.{0,30}:?$|"
    r"(?:relevante|hentede|lagrede) (?:minner|notater)\b.{0,30}:?$|"
    r"- (?:user|assistant|fact|message|note), \d{4}-\d\d-\d\d: )",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Verdict:
    """Whether to keep a text, and why."""

    keep: bool
    reason: str


def judge(
    text: str,
    *,
    role: str | None = None,
    previous: str | None = None,
    prompts: Sequence[str] = (),
) -> Verdict:
    """Judge one message. ``previous`` is the message before it in the conversation, and
    ``prompts`` are the system prompts that are in use."""
    said = without_speaker(text, role)
    parts = sentences(said)
    if not parts or not words(said):
        return Verdict(False, "no words")
    if _restates(said, prompts):
        return Verdict(False, "system prompt restated")
    recalled = [bool(_RECALLED.match(part)) for part in parts]
    if any(recalled) and recalled[0]:
        return Verdict(False, "recalled notes restated")
    boot = [not part.endswith("?") and bool(_BOOT.match(part)) for part in parts]
    told = sum(
        len(part)
        for part, sure in zip(parts, boot, strict=True)
        if sure or _BOOT_TOO.match(part) or hollow(part, "assistant")
    )
    if any(boot) and told >= 0.6 * sum(map(len, parts)):
        return Verdict(False, "start-up text")
    kinds = [hollow(part, role) for part in parts]
    if not all(kinds):
        return Verdict(True, "says something")
    asked = previous is not None and previous.rstrip("\"'”») ").endswith("?")
    if asked and role != "assistant" and any(kind in ("assent", "praise") for kind in kinds):
        question = sentences(previous or "")[-1]
        if not hollow(question, None) and not _stock(question):
            return Verdict(True, "answers a question")
    for kind, reason in (
        ("stock", "stock phrase"),
        ("greeting", "greeting"),
        ("farewell", "farewell"),
        ("thanks", "thanks"),
    ):
        if kind in kinds:
            return Verdict(False, reason)
    return Verdict(False, "acknowledgement")


def hollow(sentence: str, role: str | None = None) -> str:
    """What kind of nothing a sentence says; empty when it may say something."""
    plain = " ".join(words(sentence))
    if not plain:
        return "praise"
    if role == "assistant" and _stock(sentence):
        return "stock"
    whole = _clause(sentence)
    if whole:
        return whole
    clauses = [part for part in re.split(r"[,;:–—]\s+|\s+-\s+", sentence) if words(part)]
    kinds = [_clause(part) or _called(part) for part in clauses]
    if len(clauses) < 2 or not all(kinds) or kinds == ["name"] * len(kinds):
        return ""
    return next(kind for kind in kinds if kind != "name")


def _called(clause: str) -> str:
    """Whether a clause is nothing but somebody's name."""
    tokens = _TOKEN.findall(clause)
    return "name" if len(tokens) <= 2 and all(_NAME.fullmatch(token) for token in tokens) else ""


def _clause(sentence: str) -> str:
    """What kind of nothing a clause says."""
    sentence = _TIME_OF_DAY.sub(r"\1", sentence)
    if _WELLBEING.match(" ".join(words(sentence))):
        return "greeting"
    tokens = _TOKEN.findall(sentence)
    if len(tokens) > _LONGEST or any(sign.isdigit() for sign in sentence):
        return ""
    asks = sentence.rstrip("\"'”») ").endswith("?")
    if (asks and len(tokens) > _ASKED) or _MOOD.match(" ".join(words(sentence))):
        return ""
    said: list[str] = []
    addressed = False
    for token in tokens:
        word = token.lower().replace("’", "'")
        if word in DAYS or word in MONTHS:
            return ""
        if word in HOLLOW or word.removesuffix("'s") in FUNCTION:
            said.append(word)
        elif (
            _NAME.fullmatch(token)
            and not (addressed or asks)
            and (not said or said[-1] in SOCIAL | _BEFORE_NAME)
        ):
            addressed = bool(said) or len(tokens) > 1
            if not addressed:
                return ""
        else:
            return ""
    if not any(word in SOCIAL for word in said):
        return ""
    if addressed and not any(word in SOCIAL for word in said[:3]):
        return ""
    for kind, listed in (
        ("thanks", THANKS),
        ("farewell", FAREWELL),
        ("greeting", GREETING),
        ("assent", ASSENT),
    ):
        if any(word in listed for word in said):
            return kind
    return "praise"


def _stock(sentence: str) -> bool:
    return bool(_STOCK.match(" ".join(words(sentence))))


def _restates(text: str, prompts: Sequence[str]) -> bool:
    """Whether most of ``text`` is a system prompt's own words, three at a time."""
    mine = _threes(text)
    if len(mine) < 4:
        return False
    return any(len(mine & _of_prompt(prompt)) >= 0.6 * len(mine) for prompt in prompts)


@lru_cache(maxsize=256)
def _of_prompt(prompt: str) -> set[tuple[str, ...]]:
    return _threes(prompt)


def _threes(text: str) -> set[tuple[str, ...]]:
    spoken = words(text)
    return {tuple(spoken[at : at + 3]) for at in range(len(spoken) - 2)}
