"""Facts that end when another takes their place: where somebody lives, what the budget is.

Only plain statements are read, in the first person or about a named thing, and only of what has
one value at a time. "I want to move to Oslo" states nothing. Two facts of one slot with two
values contradict each other: the older one ends when the younger begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from aiki_kernel.memory.curation_gate import hollow
from aiki_kernel.memory.curation_text import amounts, dates, sentences, supposing, words
from aiki_kernel.memory.curation_words import HOLLOW, PRONOUNS
from aiki_kernel.memory.window import moment

_BESIDE = 3  # telling words that a sentence may have beside its fact
_LONGEST = 300  # characters of a sentence that is read
_STOPS = (
    r"(?=[.,;:!?)\n]|$|\s(?:and|but|because|since|for|with|from|after|before|so|now|last|this|next|"
    r"yesterday|today|when|where|which|who|og|men|fordi|siden|for|med|fra|etter|før|så|nå|i (?:går|"
    r"dag|fjor|april|mars|mai|juni|juli|sommer|høst|vår|vinter)|sist|når|der|som|på (?:mandag|"
    r"fredag))\b)"
)
_PLACE = rf"(?P<value>[A-ZÆØÅ][^.,;:!?\n]{{0,40}}?){_STOPS}"
_ANY = rf"(?P<value>[^.,;:!?\n]{{1,48}}?){_STOPS}"
_KIN = (
    r"sister|brother|mother|father|mom|mum|dad|wife|husband|son|daughter|boss|manager|friend|"
    r"søster|bror|mor|far|kone|mann|sønn|datter|sjef|venn|mamma|pappa"
)
_SINGLE = (
    r"name|phone(?: number)?|e-?mail(?: address)?|address|birthday|job|employer|boss|manager|"
    r"doctor|"
    r"car|budget|deadline|password|login|salary|rent|favou?rite [a-zæøå]+|landlord|dentist|"
    r"navn|telefon(?:nummer)?|e-?post(?:adresse)?|adresse|bursdag|jobb|arbeidsgiver|sjef|lege|"
    r"fastlege|"
    r"bil|budsjett|frist|passord|lønn|husleie|yndlings[a-zæøå]+|favoritt[a-zæøå]+|tannlege"
)
_I = r"\b(?:i|we|jeg|vi|eg)\b"
_JUST = (
    r"(?:(?:'ve|'m| have| am| har)?"
    r"(?: just| recently| now| finally| currently| nettopp| nylig| nå| endelig)*)"
)
_HABIT = re.compile(
    rf"{_I}{_JUST}\s+(?:live|living|reside|moved?(?: back)?|relocated|bor|flyttet|flytta|har "
    rf"flyttet)"
    rf"(?: nå| now)?\s+(?:in|to|at|i|til|på)\s+{_PLACE}",
    re.IGNORECASE,
)
_EMPLOYED = re.compile(
    rf"{_I}{_JUST}\s+(?:work(?:ing)?|started(?: working| a (?:new )?job)?|began|jobber|"
    rf"begynte(?: å jobbe)?|"
    rf"har begynt|arbeider|er ansatt)(?: nå| now)?\s+(?:at|for|hos|i|ved)\s+{_PLACE}",
    re.IGNORECASE,
)
_KIN_LIVES = re.compile(
    rf"\b(?:(?:my|our)\s+(?P<who>{_KIN})|(?P<who_no>(?:{_KIN})(?:en|a)?)\s+(?:min|mi|vår))\s+"
    rf"(?:(?:just|now|recently|nå|nettopp)\s+)?(?:lives?|moved|bor|flyttet|har flyttet)\s+"
    rf"(?:in|to|i|til|på)\s+{_PLACE}",
    re.IGNORECASE,
)
_MINE = re.compile(
    rf"\b(?:my|our|min|mitt|mi|vår|vårt)\s+(?:new |nye? )?(?P<slot>{_SINGLE})\s+"
    rf"(?:is|are|'s|er|heter|blir)(?: now| nå| called)?\s+{_ANY}",
    re.IGNORECASE,
)
_MINE_NO = re.compile(
    rf"\b(?P<slot>{_SINGLE}|(?:{_SINGLE})(?:en|et|a))\s+(?:min|mitt|mi|vår|vårt)\s+"
    rf"(?:er|heter|blir)(?: nå)?\s+{_ANY}",
    re.IGNORECASE,
)
_THE = re.compile(
    r"^(?:(?:update|correction|oppdatering|rettelse)\s*:\s*)?(?:(?:the|our|my|vår|vårt)\s+)?"
    r"(?P<slot>[a-zæøå][\w-]*(?:\s+(?:for|of|til|på|on|i)?\s*[\w-]+){0,4}?)\s+"
    r"(?:(?:is|are|has been|was) (?:moved|changed|raised|lowered|set) to|is|are|(?:er|ble|blir) "
    r"(?:satt|flyttet|endret|økt|senket) til|er|ble|runs on|kjører på|tas|starter)(?: now| "
    r"nå)?\s+(?P<value>[^.;!?\n]*\d[^;!?\n]{0,40}?)[.;!]?$",
    re.IGNORECASE,
)
_MOVED_ON = re.compile(
    rf"{_I}\s+(?:(?:no longer|don't|do not)\s+(?:live|work)|(?:bor|jobber)\s+ikke(?: lenger)?)\b"
    rf".*?\b(?:in|at|for|i|hos|på)\s+{_PLACE}",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Fact:
    """One value of one slot, of one subject. ``value`` is empty for a fact that only ended."""

    slot: str
    value: str
    since: str = ""
    ended: str = ""

    @property
    def key(self) -> str:
        """As it is stored: ``slot=value``."""
        return f"{self.slot}={self.value}"


def facts(text: str, said: str) -> list[Fact]:
    """The facts that ``text`` states; ``said`` is when."""
    found: dict[str, Fact] = {}
    for sentence in sentences(text):
        if len(sentence) > _LONGEST or supposing(sentence):
            continue
        for fact in _read(sentence):
            since = _since(sentence, said)
            found[fact.slot] = Fact(fact.slot, fact.value, since, fact.ended)
    return list(found.values())


def only_facts(text: str, slots: Sequence[str]) -> bool:
    """Whether ``text`` says nothing beyond facts of ``slots``, so that it ends with them."""
    wanted = set(slots)
    for sentence in sentences(text):
        if hollow(sentence):
            continue
        read = _read(sentence)
        if not read or not {fact.slot for fact in read} <= wanted:
            return False
        told = {word for fact in read for word in words(f"{fact.slot} {fact.value}")}
        if len([w for w in words(sentence) if w not in HOLLOW and w not in told]) > _BESIDE:
            return False
    return True


def contradicts(new: Fact, old: Fact) -> bool:
    """Whether ``old`` cannot be so while ``new`` is."""
    if new.slot != old.slot or not old.value:
        return False
    if new.ended:
        return _same(new.ended, old.value)
    return not _same(new.value, old.value)


def stored(metadata: Mapping[str, Any]) -> list[Fact]:
    """The facts of a curated memory."""
    out = []
    for item in metadata.get("facts") or ():
        slot, equals, value = str(item).partition("=")
        if equals:
            out.append(Fact(slot, value, str(metadata.get("valid_from") or "")))
    return out


def _read(sentence: str) -> list[Fact]:
    out = []
    gone = _MOVED_ON.search(sentence)
    if gone:
        slot = "employer" if re.search(r"\b(?:work|jobber)\b", sentence, re.IGNORECASE) else "home"
        return [Fact(slot, "", ended=_plain(gone["value"]))]
    for slot, pattern in (("home", _HABIT), ("employer", _EMPLOYED)):
        match = pattern.search(sentence)
        if match and match["value"][:1].isupper():
            out.append(Fact(slot, _plain(match["value"])))
    match = _KIN_LIVES.search(sentence)
    if match and match["value"][:1].isupper():
        who = (match["who"] or match["who_no"]).lower()
        who = who.removesuffix("en") if who.removesuffix("en") in _KIN.split("|") else who
        out.append(Fact(f"{who} home", _plain(match["value"])))
    for pattern in (_MINE, _MINE_NO):
        match = pattern.search(sentence)
        if match:
            out.append(Fact(_slot(match["slot"]), _plain(match["value"])))
    if not out:
        match = _THE.match(sentence)
        if match:
            slot = _slot(match["slot"])
            lead = slot.split()[0] if slot else ""
            told = bool(amounts(match["value"])) or len(words(match["value"])) <= 4
            if lead and lead not in PRONOUNS and told:
                out.append(Fact(slot, _plain(match["value"])))
    return [fact for fact in out if fact.value]


_ONE_NAME = {
    "e-mail": "email",
    "email address": "email",
    "e-post": "email",
    "epost": "email",
    "epostadresse": "email",
    "e-postadresse": "email",
    "phone number": "phone",
    "telefon": "phone",
    "telefonnummer": "phone",
    "navn": "name",
    "adresse": "address",
    "bursdag": "birthday",
    "bursdagen": "birthday",
    "jobb": "job",
    "jobben": "job",
    "bil": "car",
    "bilen": "car",
    "budsjett": "budget",
    "budsjettet": "budget",
    "frist": "deadline",
    "fristen": "deadline",
    "passord": "password",
    "passordet": "password",
    "lønn": "salary",
    "lønnen": "salary",
    "lønna": "salary",
    "husleie": "rent",
    "husleien": "rent",
    "husleia": "rent",
    "sjef": "boss",
    "sjefen": "boss",
    "lege": "doctor",
    "fastlege": "doctor",
    "fastlegen": "doctor",
    "legen": "doctor",
    "arbeidsgiver": "employer",
    "arbeidsgiveren": "employer",
}


def _slot(found: str) -> str:
    plain = " ".join(found.lower().split()).replace("favourite", "favorite")
    return _ONE_NAME.get(plain, plain)


def _plain(value: str) -> str:
    return " ".join(value.lower().strip(" .,'\"").split())


def _same(one: str, other: str) -> bool:
    first, second = set(words(one)), set(words(other))
    return first <= second or second <= first


def _since(sentence: str, said: str) -> str:
    """The past day that a sentence names, else when it was said."""
    spoken = moment(said)
    for day in dates(sentence, said):
        when = moment(f"{date.fromisoformat(day)}T00:00:00+00:00")
        if when is not None and spoken is not None and when <= spoken:
            return f"{day}T00:00:00+00:00"
    return said
