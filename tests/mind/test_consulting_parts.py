"""The consultant's parts alone: distilled problems, calibration, costs of policies."""

from __future__ import annotations

import numpy as np
import pytest

from aiki_kernel.mind import calibration
from aiki_kernel.mind.conversation import Exchange
from aiki_kernel.mind.distil import distil, shorten
from aiki_kernel.mind.labels import Label
from aiki_kernel.mind.policies import Step, Terms, cost, replay
from aiki_kernel.models import prices
from aiki_kernel.models.cards import ModelCard
from aiki_kernel.models.prices import PriceCard
from aiki_kernel.models.tokens import estimate

LOG = """I ran it and got this:
Traceback (most recent call last):
  File "a.py", line 3, in <module>
KeyError: 'walnut'
Hva er feil?"""


def card(name: str, price_in: float, price_out: float, cached: float | None) -> ModelCard:
    listed = PriceCard(price_in, price_out, cached, "test")
    return ModelCard(name, "a", name, "smart", None, listed)


SMART = card("smart", 5.0, 25.0, 0.5)
CHEAP = card("cheap", 1.0, 5.0, 0.1)


@pytest.mark.parametrize("budget", [40, 100, 400, 800])
@pytest.mark.parametrize("question", [LOG, "word " * 3000, "Hei", "", "x" * 20_000])
def test_a_problem_keeps_its_budget(question: str, budget: int) -> None:
    before = [Exchange("t", "Earlier " * 200, "Answer " * 900, "m", "2026-01-01T00:00:00+00:00")]
    assert distil(question, before, budget).tokens <= budget * 1.1 + 4


def test_a_problem_has_its_error_and_what_was_before() -> None:
    before = [Exchange("t", "Load it", "I tried.\nValueError: bad magic", "m", "2026-01-01")]
    found = distil("Why does it fail?", before, 400)
    assert "ValueError: bad magic" in found.errors
    assert "Asked: Load it" in found.summary
    assert found.text.startswith("Problem:\nWhy does it fail?")


def test_what_is_shortened_keeps_both_ends() -> None:
    text = "begin " + "middle " * 500 + "end"
    short = shorten(text, 30)
    assert short.startswith("begin")
    assert short.endswith("end")
    assert estimate(short) <= 30
    assert shorten("short", 30) == "short"


@pytest.mark.parametrize("count", [5, 40, 400])
def test_a_calibration_is_monotone_and_within_bounds(count: int) -> None:
    random = np.random.default_rng(0)
    claims = random.uniform(0.3, 1.0, count)
    right = (random.random(count) < claims**2).astype(float)
    found = calibration.fit(claims, right)
    assert found.method == {5: "none", 40: "platt", 400: "isotonic"}[count]
    values = [found(x) for x in np.linspace(0, 1, 50)]
    assert values == sorted(values)
    assert 0.0 <= min(values) <= max(values) <= 1.0


@pytest.mark.parametrize("count", [60, 600])
def test_a_calibration_lowers_the_expected_error(count: int) -> None:
    random = np.random.default_rng(1)
    claims = random.uniform(0.7, 1.0, 2 * count)
    right = (random.random(2 * count) < claims - 0.35).astype(float)
    found = calibration.fit(claims[:count], right[:count])
    before = calibration.reliability(claims[count:], right[count:])
    after = calibration.reliability(claims[count:], right[count:], found)
    assert after["expected_error"] < 0.6 * before["expected_error"]


def test_claims_that_run_the_wrong_way_are_no_confidence_at_all() -> None:
    claims = [0.9] * 15 + [0.2] * 15
    found = calibration.fit(claims, [0.0] * 15 + [1.0] * 15)
    assert found(0.9) == pytest.approx(found(0.2))


def test_what_the_user_says_goes_before_the_check() -> None:
    def label(turn: str, source: str, good: float, confidence: float | None = None) -> Label:
        return Label("2026-11-01", turn, "m", "a/b", source, good, confidence=confidence)  # type: ignore[arg-type]

    found = calibration.outcomes(
        [
            label("1", "checked", 1.0, 0.8),
            label("1", "bad", 0.0),
            label("2", "checked", 1.0, 0.7),
            label("3", "good", 1.0),
        ]
    )
    assert found == ([0.8, 0.7], [0.0, 1.0])


