from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context, Result
from aiki_kernel.mind.conversation import Conversation
from aiki_kernel.mind.ledger import Entry, Ledger
from aiki_kernel.models.response_cache import Kept, ResponseCache

NOW = datetime.now().astimezone()


def entry(usd: float | None, when: datetime = NOW, **more: object) -> Entry:
    fields = {"session_id": "s", "turn_id": "t", "model": "luna", "provider": "openai", **more}
    return Entry(
        when=when.isoformat(), cost_usd=usd, input_tokens=1000, output_tokens=100, **fields
    )


@pytest.fixture
def home(aiki_home: Path) -> Path:
    book = Ledger(aiki_home / "ledger.sqlite")
    book.record(entry(0.01, smart_only_usd=0.1, cheap_only_usd=0.01, tier="cheap", hops=1))
    book.record(entry(0.02, smart_only_usd=0.0, cheap_only_usd=0.0, model="sol", stage="consult"))
    book.record(entry(None, model="cheese", persona="teacher"))
    book.record(entry(0.0, model="=smol", local_s=12.5, session_id="other"))
    book.record(entry(0.5, NOW - timedelta(days=40), smart_only_usd=0.5, cheap_only_usd=0.1))
    book.close()
    return aiki_home


def run(words: str, session: str = "") -> Result:
    talk = Conversation(session) if session else None
    context = Context("magic" if talk else "cli", conversation=talk, width=160)
    return registry.run(words.split(), context)


@pytest.mark.usefixtures("home")
def test_the_overview_says_what_was_spent_saved_and_not_known() -> None:
    result = run("cost", "s")
    spans = result.data["spans"]
    assert list(spans) == ["this session", "today", "this week", "in all"]
    assert spans["today"]["cost_usd"] == pytest.approx(0.03)
    assert spans["this session"]["calls"] == 4
    assert spans["in all"]["cost_usd"] == pytest.approx(0.53)
    assert "Against smart-only (estimate): $0.5300 instead of ~$0.6000, ~$0.0700 saved (12%)" in (
        result.text
    )
    assert "2 of 5 calls could not be compared" in result.text
    assert "Cheap-only would have been ~$0.1100" in result.text
    assert "Models of this machine: 12 s, $0." in result.text
    assert "1 hop" in result.text
    *_, line = (line for line in result.text.splitlines() if line.strip().startswith("cheese"))
    assert "unknown" in line
    assert "estimate" in (result.html or "")


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("persona", {"default", "teacher"}),
        ("session", {"s", "other"}),
        ("stage", {"generate", "consult"}),
        ("tier", {"cheap", "unknown"}),
        ("model", {"luna", "sol", "cheese", "=smol"}),
    ],
)
@pytest.mark.usefixtures("home")
def test_sums_by_what_one_asks(by: str, keys: set[str]) -> None:
    result = run(f"cost --by {by} --since today")
    assert set(result.data["rows"]) == keys
    assert result.data["total"]["calls"] == 4


@pytest.mark.usefixtures("home")
def test_comma_separated_values_keep_unknown_empty_and_formulas_tame() -> None:
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(run("cost --csv").text))}
    assert set(rows) == {"luna", "sol", "cheese", "'=smol"}
    assert (rows["cheese"]["cost_usd"], rows["cheese"]["unpriced"]) == ("", "1")
    assert rows["cheese"]["smart_only_usd_estimate"] == ""
    assert float(rows["luna"]["smart_only_usd_estimate"]) == pytest.approx(0.6)
    assert float(rows["luna"]["compared_usd"]) == pytest.approx(0.51)
    assert float(rows["'=smol"]["local_s"]) == 12.5


def test_caps_are_shown_with_what_is_left(home: Path) -> None:
    (home / "aiki.toml").write_text("[budget]\nday_usd = 0.05\nsession_usd = 1\n", "utf-8")
    result = run("cost", "s")
    assert [cap["setting"] for cap in result.data["caps"]] == [
        "budget.day_usd",
        "budget.session_usd",
    ]
    assert result.data["caps"][0]["left_usd"] == pytest.approx(0.02)
    assert "Budget today: $0.0300 of $0.0500 spent, 1 call of unknown price" in result.text
    assert run("config set budget.day_usd 2").data["value"] == 2.0
    assert run("cost").data["caps"][0]["limit_usd"] == 2.0


@pytest.mark.usefixtures("aiki_home")
def test_the_response_cache_is_shown_and_cleared(aiki_home: Path) -> None:
    assert "off for chat: 0 answers" in run("cost cache").text
    kept = ResponseCache(aiki_home / "cache" / "responses.sqlite", 10**6, 30.0)
    kept.put("a", Kept("Oslo.", "stop", {"input_tokens": 1}, "m", "p"))
    kept.get("a")
    kept.saved(0.5)
    shown = run("cost cache")
    assert "1 answers" in shown.text
    assert "100% of requests hit, $0.5000 saved" in shown.text
    assert shown.data["hits"] == 1
    assert run("cost cache --clear").data == {"cleared": 1}
    assert run("cost cache").data["answers"] == 0


def test_before_the_first_answer() -> None:
    assert run("cost").text == "No answer has been asked for yet, so nothing was spent."


def test_more_than_smart_only_is_said_as_it_is(aiki_home: Path) -> None:
    """A consultation that did not pay."""
    book = Ledger(aiki_home / "ledger.sqlite")
    book.record(entry(0.03, smart_only_usd=0.0, cheap_only_usd=0.0, stage="consult"))
    book.record(entry(0.01, smart_only_usd=0.02, cheap_only_usd=0.01))
    assert "~$0.0200 more than that" in run("cost").text


@pytest.mark.usefixtures("home")
def test_the_latest_calls_one_a_row() -> None:
    result = run("cost --calls 3")
    assert len(result.data["calls"]) == 3
    assert result.data["calls"][0]["model"] == "=smol"
    assert "consult" in run("cost --calls 10").text
    rows = list(csv.DictReader(io.StringIO(run("cost --calls 10 --csv").text)))
    assert len(rows) == 5
    assert {row["model"] for row in rows} == {"luna", "sol", "cheese", "'=smol"}
    assert [row["cost_usd"] for row in rows if row["model"] == "cheese"] == [""]
