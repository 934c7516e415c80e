"""One home, one daemon and one kernel for all pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernel"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs" / "make"))

from notebook_driver import Notebook

from aiki_kernel.models.weights import for_tests


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home with the local model in it; answers are short. Its daemon ends with the module."""
    base = Path(tempfile.mkdtemp(prefix="aiki-docs-", dir="/tmp"))
    weights = for_tests()
    for folder in ("run", "home", "home/models", "pages"):
        (base / folder).mkdir(mode=0o700)
    for file in weights.parent.glob(f"{weights.name}*"):
        (base / "home/models" / file.name).symlink_to(file)
    given = {
        "AIKI_HOME": str(base / "home"),
        "XDG_RUNTIME_DIR": str(base / "run"),
        "IPYTHONDIR": str(base / "ipython"),
        "AIKI_GENERATION__MAX_TOKENS": "12",
        "AIKI_MEMORY__USER_ID": "kari",
        "AIKI_MEMORY__RECALL_TOKENS": "120",
        "AIKI_SERVER__IDLE_EXIT_S": "300",
        "COLUMNS": "100",
    }
    saved = dict(os.environ)
    os.environ.update(given)
    yield base
    subprocess.run(
        [sys.executable, "-m", "aiki_kernel.cli", "daemon", "stop"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    os.environ.clear()
    os.environ.update(saved)
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def notebook(home: Path) -> Iterator[Callable[[], Any]]:
    """A kernel, started by the first cell that needs it."""
    made: list[Notebook] = []

    def start() -> Notebook:
        if not made:
            made.append(Notebook())
        return made[0]

    yield start
    for kernel in made:
        kernel.close()
