"""The files that make a Binder: they run with no key, and hand over to what Binder starts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

BINDER = Path(__file__).resolve().parents[2] / "binder"


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_scripts_are_executable_strict_and_correct(name: str) -> None:
    script = BINDER / name
    text = script.read_text()
    assert text.startswith("#!/bin/bash\n")
    assert "set -euo pipefail" in text
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "KEY" not in text


def test_start_hands_over_to_what_it_is_given(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(BINDER / "start"), "printenv", "AIKI_LOCAL__THREADS"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2\n"


def test_python_is_pinned_and_the_model_is_fetched_at_build() -> None:
    assert (BINDER / "runtime.txt").read_text().strip() in ("python-3.11", "python-3.12")
    assert "aiki model pull smollm2-135m" in (BINDER / "postBuild").read_text()
