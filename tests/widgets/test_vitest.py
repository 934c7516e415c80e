"""The unit tests of the ES modules, which vitest runs: ``npm test`` in ``widgets``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

WIDGETS = Path(__file__).resolve().parents[2] / "widgets"


@pytest.mark.slow
def test_the_modules_pass_their_unit_tests(packages: Path) -> None:
    done = subprocess.run(
        ["npm", "test", "--", "--reporter=dot"],
        cwd=packages.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"


def test_every_module_has_unit_tests() -> None:
    tested = {file.name.removesuffix(".test.js") for file in (WIDGETS / "tests").glob("*.test.js")}
    assert {file.stem for file in WIDGETS.glob("*.js")} <= tested


def test_the_lock_names_no_registry() -> None:
    text = (WIDGETS / "package-lock.json").read_text()
    assert '"resolved"' not in text
