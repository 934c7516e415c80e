"""Labels: written at once by many, judged once by each source, kept out of keys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aiki_kernel.mind.labels import Label, Labels
from aiki_kernel.mind.ledger import Entry, Ledger
from aiki_kernel.mind.routing.validation import from_labels

WHEN = "2026-11-01T00:00:00+00:00"


def label(turn: str = "t", **changes: object) -> Label:
    values = {"message": "m", "model": "a/b", "source": "good", "good": 1.0, **changes}
    return Label(WHEN, turn, **values)  # type: ignore[arg-type]


def test_a_source_labels_an_answer_once(tmp_path: Path) -> None:
    labels = Labels(tmp_path / "ledger.sqlite")
    labels.put(label(), label(source="escalated", good=0.0))
    labels.put(label(source="bad", good=0.0))
    found = {(one.source, one.good) for one in labels.all()}
    assert found == {("bad", 0.0), ("escalated", 0.0)}
    assert labels.counts()["bad"] == 1


def test_a_file_that_is_not_there_has_no_labels_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    assert Labels(path).all() == []
    assert not path.exists()


def test_the_ledger_of_the_same_file_is_untouched(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.record(Entry(WHEN, "s", "t", "m", "p"))
    Labels(path).put(label())
    assert len(ledger.rows()) == 1
    ledger.record(Entry(WHEN, "s", "t", "m", "p"))
    assert len(Labels(path).all()) == 1


def test_no_key_is_kept(tmp_path: Path) -> None:
    labels = Labels(tmp_path / "ledger.sqlite")
    key = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0" * 2
    labels.put(label(message=f"Why does {key} fail?"))
    assert key not in labels.all()[0].message


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    code = (
        "import sys; from pathlib import Path; from aiki_kernel.mind.labels import *\n"
        "labels = Labels(Path(sys.argv[1]))\n"
        "for n in range(20):\n"
        f"    labels.put(Label('{WHEN}', f'{{sys.argv[2]}} {{n}}', 'm', 'a/b', 'good', 1.0))\n"
    )
    words = [sys.executable, "-c", code, str(path)]
    running = [subprocess.Popen([*words, name]) for name in ("one", "two")]
    assert [one.wait() for one in running] == [0, 0]
    assert len(Labels(path).all()) == 40


@pytest.mark.parametrize(("tier", "weak", "strong"), [("cheap", 0.5, None), ("smart", None, 0.5)])
def test_a_messages_labels_are_averaged_by_side(
    tier: str, weak: float | None, strong: float | None
) -> None:
    found = from_labels([label("1", tier=tier), label("2", tier=tier, good=0.0)])
    assert found.texts == ("m",)
    assert (found.weak[0] == weak) or weak is None
    assert (found.strong[0] == strong) or strong is None
    assert len(found.paired) == 0
