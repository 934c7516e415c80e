"""Which of our two languages a text is in: English or Norwegian.

The rule: function words that only one of the two has are counted, and letters that only
Norwegian has count as two of them. More on one side decides; a tie, or nothing at all (code,
a name, one word), says nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Language = Literal["en", "no"]
LANGUAGES: tuple[Language, ...] = ("en", "no")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ENGLISH = _words(
    "the a an is are was were be been and or of to you your we they she he it its this that "
    "these those what which who why where when how do does did not with about from have has "
    "had can could would should will please there their my me any than then"
)
_NORWEGIAN = _words(
    "og eller er var blir ble ikke jeg deg du vi de det den dette en ei et som på til av med "
    "hva hvem hvor hvorfor hvordan når kan skal vil må har hadde om meg oss dere min mitt mine "
    "din ditt dine noe noen etter mellom også så fra ved hvis eg ikkje kva kven kvifor korleis "
    "ein eit nokon frå hjelp vennligst takk"
)
_WORD = re.compile(r"[^\W\d_]+")
_OURS = re.compile(r"[æøåÆØÅ]")
_READ = 2000  # characters: a pasted file says nothing more than its beginning does


@lru_cache(maxsize=256)
def language_of(text: str) -> Language | None:
    """The language of ``text``, None where it does not show."""
    begin = text[:_READ]
    words = [word.lower() for word in _WORD.findall(begin)]
    english = sum(word in _ENGLISH for word in words)
    norwegian = sum(word in _NORWEGIAN for word in words) + 2 * len(_OURS.findall(begin))
    if english == norwegian:
        return None
    return "en" if english > norwegian else "no"
