"""Evidence recall: of the memories that answer a question, how many are among the first k.

No judge is needed, because the data say which memories those are. Two formats are known:
LoCoMo (conversations with questions and the turns that are evidence, Maharana et al. 2024,
categories 1 to 4) and a list of ``{"memory", "<language>": question, ...}``. Every row of
the table asks the same questions of the same store; ``aiki`` is the service that answers in
a notebook, and the rows after it are the same with something of ``ranking.py`` turned on. For
those the present is the date of the last memory, and importance is what the rules of
curation say. Redundancy is how like each of the first ten is to the nearest above it (cosine).
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aiki_kernel.config import Paths, Ranking, Settings
from aiki_kernel.errors import UsageError
from aiki_kernel.memory.curation_record import by_rules
from aiki_kernel.memory.embedders import embedder as named_embedder
from aiki_kernel.memory.finding import find
from aiki_kernel.memory.payload import derived_id
from aiki_kernel.memory.ranking import redundancy
from aiki_kernel.memory.recall import mem0_order, reciprocal_ranks
from aiki_kernel.memory.records import Draft, Scope
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.memory.store import TURN, WINDOW, Scored, Where
from aiki_kernel.memory.window import moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aiki_kernel.memory.embedders import Embedder

OURS = "aiki (dense + window + turn, z-scores)"
_RANKED = {
    OURS: Ranking(),
    "aiki + recency 0.5, half-life 30 days": Ranking(recency=0.5),
    "aiki + importance 0.5 by rules": Ranking(importance=0.5),
    "aiki + MMR, diversity 0.1": Ranking(diversity=0.1),
    "aiki + MMR, diversity 0.3": Ranking(diversity=0.3),
    "aiki + MMR, diversity 0.5": Ranking(diversity=0.5),
}
_DEPTH = 2000
_TURN_ID = re.compile(r"D\d+:\d+")


@dataclass(frozen=True)
class Question:
    """A question, the ids of the memories that answer it, and the group it is counted in."""

    text: str
    evidence: tuple[str, ...]
    group: str


@dataclass(frozen=True)
class Case:
    """Memories that belong together, and what is asked of them."""

    name: str
    memories: tuple[Draft, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Row:
    """Means over all questions of a group, in 0..1; ``ms`` per question without embedding.
    ``redundancy10``: mean cosine of each of the first ten with the nearest before it."""

    method: str
    group: str
    questions: int
    recall5: float
    recall10: float
    recall20: float
    hit10: float
    ms: float | None = None
    redundancy10: float | None = None


@dataclass(frozen=True)
class RecallTable:
    """The result: rows by method and group."""

    data: str
    embedder: str
    memories: int
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "data": self.data,
            "embedder": self.embedder,
            "memories": self.memories,
            "rows": [vars(row) for row in self.rows],
        }

    def to_text(self) -> str:
        """A table for a terminal, in percent."""
        head = f"{self.data}: {self.memories} memories, embedder {self.embedder}"
        lines = [
            head,
            f"{'method':<42}{'questions':>22}{'R@5':>7}{'R@10':>7}{'R@20':>7}{'hit@10':>8}{'redundant':>11}",
        ]
        for row in self.rows:
            asked = f"{row.group} {row.questions}".strip()
            figures = "".join(
                f"{100 * value:>{width}.1f}"
                for value, width in (
                    (row.recall5, 7),
                    (row.recall10, 7),
                    (row.recall20, 7),
                    (row.hit10, 8),
                )
            )
            alike = "" if row.redundancy10 is None else f"{row.redundancy10:>11.3f}"
            spent = f"  {row.ms:.1f} ms" if row.ms is not None else ""
            lines.append(f"{row.method:<42}{asked:>22}{figures}{alike}{spent}")
        return "\n".join(lines)

    def row(self, method: str = OURS, group: str | None = None) -> Row:
        """The row of one method (and group, where there are several)."""
        return next(row for row in self.rows if row.method == method and group in (None, row.group))


def bench_recall(
    path: Path,
    embedder: str | None = None,
    *,
    settings: Settings | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RecallTable:
    """Measure every method on ``path``.

    ``embedder`` overrides that of the settings. Vectors are kept in the folder ``cache``, so
    that a second run costs seconds. ``progress`` is told questions done and in all. Raises
    :class:`UsageError` for a file of another format.
    """
    settings = settings or Settings()
    cases = read_cases(path)
    inner = named_embedder(embedder or settings.memory.embedder)
    kept = KeptVectors(inner, cache) if cache else inner
    memory = settings.memory.model_copy(update={"url": "", "embedder": inner.id})
    settings = settings.model_copy(update={"memory": memory})
    tally: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    asked, total = 0, sum(len(case.questions) for case in cases)
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="aiki-bench-") as home:
            service = MemoryService(settings, Paths(Path(home)), embedder=kept)
            try:
                service.add_many(case.memories)
                for question in case.questions:
                    for method, (order, ms) in _orders(service, case, question.text).items():
                        scores = _score(order, question.evidence)
                        alike = _redundancy(service, order) if ms is not None else 0.0
                        row = (*scores, alike, ms or 0.0)
                        tally.setdefault((method, question.group), []).append(row)
                    asked += 1
                    if progress:
                        progress(asked, total)
            finally:
                service.close()
    rows = []
    for (method, group), counted in tally.items():
        r5, r10, r20, hit, alike = (float(value) for value in np.mean(counted, axis=0)[:5])
        spent, redundant = None, None
        if method.startswith("aiki"):
            spent, redundant = float(np.median([one[-1] for one in counted])), alike
        rows.append(Row(method, group, len(counted), r5, r10, r20, hit, spent, redundant))
    return RecallTable(path.name, inner.id, sum(len(case.memories) for case in cases), tuple(rows))


def read_cases(path: Path) -> list[Case]:
    """The conversations or probes of a file. Raises :class:`UsageError` for another format."""
    try:
        document = json.loads(path.read_text("utf-8"))
        first = document[0]
        if "conversation" in first and "qa" in first:
            return [_locomo(one) for one in document]
        if "memory" in first:
            return [_probe(path.stem, document)]
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): give a data file.") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        pass
    raise UsageError(
        f"{path} is neither LoCoMo nor a list of memory and questions: see `aiki bench recall -h`."
    )


def _locomo(one: dict[str, Any]) -> Case:
    """Turns as ``speaker: text [caption]``; a session is a run, its turns a second apart."""
    name, conversation = str(one["sample_id"]), one["conversation"]
    drafts: list[Draft] = []
    known: set[str] = set()
    numbers = sorted(
        int(key.split("_")[1]) for key in conversation if re.fullmatch(r"session_\d+", key)
    )
    for number in numbers:
        said = conversation.get(f"session_{number}_date_time", "").replace(" on ", " ")
        try:
            start = datetime.strptime(said, "%I:%M %p %d %B, %Y").replace(tzinfo=UTC)
        except ValueError:
            start = datetime(2000, 1, 1, tzinfo=UTC)
        for place, turn in enumerate(conversation[f"session_{number}"] or []):
            caption = f" [{turn['blip_caption']}]" if turn.get("blip_caption") else ""
            known.add(turn["dia_id"])
            text = f"{turn['speaker']}: {turn['text']}{caption}"
            said = (start + timedelta(seconds=place)).isoformat()
            drafts.append(
                Draft(
                    text,
                    Scope(name, run_id=f"session_{number}"),
                    kind="message",
                    role=turn["speaker"],
                    created_at=said,
                    metadata={"importance": by_rules(text, said).importance},
                    id=derived_id(name, turn["dia_id"]),
                    turn_id=turn["dia_id"],
                )
            )
    questions = []
    for item in one["qa"]:
        evidence = {turn for text in item["evidence"] for turn in _TURN_ID.findall(text)} & known
        if item["category"] in (1, 2, 3, 4) and evidence:
            ids = tuple(derived_id(name, turn) for turn in sorted(evidence))
            questions.append(Question(item["question"], ids, ""))
    return Case(name, tuple(drafts), tuple(questions))


def _probe(name: str, items: Sequence[dict[str, str]]) -> Case:
    drafts, questions = [], []
    for number, item in enumerate(items):
        key = derived_id(name, str(number))
        drafts.append(Draft(item["memory"], Scope(name), id=key))
        for language, question in item.items():
            if language != "memory":
                questions.append(Question(question, (key,), language))
    return Case(name, tuple(drafts), tuple(questions))


def _orders(
    service: MemoryService, case: Case, question: str
) -> dict[str, tuple[list[str], float | None]]:
    """The order in which each method puts the memories, and the ms that ours took."""
    collection, user = service.collection, case.memories[0].scope.user_id
    vector = collection.embedder.embed_query(question)
    words = collection.lexicon.query(question)
    asked: dict[str, Any] = {TURN: words, WINDOW: words}
    lists: dict[str, Scored] = {TURN: [], WINDOW: []}
    lists.update(collection.store.search(vector, asked, Where(user_id=user), _DEPTH))
    two = {name: lists[name] for name in ("dense", TURN)}
    view = service.access.must(Scope(user), "recall")
    last = max((moment(draft.created_at or "") or 0.0 for draft in case.memories), default=0.0)
    timed: dict[str, tuple[list[str], float | None]] = {}
    for method, ranking in _RANKED.items():
        began = time.perf_counter()
        found = find(service, question, view, view.where, 20, ranking=ranking, at=last or None)
        ms = 1000 * (time.perf_counter() - began)
        timed[method] = ([hit.id for hit in found.hits], ms)
    # mem0 re-ranks the best 60 of the dense list with classic BM25, in its own length unit.
    mem0 = mem0_order(lists["dense"][:60], dict(lists[TURN]), len(words.indices))
    orders = {
        "dense, turn": _ids(lists["dense"]),
        "BM25, turn": _ids(lists[TURN]),
        "BM25, window and date": _ids(lists[WINDOW]),
        "mem0's formula, turn (our reading)": mem0,
        "RRF k=60, dense + BM25 turn": reciprocal_ranks(two, 60),
        "RRF k=10, dense + BM25 turn": reciprocal_ranks(two, 10),
        "RRF k=10, three lists": reciprocal_ranks(lists, 10),
    }
    return {**{method: (order, None) for method, order in orders.items()}, **timed}


def _redundancy(service: MemoryService, order: Sequence[str]) -> float:
    vectors = service.vectors.vectors(order[:10])
    known = [vectors[name] for name in order[:10] if name in vectors]
    return redundancy(np.array(known)) if known else 0.0


def _ids(scored: Scored) -> list[str]:
    return [name for name, _ in scored]


def _score(order: Sequence[str], evidence: Sequence[str]) -> tuple[float, float, float, float]:
    wanted = set(evidence)
    r5, r10, r20 = (len(wanted.intersection(order[:k])) / len(wanted) for k in (5, 10, 20))
    return r5, r10, r20, float(r10 > 0)


class KeptVectors:
    """An embedder whose vectors are kept in a file, by the hash of the text."""

    def __init__(self, inner: Embedder, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.id, self.dimension = inner.id, inner.dimension
        self._inner = inner
        self._lock = threading.Lock()
        self._file = sqlite3.connect(
            folder / f"vectors-{inner.id}.sqlite", check_same_thread=False, timeout=60
        )
        self._file.execute("CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, data BLOB)")

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the embedder's own; what is not kept yet is embedded and kept."""
        keys = [_key("document", text) for text in texts]
        found = {key: self._read(key) for key in keys}
        missing = [i for i, key in enumerate(keys) if found[key] is None]
        if missing:
            fresh = self._inner.embed_documents([texts[i] for i in missing])
            for i, vector in zip(missing, fresh, strict=True):
                found[keys[i]] = vector
            self._write([(keys[i], vector) for i, vector in zip(missing, fresh, strict=True)])
        out = np.zeros((len(keys), self.dimension), np.float32)
        for row, key in zip(out, keys, strict=True):
            row[:] = found[key]
        return out

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """As the embedder's own, kept."""
        key = _key("query", text)
        found = self._read(key)
        if found is None:
            found = self._inner.embed_query(text)
            self._write([(key, found)])
        return found

    def _read(self, key: str) -> NDArray[np.float32] | None:
        with self._lock:
            row = self._file.execute("SELECT data FROM vectors WHERE key = ?", (key,)).fetchone()
        return np.frombuffer(row[0], np.float32) if row else None

    def _write(self, rows: Sequence[tuple[str, NDArray[np.float32]]]) -> None:
        with self._lock, self._file:
            self._file.executemany(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
                [(key, np.asarray(vector, np.float32).tobytes()) for key, vector in rows],
            )


def _key(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()


__all__ = ["OURS", "RecallTable", "Row", "bench_recall", "read_cases"]
