"""When a stored insight is used again: by meaning in two languages, and never for what only
looks alike."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from insight_pairs import CHOOSING, GROUPS, HELD_OUT, Group

from aiki_kernel.memory.embedders import embedder
from aiki_kernel.mind import insight as insights
from aiki_kernel.mind import reuse
from aiki_kernel.mind.conversation import Exchange
from aiki_kernel.mind.distil import distil
from aiki_kernel.mind.insight import Insight, Stored

E5 = "multilingual-e5-small"
MATCH = 0.75


def stored(
    question: str, applies: str, before: Sequence[Exchange] = (), days: float = 90.0
) -> Stored:
    problem = distil(question, before, 800)
    return insights.stored(
        Insight("Do this.", "Because.", 0.9, (), applies),
        problem=problem.text,
        question=question,
        model="test/smart",
        cost_usd=0.01,
        tokens=problem.tokens,
        days=days,
    )


class Embeds:
    """The real embedder, and how often it was asked."""

    def __init__(self, name: str) -> None:
        self.model = embedder(name)
        self.known: dict[str, NDArray[np.float32]] = {}
        self.calls = 0

    async def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls += 1
        fresh = [text for text in dict.fromkeys(texts) if text not in self.known]
        if fresh:
            self.known.update(zip(fresh, self.model.embed_documents(fresh), strict=True))
        return np.stack([self.known[text] for text in texts])


@pytest.fixture(scope="module")
def e5() -> Embeds:
    return Embeds(E5)


def fitting(
    message: str, kept: Sequence[Stored], embed: Embeds, name: str = E5, match: float = MATCH
) -> Stored | None:
    found = asyncio.run(reuse.best(message, distil(message, (), 800), kept, embed, name, match))
    return found[0] if found else None


def figures(groups: Sequence[Group], embed: Embeds, name: str) -> tuple[float, float, list[str]]:
    """Share of paraphrases found, in English and in Norwegian, and the messages that were given
    an insight that is not theirs. All insights lie in the memory at once."""
    kept = {group.asked: stored(group.asked, group.applies) for group in groups}
    found: dict[bool, list[bool]] = {False: [], True: []}
    wrong = []
    for group in groups:
        for message in (*group.same, *group.other):
            given = fitting(message, list(kept.values()), embed, name)
            right = message in group.same and given is kept[group.asked]
            if given is not None and not right:
                wrong.append(message)
            if message in group.same:
                found[_norwegian(message)].append(given is not None)
    return float(np.mean(found[False])), float(np.mean(found[True])), wrong


def _norwegian(text: str) -> bool:
    return bool(
        {"jeg", "vi", "hvordan", "hvorfor", "hva", "bør", "vår"} & set(text.lower().split())
    )


@pytest.mark.parametrize("groups", [CHOOSING, HELD_OUT], ids=["choosing", "held-out"])
def test_paraphrases_are_found_and_lookalikes_are_not(groups: Sequence[Group], e5: Embeds) -> None:
    english, norwegian, wrong = figures(groups, e5, E5)
    assert wrong == []
    assert english >= 0.3
    assert norwegian >= 0.65


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("Why does nginx answer 502 at peak hours?", "Why does nginx answer 404 at peak hours?"),
        ("Why does the loop raise RuntimeError here?", "Why does the loop raise KeyError here?"),
        ("Does max_tokens cut the answer short?", "Does top_logprobs cut the answer short?"),
        ("Why does our list re-render each row?", "Why does our list not re-render each row?"),
        ("How do I undo a commit before a push?", "How do I undo a commit after a push?"),
        ("Hvordan bygger jeg med uten internett?", "Hvordan bygger jeg med internett?"),
    ],
)
def test_one_word_may_make_it_another_question(asked: str, message: str, e5: Embeds) -> None:
    assert fitting(message, [stored(asked, "it is so")], e5) is None


def test_the_same_words_fit_whatever_embeds(e5: Embeds) -> None:
    kept = stored("How do I keep the sourdough bread from coming out flat?", "a dough is weak")
    message = "how do I keep my sourdough bread from coming out flat"
    before = e5.calls
    assert fitting(message, [kept], e5, "an embedder nobody has weighed") is kept
    assert e5.calls == before
    paraphrase = "How can I prevent my sourdough bread from coming out flat?"
    assert fitting(paraphrase, [kept], e5, "an embedder nobody has weighed") is None


def test_leaving_out_the_far_ones_early_changes_nothing(e5: Embeds) -> None:
    """The bound is exact: what it leaves out could not have reached the chance that is needed."""
    scale = reuse.SCALES[E5]
    kept = [stored(group.asked, group.applies) for group in GROUPS]
    for message in (GROUPS[0].same[0], GROUPS[5].other[1], "What is the weather like in Bergen?"):
        for pair in asyncio.run(reuse.measure(message, kept, e5)):
            if scale.chance(pair) >= MATCH:
                assert pair.cosine >= scale.least(MATCH)
    assert 0.8 < scale.least(MATCH) < 0.9


def test_what_is_no_longer_valid_is_not_used(e5: Embeds) -> None:
    question = "How do we plan a database migration without downtime?"
    assert fitting(question, [stored(question, "a schema changes", days=-1)], e5) is None
    kept = stored(question, "a schema changes")
    ended = replace(kept, valid_to=(datetime.now(UTC) - timedelta(hours=1)).isoformat())
    assert fitting(question, [ended, kept], e5) is kept
    assert fitting(question, [replace(kept, valid_to="soon")], e5) is None


def test_applies_when_has_a_say(e5: Embeds) -> None:
    group = next(one for one in GROUPS if "mortgage" in one.asked)
    (message,) = (one for one in group.same if _norwegian(one))
    assert fitting(message, [stored(group.asked, group.applies)], e5, match=0.5) is not None
    # The stored question fits as before; what the insight is said to hold for does not.
    away = stored(group.asked, group.asked)
    pair = asyncio.run(reuse.measure(message, [away], e5))[0]
    assert pair.applies < -reuse.SCALES[E5].applies
    assert fitting(message, [away], e5, match=0.5) is None


def test_a_message_that_leans_on_its_context_needs_the_same_context(e5: Embeds) -> None:
    talk = [Exchange("t", "Read parser.py", "It splits lines.", "m", "2026-01-01T00:00:00+00:00")]
    kept = stored("Why does this fail?", "a line is empty", talk)
    assert fitting("Why does this fail?", [kept], e5) is None
    same = asyncio.run(
        reuse.best(
            "Why does this fail?", distil("Why does this fail?", talk, 800), [kept], e5, E5, 1.0
        )
    )
    assert same == (kept, 1.0)


def test_another_error_in_the_same_question_is_another_problem(e5: Embeds) -> None:
    question = "Why does the import of our yearly report stop halfway?"
    first = [Exchange("t", "Run it", "ValueError: bad date", "m", "2026-01-01T00:00:00+00:00")]
    other = [Exchange("t", "Run it", "KeyError: total", "m", "2026-01-01T00:00:00+00:00")]
    kept = stored(question, "an import stops", first)
    found = asyncio.run(reuse.best(question, distil(question, other, 800), [kept], e5, E5, MATCH))
    assert found is None
