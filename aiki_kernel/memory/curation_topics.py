"""What a text is about and how it feels, by word lists: English and Norwegian.

Categories are few and fixed, so that they can be filters. Valence runs from -1 to 1 and arousal
from 0 to 1 (Russell 1980: pleasant or not, stirred or calm); both are rough readings of single
words, and zero means that nothing was read.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

from aiki_kernel.memory.curation_text import words
from aiki_kernel.memory.curation_words import (
    BLAND,
    DAYS,
    HOLLOW,
    MONTHS,
    NEGATION,
    RELATIVE,
    STIRRING,
)

_STARTS = {
    "people": (
        "friend family mother father mom mum dad sister brother husband wife partner son daughter "
        "child kid kids baby colleague neighbour neighbor grandma grandpa grandmother grandfather "
        "cousin uncle aunt boyfriend girlfriend married wedding birthday venn familie mor far "
        "mamma "
        "pappa søster bror mann kone samboer sønn datter barn kollega nabo bestemor bestefar "
        "fetter "
        "kusine onkel tante kjæreste gift bryllup bursdag"
    ),
    "home": (
        "home house apartment flat kitchen garden bedroom rent moved moving live lives furniture "
        "cabin wifi heating neighbourhood hjem hus leilighet kjøkken hage soverom leie flyttet "
        "flytter bor hytte strøm varme boks bolig"
    ),
    "work": (
        "work job office boss manager meeting client customer colleague career salary project "
        "deadline company business hired interview promotion jobb kontor sjef møte kunde karriere "
        "lønn prosjekt frist bedrift firma ansatt intervju arbeid"
    ),
    "health": (
        "health doctor hospital medicine sick ill illness pain therapy therapist exercise workout "
        "gym yoga sleep allerg diet injur surgery dentist mental helse lege sykehus medisin syk "
        "smerte terapi trening trene søvn diett skade operasjon tannlege vitamin"
    ),
    "travel": (
        "travel trip flight airport hotel vacation holiday journey passport train camping hike "
        "hiking roadtrip beach museum reise tur fly flyplass hotell ferie pass tog fjelltur "
        "strand biltur"
    ),
    "food": (
        "food dinner lunch breakfast restaurant recipe cook cooking bake baking eat eating meal "
        "vegetarian vegan coffee cake chocolate mat middag lunsj frokost oppskrift lage bake spise "
        "måltid kaffe kake sjokolade vegetarianer"
    ),
    "money": (
        "money budget price cost costs pay paid payment invoice loan bank tax salary rent expense "
        "savings penger budsjett pris kostnad koster betale betalt faktura lån skatt husleie "
        "utgift "
        "sparing kroner dollar euro"
    ),
    "plans": (
        "plan plans planning deadline appointment schedule calendar remind reminder tomorrow goal "
        "goals upcoming agenda decide decided decision planlegg frist avtale timeplan kalender "
        "påminn morgen mål beslutt bestem vedtak vedtatt"
    ),
    "technology": (
        "computer laptop server software code python database api port backup phone app program "
        "bug deploy model notebook network router password datamaskin maskin programvare kode "
        "telefon nettverk passord sikkerhetskopi notatbok"
    ),
    "leisure": (
        "game games gaming movie film book books read reading music song band concert paint "
        "painting art dance dancing sport soccer football basketball hobby photo guitar piano pet "
        "dog cat spill kino bok bøker lese musikk sang konsert male maleri kunst danse fotball "
        "foto gitar kjæledyr hund katt"
    ),
    "learning": (
        "school university course study studying student teacher class lesson exam degree learn "
        "learning research education skole universitet kurs studere student lærer klasse eksamen "
        "grad lære forskning utdanning"
    ),
    "preferences": (
        "favorite favourite prefer prefers love loves hate hates enjoy dislike yndling favoritt "
        "foretrekker elsker hater misliker liker"
    ),
}
CATEGORIES = tuple(_STARTS)
MOST_CATEGORIES = 3

_ENDING = "(?:s|es|ed|ing|er|en|et|ene|a|ane|te|t|r|n)?"
_PATTERNS = {
    name: re.compile(
        rf"(?:{'|'.join(sorted(map(re.escape, starts.split()), key=len, reverse=True))}){_ENDING}"
    )
    for name, starts in _STARTS.items()
}

_FEELINGS = (
    # valence, arousal, words
    (0.9, 0.8, "thrilled ecstatic stoked amazing incredible awesome overjoyed begeistret henrykt"),
    (0.8, 0.6, "excited love loved happy delighted proud fun joy wonderful elsker lykkelig gøy"),
    (0.8, 0.6, "stolt glede gleder herlig fantastisk"),
    (0.6, 0.3, "glad enjoy enjoyed good great nice grateful thankful lovely beautiful koselig"),
    (0.6, 0.3, "fin fint hyggelig takknemlig vakker bra"),
    (0.5, 0.1, "calm peaceful relaxed relaxing content soothing rolig fredelig avslappet fornøyd"),
    (-0.8, 0.8, "furious angry terrified panic horrible hate hated outraged rasende sint skrekk"),
    (-0.8, 0.8, "redselsfull hater panikk"),
    (-0.6, 0.7, "scared afraid anxious worried stressed stress nervous frustrated annoyed redd"),
    (-0.6, 0.7, "engstelig bekymret stresset nervøs frustrert irritert"),
    (-0.8, 0.4, "devastated heartbroken grief died death funeral lost knust sorg døde død mistet"),
    (-0.6, 0.2, "sad lonely unhappy disappointed sorry miss depressed bad trist ensom skuffet"),
    (-0.6, 0.2, "savner deprimert dårlig"),
    (-0.3, 0.1, "tired bored exhausted sliten trøtt kjeder utslitt lei"),
)
_FEELING = {word: (good, loud) for good, loud, listed in _FEELINGS for word in listed.split()}
MOST_TAGS, MOST_THEMES = 6, 3


def categories(text: str) -> list[str]:
    """At most three of :data:`CATEGORIES`, the strongest first."""
    counts = Counter(
        name
        for word in words(text)
        for name, pattern in _PATTERNS.items()
        if pattern.fullmatch(word)
    )
    ranked = sorted(counts, key=lambda name: (-counts[name], CATEGORIES.index(name)))
    return ranked[:MOST_CATEGORIES]


def emotion(text: str) -> dict[str, float]:
    """Valence (-1 to 1) and arousal (0 to 1)."""
    spoken = words(text)
    read: list[tuple[float, float]] = []
    for at, word in enumerate(spoken):
        pair = _FEELING.get(word)
        if pair is None:
            continue
        before = spoken[max(0, at - 3) : at]
        valence, arousal = pair
        if any(one in NEGATION for one in before):
            valence, arousal = -0.5 * valence, 0.5 * arousal
        if any(one in STIRRING for one in before):
            arousal = min(1.0, arousal + 0.15)
        read.append((valence, arousal))
    loud = min(0.3, 0.1 * text.count("!"))
    if not read:
        return {"valence": 0.0, "arousal": round(loud, 2)}
    valence = sum(pair[0] for pair in read) / len(read)
    arousal = min(1.0, sum(pair[1] for pair in read) / len(read) + loud)
    return {"valence": round(valence, 2), "arousal": round(arousal, 2)}


def tags(text: str, names: Sequence[str]) -> list[str]:
    """The words that tell a text from others: the frequent first, then those that come first."""
    spoken = [word for word in words(text) if _tells(word)]
    parts = {part for name in names for part in name.split()}
    counts = Counter(word.removesuffix("'s") for word in spoken)
    order = {word: at for at, word in reversed(list(enumerate(counts)))}
    ranked = sorted(counts, key=lambda word: (-counts[word], word in parts, order[word]))
    return ranked[:MOST_TAGS]


def themes(text: str) -> list[str]:
    """Two telling words that stand side by side, at most three such pairs."""
    spoken = words(text)
    pairs = [
        f"{first} {second}"
        for first, second in itertools.pairwise(spoken)
        if _tells(first) and _tells(second) and first != second
    ]
    counts = Counter(pairs)
    return sorted(counts, key=lambda pair: (-counts[pair], pairs.index(pair)))[:MOST_THEMES]


def _tells(word: str) -> bool:
    bare = word.removesuffix("'s")
    return (
        len(bare) > 2
        and len(bare) <= 32
        and not bare[0].isdigit()
        and bare not in HOLLOW
        and bare not in BLAND
        and bare not in RELATIVE
        and bare not in MONTHS
        and bare not in DAYS
        and "'" not in bare
    )