def test_the_reference_figures_come_out() -> None:
    """Opus 4.6 with Haiku 4.5, as the table of measured facts has it: 49, 67, 77 % cold."""
    smart, cheap = card("opus", 5.0, 25.0, 0.5), card("haiku", 1.0, 5.0, 0.1)
    for context, saved in ((4_000, 0.49), (20_000, 0.67), (100_000, 0.77)):
        rows = replay([Step(context, 1500, {})], smart, cheap, Terms())
        assert rows[2]["saved"] == pytest.approx(saved, abs=0.006)
    step = Step(100_000, 1500, {})
    half = replay([step], smart, cheap, Terms(warm=True, warm_executor=False))
    assert half[2]["saved"] < 0.1, "a warm cache for the smart model alone erases the saving"
    warm = replay([step], smart, cheap, Terms(warm=True))
    assert 0.5 < warm[2]["saved"] < rows[2]["saved"]


def test_reuse_and_escalation_move_the_cost() -> None:
    step = Step(20_000, 800, {})
    plain, reused, escalated = (
        cost("consultant", step, SMART, CHEAP, terms)
        for terms in (Terms(), Terms(reuse=1.0), Terms(escalated=1.0))
    )
    direct = cost("smart-only", step, SMART, CHEAP, Terms())
    assert plain is not None
    assert reused is not None
    assert escalated is not None
    assert direct is not None
    assert reused < plain < escalated
    assert escalated > direct, "advice that is not trusted costs more than none"


def test_cost_per_correct_answer_wants_every_label() -> None:
    labelled = Step(1000, 100, {"smart-only": 1.0, "cheap-only": 0.5, "consultant": 1.0})
    rows = replay([labelled, labelled], SMART, CHEAP, Terms())
    assert [row["right"] for row in rows] == [1.0, 0.5, 1.0]
    assert rows[1]["usd_per_correct"] == pytest.approx(rows[1]["usd_per_message"] / 0.5)
    rows = replay([labelled, Step(1000, 100, {})], SMART, CHEAP, Terms())
    assert rows[0]["usd_per_correct"] is None


def test_an_unknown_price_makes_the_sum_unknown() -> None:
    unknown = ModelCard("x", "a", "x", "cheap", None, PriceCard(None, None, None, "unknown"))
    rows = replay([Step(1000, 100, {})], SMART, unknown, Terms())
    assert rows[0]["usd"]
    assert rows[1]["usd"] is None
    assert rows[2]["usd"] is None


# Savings in percent against smart-only, as memory-routing's table of consultant and direct calls
# has them: contexts of 4k, 20k and 100k tokens with cold caches, then 100k with both caches
# warm, and 100k with only the smart model's. The problem has 1,000 tokens, the insight 500, the
# answer 1,500.
REFERENCE = [
    ("anthropic", "claude-opus-4-6", "claude-haiku-4-5", (49, 67, 77, 66, 5)),
    ("openai", "gpt-5.4", "gpt-5-mini", (57, 75, 86, 75, 46)),
    ("openai", "gpt-4", "gpt-3.5-turbo", (69, 90, 96, 96, 96)),
    ("google", "gemini-2.5-pro", "gemini-2.5-flash", (43, 60, 71, 59, -4)),
]


@pytest.mark.parametrize(("provider", "smart", "cheap", "percent"), REFERENCE)
def test_the_reference_table_is_reproduced(
    provider: str, smart: str, cheap: str, percent: tuple[int, ...]
) -> None:
    cards = prices.listed(provider)
    terms = [
        *((context, Terms()) for context in (4_000, 20_000, 100_000)),
        (100_000, Terms(warm=True)),
        (100_000, Terms(warm=True, warm_executor=False)),
    ]
    found = []
    for context, one in terms:
        rows = replay([Step(context, 1500, {})], cards[smart][0], cards[cheap][0], one)
        found.append(100 * rows[2]["saved"])
    assert found == pytest.approx(percent, abs=0.7)


def test_a_cache_that_holds_everything_makes_the_smart_model_alone_cheaper() -> None:
    """Why figures differ: the tenth that is never cached is most of what a warm call costs."""
    cards = prices.listed("anthropic")
    pair = (cards["claude-opus-4-6"][0], cards["claude-haiku-4-5"][0])
    step = [Step(100_000, 1500, {})]
    both = replay(step, *pair, Terms(warm=True, cached=1.0))[2]["saved"]
    half = replay(step, *pair, Terms(warm=True, warm_executor=False, cached=1.0))[2]["saved"]
    assert (round(100 * both), round(100 * half)) == (59, -43)
