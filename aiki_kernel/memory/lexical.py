"""Words as sparse vectors: BM25 for chat in English and Norwegian.

A word becomes the 32-bit MurmurHash3 of its Snowball stem (absolute value, seed 0), which
is how fastembed's ``Qdrant/bm25`` numbers its words: vectors written by mem0 and by us
meet in the same sparse slot. Every text gets the stems of the first language; a text
that shows another language by its function words gets that language's stems as well
(giving both to every text costs two points of recall@10 on English chat).

The term weight is BM25's saturation; the inverse document frequency is the store's work
(``Modifier.Idf``), which keeps it right as memories come and go.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import snowballstemmer

from aiki_kernel.errors import ConfigError

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*", re.UNICODE)
_LONGEST_WORD = 40
_NORDIC = re.compile("[æøå]")

FUNCTION_WORDS = {
    "english": (
        "a about after all also am an and any are as at be because been before being but by can "
        "could did do does doing don down during each few for from further get had has have "
        "having he her here hers herself him himself his how i if in into is it its itself just "
        "let me more most my myself no nor not now of off on once only or other our ours "
        "ourselves out over own s same she should so some such t than that the their theirs them "
        "themselves then there these they this those through to too under until up very was we "
        "were what when where which while who whom whose why will with would you your yours "
        "yourself yourselves ll m re ve d"
    ),
    "norwegian": (
        "alle at av bare begge ble blei bli blir da de deg dei deim deira dem den denne der dere "
        "deres det dette di din disse ditt du dykk då eg ein eit eitt eller elles en er et ett "
        "etter for fordi fra før ha hadde han hans har hennar henne hennes her hit hjå hoe honom "
        "hun hva hvem hver hvilke hvilken hvis hvor hvordan hvorfor i ikke ikkje ingen inkje inn "
        "inni ja jeg kan kom korleis kva kvar kvifor kven kunne man mange me med meg mellom men "
        "mi min mine mitt mot mykje må når noe noen no nokon nokor og også om opp oss over på "
        "sa samme seg selv si sia sidan siden sin sine sitt sjøl skal skulle slik so som somme "
        "til um upp ut uten var vart varte ved vere verte vi vil ville vore vors vort være vært å"
    ),
}

_MONTHS = (
    ("january", "januar"),
    ("february", "februar"),
    ("march", "mars"),
    ("april", "april"),
    ("may", "mai"),
    ("june", "juni"),
    ("july", "juli"),
    ("august", "august"),
    ("september", "september"),
    ("october", "oktober"),
    ("november", "november"),
    ("december", "desember"),
)


@dataclass(frozen=True)
class Sparse:
    """A sparse vector: ``indices`` ascending, ``values`` of the same length."""

    indices: tuple[int, ...]
    values: tuple[float, ...]

    def __bool__(self) -> bool:
        return bool(self.indices)


@lru_cache(maxsize=65536)
def word_id(word: str) -> int:
    """MurmurHash3 (x86, 32 bit, seed 0) of ``word`` in UTF-8, as an absolute value.

    Source of the algorithm: Austin Appleby's SMHasher, public domain.
    """
    mask = 0xFFFFFFFF
    data = word.encode()
    value = 0
    whole = len(data) // 4 * 4

    def scramble(block: int) -> int:
        block = block * 0xCC9E2D51 & mask
        block = (block << 15 | block >> 17) & mask
        return block * 0x1B873593 & mask

    for start in range(0, whole, 4):
        value ^= scramble(int.from_bytes(data[start : start + 4], "little"))
        value = (value << 13 | value >> 19) & mask
        value = (value * 5 + 0xE6546B64) & mask
    if whole < len(data):
        value ^= scramble(int.from_bytes(data[whole:], "little"))
    value ^= len(data)
    value = (value ^ value >> 16) * 0x85EBCA6B & mask
    value = (value ^ value >> 13) * 0xC2B2AE35 & mask
    value ^= value >> 16
    return abs(value - (1 << 32) if value >> 31 else value)


class Lexicon:
    """Turns text into BM25 vectors. Thread-safe: a stemmer serves one call at a time.

    ``k`` and ``b`` are BM25's; ``length`` is the expected number of words of a text.
    """

    def __init__(
        self,
        languages: Sequence[str] = ("english", "norwegian"),
        *,
        k: float = 1.2,
        b: float = 0.75,
        length: float = 256.0,
    ) -> None:
        self.languages = tuple(languages) or ("english",)
        self._k, self._b, self._length = k, b, length
        try:
            self._stemmers = {name: snowballstemmer.stemmer(name) for name in self.languages}
        except KeyError as error:
            raise ConfigError(
                f"Memory language {error} has no stemmer: "
                f"choose from {', '.join(sorted(snowballstemmer.algorithms()))}."
            ) from None
        self._stop = {
            name: frozenset(FUNCTION_WORDS.get(name, "").split()) for name in self.languages
        }
        self._signs = {
            name: self._stop[name].difference(
                *(other for key, other in self._stop.items() if key != name)
            )
            for name in self.languages
        }
        self._lock = threading.Lock()
        self._known: dict[tuple[tuple[str, ...], str], tuple[int, ...]] = {}

    def spoken(self, words: Sequence[str]) -> tuple[str, ...]:
        """The languages whose stems ``words`` get: the first, and any that the words show.

        A language without a list of function words cannot be told and is always included.
        """
        first, *others = self.languages
        weight = {name: sum(word in self._signs[name] for word in words) for name in others}
        own = sum(word in self._signs[first] for word in words)
        if "norwegian" in weight:
            weight["norwegian"] += sum(bool(_NORDIC.search(word)) for word in words)
        shown = [name for name in others if not self._stop[name] or weight[name] > own]
        return (first, *shown)

    def words(self, text: str) -> list[tuple[int, ...]]:
        """The ids of each content word of ``text``, one tuple a word, in order."""
        raw = [
            word.replace("’", "'").removesuffix("'s").replace("'", "")
            for word in _WORD.findall(text.lower())
        ]
        languages = self.spoken(raw)
        return [ids for word in raw if (ids := self._ids(languages, word))]

    def document(self, text: str) -> Sparse:
        """Weights of a text that is stored: saturated term frequency, normalised by length."""
        words = self.words(text)
        counts = Counter(i for ids in words for i in ids)
        norm = self._k * (1 - self._b + self._b * len(words) / self._length)
        indices = tuple(sorted(counts))
        return Sparse(
            indices, tuple(counts[i] * (self._k + 1) / (counts[i] + norm) for i in indices)
        )

    def query(self, text: str) -> Sparse:
        """Each word of a question counts once, with weight 1."""
        indices = tuple(sorted({i for ids in self.words(text) for i in ids}))
        return Sparse(indices, (1.0,) * len(indices))

    def _ids(self, languages: tuple[str, ...], word: str) -> tuple[int, ...]:
        key = (languages, word)
        found = self._known.get(key)
        if found is not None:
            return found
        if not word or len(word) > _LONGEST_WORD or any(word in self._stop[n] for n in languages):
            found = ()
        else:
            with self._lock:
                stems = {self._stemmers[name].stemWord(word) for name in languages}
            found = tuple(sorted(word_id(stem) for stem in stems))
        if len(self._known) > 200_000:
            self._known.clear()
        self._known[key] = found
        return found


def date_words(iso: str) -> str:
    """A date as people write it in either language: ``8 May mai 2023``; empty if unreadable."""
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return ""
    english, norwegian = _MONTHS[when.month - 1]
    months = english if english == norwegian else f"{english} {norwegian}"
    return f"{when.day} {months} {when.year}"
