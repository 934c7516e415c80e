"""No kernel of the search or of the encoder reads or writes outside what it was given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiki_kernel.compute.native import library, runnable

ROUNDS = {"search": 300, "encoder": 40}
CASES = [(part, variant) for part in ROUNDS for variant in runnable(part)]


def _fuzz(part: str, variant: str, seed: int, rounds: int) -> list[str]:
    script = Path(__file__).parent / f"fuzz_{part}.py"
    return [sys.executable, str(script), str(library(variant, part)), str(seed), str(rounds)]


@pytest.mark.parametrize(("part", "variant"), CASES)
def test_random_shapes_and_false_sizes(part: str, variant: str) -> None:
    done = subprocess.run(
        _fuzz(part, variant, 1, ROUNDS[part]), capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.long
@pytest.mark.skipif(
    ("search", "avx2") not in CASES or shutil.which("valgrind") is None,
    reason="needs valgrind and AVX2 (valgrind knows no AVX-512)",
)
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("part", "rounds"), [("search", 60), ("encoder", 12)])
def test_random_shapes_under_valgrind(part: str, rounds: int) -> None:
    valgrind = ["valgrind", "--error-exitcode=9", "--undef-value-errors=no"]
    done = subprocess.run(
        [*valgrind, *_fuzz(part, "avx2", 2, rounds)],
        env=os.environ | {"PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "done" in done.stdout
