"""No kernel of the encoder reads or writes outside what it was given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiki_kernel.compute.native import library, runnable

FUZZ = Path(__file__).parent / "fuzz_encoder.py"


@pytest.mark.parametrize("variant", runnable("encoder"))
def test_random_shapes_and_false_sizes(variant: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZ), str(library(variant, "encoder")), "1", "40"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.long
@pytest.mark.skipif(
    "avx2" not in runnable("encoder") or shutil.which("valgrind") is None,
    reason="needs valgrind and AVX2 (valgrind knows no AVX-512)",
)
@pytest.mark.timeout(900)
def test_random_shapes_under_valgrind() -> None:
    done = subprocess.run(
        [
            "valgrind",
            "--error-exitcode=9",
            "--undef-value-errors=no",
            sys.executable,
            str(FUZZ),
            str(library("avx2", "encoder")),
            "2",
            "12",
        ],
        env=os.environ | {"PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "done" in done.stdout
