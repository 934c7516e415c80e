"""How well routers would have chosen, on questions that both models have answered.

Every learned score is of a question that its router was not fitted on: in-domain by
five folds over all questions, unseen by leaving whole domains out. A set is what a
domain's name begins with (``mmlu_astronomy`` belongs to ``mmlu``); each is scored alone.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aiki_kernel.errors import UsageError
from aiki_kernel.mind.labels import Label
from aiki_kernel.mind.routing.blend import Blend, Weights
from aiki_kernel.mind.routing.components import KINDS, Inputs
from aiki_kernel.mind.routing.judges import CHEAP_SIDE, Judge, Rules
from aiki_kernel.mind.routing.scores import curve, summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 5
FEW = 100
"""Questions with both answers below which a table would only show noise."""

RANDOM = 150
"""Weightings at random that a nested choice may pick."""

_CLEAR = 0.02  # APGR; about the sampling error of a thousand questions

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Answered:
    """Questions with the quality (0..1) of both models' answers; NaN where one has none."""

    texts: tuple[str, ...]
    weak: NDArray[np.float64]
    strong: NDArray[np.float64]
    domains: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def paired(self) -> NDArray[np.int64]:
        """Places of the questions that both models have answered."""
        return np.flatnonzero(~np.isnan(self.weak) & ~np.isnan(self.strong))

    def take(self, chosen: NDArray[np.int64]) -> Answered:
        """These questions only."""
        return Answered(
            tuple(self.texts[i] for i in chosen),
            self.weak[chosen],
            self.strong[chosen],
            tuple(self.domains[i] for i in chosen),
        )

    def sets(self) -> dict[str, NDArray[np.int64]]:
        """Places of each set's questions, by the set's name."""
        names = np.array([domain.partition("_")[0] for domain in self.domains])
        return {str(name): np.flatnonzero(names == name) for name in sorted(set(names))}


def read(path: Path) -> Answered:
    """Lines of JSON with ``prompt``, ``weak``, ``strong`` and (or not) ``domain``; gzip or plain.

    Raises :class:`UsageError` naming the first line that does not fit.
    """
    texts, weak, strong, domains = [], [], [], []
    number = 0
    try:
        whole = path.read_bytes()
        lines = (gzip.decompress(whole) if path.suffix == ".gz" else whole).decode().split("\n")
        for line in lines:
            number += 1
            if not line.strip():
                continue
            row = json.loads(line)
            texts.append(str(row["prompt"]))
            weak.append(_quality(row.get("weak")))
            strong.append(_quality(row.get("strong")))
            domains.append(str(row.get("domain", "all")))
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}: give one with --data.") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read ({error}): is it JSONL, plain or gzip?") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"Line {number} of {path} does not fit: each is one JSON object with prompt, "
            "weak and strong (0 to 1, or true and false)."
        ) from None
    return Answered(tuple(texts), np.array(weak), np.array(strong), tuple(domains))


