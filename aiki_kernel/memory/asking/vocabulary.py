"""Words of time, people and kinds in English and Norwegian."""

from __future__ import annotations


def word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january januar jan",
            "february februar feb",
            "march mars mar",
            "april apr",
            "may mai",
            "june juni jun",
            "july juli jul",
            "august aug",
            "september sept sep",
            "october oktober oct okt",
            "november nov",
            "december desember dec des",
        ),
        1,
    )
    for name in names.split()
}

UNSURE_MONTHS = word_set("mar march mars may jan des sep jul jun dec")
"""Months that are also names, verbs or planets: a word of time must stand before them."""

DAYS = {
    name: number
    for number, names in enumerate(
        (
            "monday mandag mondag måndag",
            "tuesday tirsdag tysdag",
            "wednesday onsdag",
            "thursday torsdag",
            "friday fredag",
            "saturday lørdag laurdag",
            "sunday søndag sundag",
        )
    )
    for name in names.split()
}

NUMBERS = {
    name: number
    for number, names in enumerate(
        (
            "a an one en ei et ett ein eit",
            "two to",
            "three tre",
            "four fire",
            "five fem",
            "six seks",
            "seven sju syv",
            "eight åtte",
            "nine ni",
            "ten ti",
            "eleven elleve",
            "twelve tolv",
        ),
        1,
    )
    for name in names.split()
} | {"couple": 2, "par": 2, "few": 3, "noen": 3, "nokre": 3}

UNITS = {
    name: unit
    for unit, names in {
        "minute": "minute minutes min minutt minutter minuttene",
        "hour": "hour hours time timer timene timen",
        "day": "day days dag dager dagar dagene dagen døgn",
        "week": "week weeks uke uker ukene uka uken veke veker veka",
        "month": "month months måned måneder månedene måneden månad månader",
        "year": "year years år årene året",
    }.items()
    for name in names.split()
}

SEASONS = {
    name: first
    for first, names in {
        3: "spring vår våren",
        6: "summer sommer sommeren sommar",
        9: "autumn fall høst høsten haust",
        12: "winter vinter vinteren",
    }.items()
    for name in names.split()
}

KINDS: dict[str, tuple[str, ...]] = {
    name: tuple(words.split())
    for name, words in {
        "decision": "decide decides decided decision decisions beslutte besluttet beslutning "
        "beslutninger beslutta bestemte bestemt bestemme vedtok vedtatt vedtak avgjorde "
        "avgjørelse avgjørelser avgjort agreed agreement enige",
        "fact": "fact facts faktum fakta",
        "insight": "insight insights innsikt innsikter lesson lessons lærdom",
        "issue": "issue issues problem problems bug bugs feil problemer problemet problemene "
        "error errors",
        "preference": "preference preferences prefer prefers preferred preferanse preferanser "
        "foretrekker foretrekke foretrakk",
        "sensor": "sensor sensors measurement measurements measured måling målinger målte "
        "sensoren sensorer recording recordings opptak",
        "note": "note notes notat notater",
        "task": "task tasks todo todos oppgave oppgaver gjøremål",
        "message": "message messages melding meldinger",
        "plan": "plan plans planned planen planer planla planlagt",
        "emotion": "emotion emotions feeling feelings følelse følelser",
    }.items()
}
"""What a kind of memory is called, by its name; a memory may have it as kind, category or tag."""

SAYING = word_set(
    "say said says tell told ask asked write wrote mention mentioned answer answered reply "
    "replied suggest suggested recommend recommended propose proposed explain explained "
    "claim claimed think thought want wanted promise promised state stated "
    "sa sagt si sier fortalte fortalt spurte spurt skrev skrevet nevnte nevnt svarte svart "
    "foreslo foreslått anbefalte anbefalt forklarte forklart mente ment ønsket lovet"
)

SELF = word_set("i me my jeg meg eg")
THE_MODEL = word_set("you aiki assistant du deg assistenten assistent modellen")
