"""Chromium, npm's packages and a stage for the widgets.

One Chromium serves a file of tests. It cannot serve all files: Playwright's driver runs a loop,
which no test of asyncio may meet; to open one takes half a second.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from picture import Pictures
from shown_answers import summary
from stage import Stage, opened, stage

WIDGETS = Path(__file__).resolve().parents[2] / "widgets"


def _missing(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def answer() -> Callable[..., dict[str, Any]]:
    """Makes the summary of an ordinary finished answer, with changes."""
    return summary


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium. Without one these tests are skipped, but never in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        _missing("Chromium is not installed: the widgets were NOT tested (apt install chromium).")
    return str(found)


@pytest.fixture(scope="session")
def packages() -> Path:
    """``widgets/node_modules`` as the lock file names it; installed once for each lock file."""
    npm = shutil.which("npm")
    if npm is None:
        _missing("npm is not installed: the widgets' modules were NOT tested (apt install npm).")
    folder = WIDGETS / "node_modules"
    wanted = hashlib.sha256((WIDGETS / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / ".aiki-lock"
    with (WIDGETS / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be at it
        if not stamp.is_file() or stamp.read_text() != wanted:
            done = subprocess.run(
                [str(npm), "ci", "--ignore-scripts"],
                cwd=WIDGETS,
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            if done.returncode:
                _missing(f"`npm ci` failed: the modules were NOT tested. {done.stderr[-300:]}")
            stamp.write_text(wanted)
    return folder


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """A Chromium for a file of tests."""
    with opened(chromium) as running:
        yield running


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Stage]:
    """A stage with the clock and the fonts of this machine."""
    with stage(browser) as made:
        yield made


@pytest.fixture(scope="module")
def still(browser: Any, packages: Path) -> Iterator[Stage]:
    """A stage for pictures: its clock stands, its font is the same everywhere."""
    with stage(browser, packages / "dejavu-fonts-ttf" / "ttf") as made:
        yield made


@pytest.fixture(scope="module")
def pictures(browser: Any) -> Pictures:
    """Compares what a stage shows with what is stored."""
    return Pictures(browser.new_page())
