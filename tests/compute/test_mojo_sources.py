"""The Mojo sources by themselves: their own unit tests, and their format.

A test file is compiled once for each content of the sources; the program is kept in the user's
cache folder and run every time.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiki_kernel.compute.native import cpu_flags

ROOT = Path(__file__).parents[2]
MOJO = ROOT / "mojo"
BESIDE = str(Path(sys.executable).parent)
COMPILER = shutil.which("mojo", path=BESIDE)
QUIET = {"MODULAR_TELEMETRY_ENABLED": "0", "MODULAR_CRASH_REPORTING_ENABLED": "0"}
UNITS = sorted((MOJO / "tests").glob("*/test_*.mojo"))
LINE = "100"


def program(unit: Path) -> Path:
    """The compiled test file, from the cache when nothing changed."""
    part = unit.parent.name
    folders = [MOJO / part, MOJO / "common", unit.parent]
    sources = sorted(path for folder in folders for path in folder.glob("*.mojo"))
    told = subprocess.run(
        [str(COMPILER), "--version"],
        env=os.environ | QUIET,
        capture_output=True,
        text=True,
        check=True,
    )
    # it is compiled for this very CPU, and finds its runtime in this very environment
    here = " ".join(sorted(cpu_flags())) + platform.machine() + sys.prefix
    digest = hashlib.sha256(f"{told.stdout}|{here}|{unit.name}".encode())
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aiki-kernel"
    made = cache / "mojo-tests" / f"{digest.hexdigest()[:24]}-{unit.stem}"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        fresh = made.with_name(f"{made.name}.{os.getpid()}")
        words = [str(COMPILER), "build", "-o", str(fresh)]
        for folder in folders:
            words += ["-I", str(folder)]
        done = subprocess.run(
            [*words, str(unit)],
            env=os.environ | QUIET,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        fresh.replace(made)
    return made


@pytest.mark.slow
@pytest.mark.skipif(
    COMPILER is None or not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="no Mojo compiler, or no C compiler to link with",
)
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_mojo_unit(unit: Path) -> None:
    done = subprocess.run([program(unit)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 tests run" not in done.stdout


@pytest.mark.skipif(shutil.which("mblack", path=BESIDE) is None, reason="no Mojo formatter here")
def test_mojo_sources_are_formatted() -> None:
    sources = [str(path) for path in sorted(MOJO.rglob("*.mojo"))]
    words = [str(Path(BESIDE) / "mblack"), "-l", LINE, "--check", *sources]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\nFormat them: mblack -l {LINE} mojo"
