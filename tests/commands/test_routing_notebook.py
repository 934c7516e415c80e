"""``notebooks/routing.ipynb``: run by papermill as a user runs it, without a key."""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from aiki_kernel.display.route_curves import quality_curve, reliability_curve
from aiki_kernel.mind.labels import Label, Labels
from aiki_kernel.mind.ledger import Entry, Ledger

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "routing.ipynb"
WHEN = "2026-11-01T00:00:00+00:00"


def shown_by(notebook: Path) -> str:
    """All that a saved notebook shows, as HTML and Markdown."""
    data = [
        output.get("data", {})
        for cell in json.loads(notebook.read_text("utf-8"))["cells"]
        for output in cell.get("outputs", [])
    ]
    kinds = ("text/html", "text/markdown")
    return "".join("".join(one.get(kind, "")) for one in data for kind in kinds)


def run(home: Path, out: Path, *parameters: str) -> str:
    words = [sys.executable, "-m", "papermill", "--no-progress-bar", str(NOTEBOOK), str(out)]
    words += ["-p", "home", str(home), *parameters]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return shown_by(out)


@pytest.mark.slow
def test_papermill_runs_it_with_data_labels_and_a_ledger(aiki_home: Path, tmp_path: Path) -> None:
    (aiki_home / "aiki.toml").write_text('daemon = "off"\n', "utf-8")
    random = np.random.default_rng(0)
    rows = [
        {
            "prompt": f"Question {n}: add {' and '.join(['12'] * (8 if n % 2 else 2))}.",
            "weak": bool(random.random() < (0.3 if n % 2 else 0.9)),
            "strong": True,
            "domain": f"sums_{n % 5}",
        }
        for n in range(150)
    ]
    data = tmp_path / "data.jsonl.gz"
    data.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    labels, ledger = Labels(aiki_home / "ledger.sqlite"), Ledger(aiki_home / "ledger.sqlite")
    for n in range(30):
        labels.put(Label(WHEN, f"t{n}", "m", "a/b", "checked", float(n % 3 > 0), confidence=0.9))
    ledger.record(Entry(WHEN, "s", "t", "m", "p", input_tokens=5000, output_tokens=80))
    shown = run(aiki_home, tmp_path / "out.ipynb", "-p", "data", str(data))
    assert "APGR" in shown
    assert "CPT(50)" in shown
    drawings = [
        ElementTree.fromstring(base64.b64decode(image))
        for image in re.findall(r"src=\"data:image/svg\+xml;base64,([^\"]+)\"", shown)
    ]
    lines = [
        {line.attrib["data-line"] for line in one.iter("{http://www.w3.org/2000/svg}polyline")}
        for one in drawings
    ]
    assert lines[0] == {"random", "rules", "length", "learned", "oracle"}  # the unseen ones
    assert lines[1] == {"as it says", "claimed", "calibrated"}
    assert "consultant, 50 % used again" in shown
    assert "30 consultations; calibration: platt" in shown


@pytest.mark.slow
def test_papermill_runs_it_in_an_empty_home(aiki_home: Path, tmp_path: Path) -> None:
    shown = run(aiki_home, tmp_path / "out.ipynb")
    assert "0 messages have answers of both" in shown
    assert "No consultation has ended yet" in shown
    assert "no answers to replay" in shown


def test_curves_are_drawings_with_names() -> None:
    figures = {"curve": {"share": [0, 0.5, 1], "quality": [0.6, 0.75, 0.8]}}
    section = {
        "set": "a <b>",
        "held_out": "unseen",
        "questions": 9,
        "rows": [{"router": name, **figures} for name in ("random", "learned", "oracle")],
    }
    for plane in (quality_curve(section), quality_curve(section, 0.001, 0.01)):
        ElementTree.fromstring(plane.svg())
        assert "<b>" not in plane.html()
    assert quality_curve(section, 0.001, 0.01).x == (0.1, 1.0)
    bins = [{"confidence": 0.9, "right": 0.5, "count": 3}]
    ElementTree.fromstring(reliability_curve(bins, bins).svg())