def from_labels(labels: Sequence[Label]) -> Answered:
    """The user's own messages: mean judgement of cheap or local answers, and of smart ones."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for label in labels:
        sides = found.setdefault(label.message, ([], []))
        if label.tier in CHEAP_SIDE:
            sides[0].append(label.good)
        elif label.tier == "smart":
            sides[1].append(label.good)
    known = {text: sides for text, sides in found.items() if sides[0] or sides[1]}
    mean = [[float(np.mean(side)) if side else np.nan for side in s] for s in known.values()]
    both = np.array(mean).reshape(len(known), 2)
    return Answered(tuple(known), both[:, 0], both[:, 1], ("ledger",) * len(known))


def table(
    answered: Answered,
    vectors: NDArray[np.float32] | None = None,
    progress: Progress | None = None,
    *,
    nested: bool = False,
) -> list[dict[str, Any]]:
    """One section for each set and way of holding out: its rows are routers with their figures.

    ``nested`` adds a learned router whose weights are picked anew in each fold, from
    :func:`tried` by the questions that are not held out. Raises :class:`UsageError` when there
    are too few questions with both answers.
    """
    check(answered)
    chosen = answered.paired
    answered = answered.take(chosen)
    inputs = Inputs.of(answered.texts, None if vectors is None else vectors[chosen])
    gain = answered.strong - answered.weak
    ways = {"in-domain": in_domain(len(answered))}
    if len(set(answered.domains)) > 1:
        ways["unseen"] = unseen(answered.domains)
    steps = sum(len(folds) for folds in ways.values())
    scores: dict[str, NDArray[np.float64]] = {}
    picked: dict[str, NDArray[np.float64]] = {}
    done = 0
    for way, folds in ways.items():
        scores[way], picked[way] = np.zeros(len(answered)), np.zeros(len(answered))
        for held in folds:
            known = np.setdiff1d(np.arange(len(answered)), held)
            blend = Blend.fit(inputs.take(known), gain[known], sign=1.0)
            scores[way][held] = blend.score(inputs.take(held))
            if nested:
                again = replace(blend, weights=pick(blend, answered.take(known)))
                picked[way][held] = again.score(inputs.take(held))
            done += 1
            if progress is not None:
                progress(done, steps)
    plain = {"rules": judged(Rules(), answered.texts), "length": inputs.measures[:, 0]}
    sections = []
    for name, places in answered.sets().items():
        for way in ways:
            learned = {"learned": scores[way][places]}
            if nested:
                learned["learned, weights nested"] = picked[way][places]
            fixed = {key: value[places] for key, value in plain.items()}
            sections.append(_section(name, way, answered.take(places), {**fixed, **learned}))
    return sections


def pick(blend: Blend, answered: Answered) -> Weights:
    """The weights of :func:`tried` with the best APGR in ``answered``, which ``blend`` was fitted
    on, by what its parts said of questions outside their own folds. Each question counts the
    same, whichever set it is of."""
    places = [one for one in answered.sets().values() if len(one) >= FEW]

    def worth(weights: Weights) -> float:
        score = np.zeros(len(answered))
        for name, z in blend.held.items():
            score += weights[name] * z
        made = [curve(score[one], answered.weak[one], answered.strong[one]) for one in places]
        sizes = [len(one) for one in places]
        return float(np.average([one.apgr() or 0.5 for one in made], weights=sizes)) if made else 0

    return max((weights for weights in tried(tuple(blend.held))), key=worth)


def tried(parts: Sequence[str]) -> list[Weights]:
    """Weights to choose from: each part left out, at half and at double, and many at random."""
    usual = {name: KINDS[name].weight for name in parts}
    out: list[Weights] = [usual]
    out += [{**usual, name: usual[name] * times} for name in parts for times in (0.0, 0.5, 2.0)]
    dice = np.random.default_rng(0)
    out += [
        dict(zip(parts, map(float, dice.exponential(1.0, len(parts))), strict=True))
        for _ in range(RANDOM)
    ]
    return out


def check(answered: Answered) -> None:
    """Whether there is enough to score routers on. Raises :class:`UsageError`."""
    if len(answered.paired) < FEW:
        raise UsageError(
            f"{len(answered.paired)} messages have answers of both a cheap and a smart model, "
            f"{FEW} are needed: judge more with %aiki_route good or bad, or give --data FILE."
        )


def plateau(section: Mapping[str, Any]) -> str:
    """A line where the learned router does not clearly beat prompt length; else ""."""
    apgr = {row["router"]: row["apgr"] for row in section["rows"]}
    if apgr["learned"] is None or apgr["length"] is None:
        return f"{section['set']}, {section['held_out']}: the two models do not differ."
    lead = apgr["learned"] - apgr["length"]
    if lead >= _CLEAR:
        return ""
    verdict = "no better than" if lead <= 0 else "hardly better than"
    return (
        f"{section['set']}, {section['held_out']}: the learned router is {verdict} prompt length "
        f"({lead:+.3f} APGR): a plateau; the answer's own signs (cascade) can tell more."
    )


def judged(judge: Judge, texts: Sequence[str]) -> NDArray[np.float64]:
    """The complexity that a judge sees in each text."""
    return np.array([judge.judge(text).complexity for text in texts])


def in_domain(count: int, seed: int = 0) -> list[NDArray[np.int64]]:
    """Places held out together, at random."""
    order = np.random.default_rng(seed).permutation(count)
    return [np.sort(order[fold::FOLDS]) for fold in range(FOLDS)]


def unseen(domains: Sequence[str], seed: int = 0) -> list[NDArray[np.int64]]:
    """Places held out together: whole domains, as many to each fold."""
    names = sorted(set(domains))
    order = np.random.default_rng(seed).permutation(len(names))
    folds = min(FOLDS, len(names))
    of = {names[i]: place % folds for place, i in enumerate(order)}
    mine = np.array([of[domain] for domain in domains])
    return [np.flatnonzero(mine == fold) for fold in range(folds)]


def _section(
    name: str, way: str, answered: Answered, scores: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any]:
    n, weak, strong = len(answered), answered.weak, answered.strong
    rows: list[dict[str, Any]] = [{"router": "random", **_figures(np.zeros(n), weak, strong)}]
    rows += [{"router": key, **_figures(score, weak, strong)} for key, score in scores.items()]
    rows.append({"router": "oracle", **_figures(strong - weak, weak, strong)})
    best = "smart" if strong.mean() >= weak.mean() else "cheap"
    return {
        "set": name,
        "held_out": way,
        "questions": n,
        "weak": float(weak.mean()),
        "strong": float(strong.mean()),
        "best_single": {"model": best, "quality": float(max(weak.mean(), strong.mean()))},
        "rows": rows,
    }


def _figures(
    score: NDArray[np.float64], weak: NDArray[np.float64], strong: NDArray[np.float64]
) -> dict[str, Any]:
    made = curve(score, weak, strong)
    shown = np.unique(np.linspace(0, len(score), min(len(score), 100) + 1).astype(int))
    return {
        **summary(made),
        "curve": {
            "share": [round(float(x), 4) for x in made.share[shown]],
            "quality": [round(float(x), 4) for x in made.quality[shown]],
        },
    }


def _quality(value: Any) -> float:
    if value is None:
        return float("nan")
    found = float(value)
    if not 0.0 <= found <= 1.0:
        raise ValueError("a quality is 0 to 1")
    return found
