"""``notebooks/health.ipynb``: run by papermill as a scheduler runs it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from aiki_kernel.display.health_timeline import services
from aiki_kernel.health.history import History
from aiki_kernel.health.reading import Reading
from aiki_kernel.health.sampler import Sample
from aiki_kernel.mind.ledger import Entry, Ledger

pytestmark = pytest.mark.slow
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "health.ipynb"


def _run(home: Path, out: Path, *parameters: str) -> tuple[int, str]:
    words = [sys.executable, "-m", "papermill", "--no-progress-bar", str(NOTEBOOK), str(out)]
    words += ["-p", "home", str(home), *parameters]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, out.read_text("utf-8") + done.stderr


@pytest.fixture
def home(aiki_home: Path) -> Path:
    """A home with an hour of samples: the disk was nearly full for a quarter of it."""
    (aiki_home / "aiki.toml").write_text(
        'daemon = "off"\n[budget]\nday_usd = 1.0\n[health]\nskip = ["local_model"]\n', "utf-8"
    )
    (aiki_home / "health").mkdir()
    made = History(aiki_home / "health" / "history.sqlite")
    began = time.time() - 3600
    for minute in range(60):
        at = began + 60 * minute
        if 40 <= minute < 50:
            continue  # nobody looked
        state = "degraded" if 10 <= minute < 25 else "ok"
        readings = (
            Reading(state, "", 1.0, "bytes", {}, "disk", "Disk"),
            Reading("ok", "", 1.0, "", {}, "load", "Load"),
        )
        made.add(Sample(at, at, readings, 0.1))
    made.close()
    return aiki_home


def test_the_period_is_told_by_service(home: Path) -> None:
    disk, load = services(home / "health" / "history.sqlite", time.time() - 4000, time.time())
    assert (disk.probe, load.probe) == ("disk", "load")
    assert disk.well == pytest.approx(0.7)
    assert load.well == 1.0
    assert [state for _, _, state in disk.spans()] == ["ok", "degraded", "ok"]
    assert services(home / "none.sqlite", 0, 1) == []


def test_papermill_runs_it_and_passes_what_is_down_on(home: Path, tmp_path: Path) -> None:
    status, shown = _run(home, tmp_path / "well.ipynb", "-p", "hours", "2")
    assert status == 0, shown[-3000:]
    assert "Nothing to do." in shown
    drawn = re.search(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", shown)
    assert drawn
    picture = ElementTree.fromstring(base64.b64decode(drawn[1]))
    rows = picture.findall("{http://www.w3.org/2000/svg}rect")
    assert len(rows) == 1 + 3 + 2 - 1  # the ground, the disk's spans, the load's

    status, shown = _run(home, tmp_path / "least.ipynb", "-p", "hours", "2", "-p", "least", "0.9")
    assert status == 1
    assert "disk was well in 70.0% of samples" in shown

    ledger = Ledger(home / "ledger.sqlite")
    now = datetime.now(UTC).isoformat()
    ledger.record(Entry(now, "s", "t", "sol", "openai", cost_usd=5.0))
    ledger.close()
    status, shown = _run(home, tmp_path / "down.ipynb")
    assert status == 1
    assert "Cost today is down" in shown
    status, shown = _run(home, tmp_path / "never.ipynb", "-p", "fail_on", "never")
    assert status == 0


def test_it_is_saved_with_its_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    shown = [cell["id"] for cell in cells if cell.get("outputs")]
    assert shown == ["health-04", "health-06", "health-08", "health-10"]
