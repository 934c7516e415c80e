"""How clean a memory becomes, and what it costs: dialogues with labelled junk among them.

Dialogues of LoCoMo are remembered as turns, the two speakers as user and assistant, with a stream
of junk and some Norwegian facts in between. Then everything is curated, and counted: junk by its
label, evidence turns by the questions of the data, repeats by their words. Recall is asked before
and after.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aiki_kernel.config import Paths, Settings
from aiki_kernel.errors import UsageError
from aiki_kernel.memory.bench import Case, KeptVectors, read_cases
from aiki_kernel.memory.curation import Curation, Describer
from aiki_kernel.memory.curation_junk import KINDS, PROMPTS, Said, Stream
from aiki_kernel.memory.curation_text import without_speaker, words
from aiki_kernel.memory.embedders import embedder as named_embedder
from aiki_kernel.memory.payload import derived_id, to_record
from aiki_kernel.memory.records import Draft, Record, Scope
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.memory.store import Where

Progress = Callable[[int, int], None]
LEAST_EVIDENCE = 0.97
_BATCH = 64
_RECENT = 40  # messages that may be said again


@dataclass(frozen=True)
class Labelled:
    """A conversation as it is remembered: its messages, the label of each, its questions."""

    case: Case
    records: tuple[Record, ...]
    labels: dict[str, str]
    languages: dict[str, str]


def bench_curate(
    path: Path,
    *,
    settings: Settings,
    describer: Describer | None = None,
    junk: float = 1.0,
    conversations: int = 0,
    seed: int = 1,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All figures as plain JSON data. ``junk`` is how many junk messages come for each message of
    a dialogue; ``conversations`` takes only the first few. Raises :class:`UsageError`."""
    cases = [case for case in read_cases(path) if case.questions]
    if not cases or not all(draft.turn_id for case in cases for draft in case.memories):
        raise UsageError(f"{path.name} holds no dialogues with questions: give LoCoMo.")
    cases = cases[: conversations or None]
    mixed = [with_junk(case, junk, seed + place) for place, case in enumerate(cases)]
    found = _Found()
    embedder = named_embedder(settings.memory.embedder)
    if cache is not None:
        embedder = KeptVectors(embedder, cache)
    total = sum(len(one.records) for one in mixed)
    done = 0
    for one in mixed:
        with tempfile.TemporaryDirectory(prefix="aiki-bench-") as folder:
            service = MemoryService(settings, Paths(Path(folder)), embedder=embedder)
            try:
                for start in range(0, len(one.records), _BATCH):
                    service.collection.put(one.records[start : start + _BATCH], reason="turn")
                found.before(service, one)
                curation = Curation(service, describer=describer, prompts=PROMPTS)
                while step := curation.run(_BATCH):
                    done += step
                    if progress:
                        progress(min(done, total), total)
                found.after(service, one, curation)
            finally:
                service.close()
    return found.figures(path.name, settings.memory.embedder, describer, seed)


def with_junk(case: Case, ratio: float, seed: int) -> Labelled:
    """The dialogue of ``case`` with junk in it; the same for the same ``seed``."""
    chance = random.Random(seed)  # noqa: S311 - a bench, the same every time
    stream = Stream(seed)
    speakers = list(dict.fromkeys(str(draft.role) for draft in case.memories))
    roles = {name: ("user", "assistant")[place % 2] for place, name in enumerate(speakers)}
    records: list[Record] = []
    labels: dict[str, str] = {}
    languages: dict[str, str] = {}
    said: list[Said] = []
    number = 0

    def put(draft: Draft, label: str, language: str) -> None:
        record = to_record(draft, "")
        records.append(record)
        labels[record.id], languages[record.id] = label, language

    for draft in case.memories:
        text = without_speaker(draft.text, draft.role)
        role = roles[str(draft.role)]
        # What was said is what counts; who says it stands in the role, as in a real turn.
        put(
            replace(draft, text=text, role=role, trust="user" if role == "user" else "model"),
            "",
            "en",
        )
        if role == "user" and len(words(text)) >= 6:
            said.append(Said(text, role, "", "en"))
        extra = ratio + (0.1 if ratio else 0.0)
        place = 0
        while chance.random() < extra and said:
            extra -= 1.0
            number += 1
            place += 1
            fact = chance.random() < 0.1 / (ratio + 0.1)
            one = stream.fact() if fact else stream.junk(chance.choice(KINDS), said[-_RECENT:])
            if fact:
                said.append(one)
            when = datetime.fromisoformat(str(draft.created_at)) + timedelta(
                milliseconds=20 * place
            )
            put(
                Draft(
                    one.text,
                    Scope(case.name, run_id=draft.scope.run_id),
                    kind="message",
                    role=one.role,
                    created_at=when.isoformat(),
                    id=derived_id("junk", case.name, str(seed), str(number)),
                    turn_id=f"junk-{number}",
                    trust="user" if one.role == "user" else "model",
                ),
                one.label,
                one.language,
            )
    return Labelled(case, tuple(records), labels, languages)


class _Found:
    """Counts over all conversations."""

    def __init__(self) -> None:
        self.stored = [0, 0]
        self.junk = [0, 0]
        self.repeats = [0, 0]
        self.recall = [0.0, 0.0]
        self.questions = 0
        self.by_kind: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self.evidence = [0, 0]
        self.ended_evidence = 0
        self.dialogue = [0, 0]
        self.facts = [0, 0]
        self.lost: list[dict[str, str]] = []
        self.left: list[dict[str, str]] = []
        self.reasons: Counter[str] = Counter()
        self.tally: Counter[str] = Counter()

    def before(self, service: MemoryService, one: Labelled) -> None:
        self._look(service, one, 0)
        for id, label in one.labels.items():
            if label:
                self.by_kind[f"{label}, {one.languages[id]}"][0] += 1
            elif one.languages[id] == "no":
                self.facts[0] += 1
            else:
                self.dialogue[0] += 1

    def after(self, service: MemoryService, one: Labelled, curation: Curation) -> None:
        there = self._look(service, one, 1)
        wanted = {id for question in one.case.questions for id in question.evidence}
        self.evidence[0] += len(wanted)
        self.evidence[1] += sum(id in there and not there[id].get("valid_to") for id in wanted)
        self.ended_evidence += sum(id in there and bool(there[id].get("valid_to")) for id in wanted)
        texts = {record.id: record.data for record in one.records}
        for id, label in one.labels.items():
            if label:
                if id in there:
                    self.by_kind[f"{label}, {one.languages[id]}"][1] += 1
                    self.left.append({"text": texts[id], "label": label})
                continue
            (self.facts if one.languages[id] == "no" else self.dialogue)[1] += id in there
            if id not in there:
                rows = service.history(id)
                self.lost.append({"text": texts[id], "reason": str(rows[-1]["reason"])})
        tally = curation.tally
        self.reasons.update(tally.turned_away)
        for name in (
            "seen",
            "merged",
            "ended",
            "described",
            "summaries",
            "dropped",
            "seconds",
            "model_seconds",
        ):
            self.tally[name] += getattr(tally, name)

    def _look(self, service: MemoryService, one: Labelled, at: int) -> dict[str, dict[str, Any]]:
        there: dict[str, dict[str, Any]] = {}
        seen: Counter[tuple[str, ...]] = Counter()
        for record in service.collection.records(Where()):
            there[record.id] = dict(record.metadata)
            seen[tuple(words(record.data))] += 1
        self.stored[at] += len(there)
        self.junk[at] += sum(bool(one.labels.get(id)) for id in there)
        self.repeats[at] += sum(count - 1 for count in seen.values())
        for question in one.case.questions:
            hits = {hit.id for hit in service.recall(question.text, Scope(one.case.name), 10).hits}
            self.recall[at] += len(hits & set(question.evidence)) / len(question.evidence)
            self.questions += at
        return there

    def figures(
        self, data: str, embedder: str, describer: Describer | None, seed: int
    ) -> dict[str, Any]:
        """Everything as plain JSON data."""
        seen = max(1, self.tally["seen"])
        share = self.evidence[1] / max(1, self.evidence[0])
        return {
            "data": data,
            "embedder": embedder,
            "seed": seed,
            "by": "rules" if describer is None else f"rules and {describer.name}",
            "stored": self.stored,
            "junk": self.junk,
            "junk_rate": [_share(self.junk[at], self.stored[at]) for at in (0, 1)],
            "repeats": self.repeats,
            "evidence": self.evidence[0],
            "evidence_kept": round(share, 4),
            "evidence_ended": self.ended_evidence,
            "recall10": [round(value / max(1, self.questions), 4) for value in self.recall],
            "questions": self.questions,
            "kinds": {
                kind: {"before": counts[0], "after": counts[1]}
                for kind, counts in sorted(self.by_kind.items())
            },
            "dialogue": self.dialogue,
            "norwegian_facts": self.facts,
            "reasons": dict(self.reasons.most_common()),
            "merged": self.tally["merged"],
            "ended": self.tally["ended"],
            "described": self.tally["described"],
            "summaries_taken": self.tally["summaries"],
            "dropped_labels": self.tally["dropped"],
            "ms_each": round(1e3 * (self.tally["seconds"] - self.tally["model_seconds"]) / seen, 2),
            "model_s_each": round(self.tally["model_seconds"] / max(1, self.tally["described"]), 3),
            "lost": self.lost,
            "left": self.left,
            "met": share >= LEAST_EVIDENCE,
        }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
