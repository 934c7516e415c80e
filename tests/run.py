"""The test command: ``python3 tests/run.py`` on a machine with Python and no more.

Makes ``.venv-test``, installs the project with its test extra, sees to Chromium, then runs
the linter, the type checker and every test that is not marked ``long``. Arguments after
``--`` go to pytest: ``python3 tests/run.py -- tests/kernel -x``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-test"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")


def say(text: str) -> None:
    print(f"== {text}", flush=True)


def call(*words: str | Path, check: bool = True) -> int:
    done = subprocess.run([str(word) for word in words], cwd=ROOT, check=False)
    if check and done.returncode:
        sys.exit(done.returncode)
    return done.returncode


def install_project() -> None:
    if not (BIN / "python").exists():
        say(f"new environment in {VENV.name}")
        venv.create(VENV, with_pip=True, clear=True)
    say("installing the project and its test extra")
    call(
        BIN / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "-e", ".[test]"
    )


def install_chromium() -> None:
    """Chromium drives the browser tests. Without it they are skipped; in CI that is a failure."""
    if any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        return
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        say("installing Chromium from the system's packages")
        os.environ.setdefault("DEBIAN_FRONTEND", "noninteractive")
        call("apt-get", "update", "-q", check=False)
        call("apt-get", "install", "-y", "-q", "chromium", check=False)
    if not shutil.which("chromium"):
        say("CHROMIUM IS MISSING: browser tests will be SKIPPED (install package 'chromium')")
        if os.environ.get("CI"):
            sys.exit("In CI the browser tests must run: Chromium could not be installed.")


def main() -> None:
    extra = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    install_project()
    install_chromium()
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    failed = []
    if not extra:
        for name, words in {
            "ruff check": (BIN / "ruff", "check", "."),
            "ruff format": (BIN / "ruff", "format", "--check", "."),
            "mypy --strict": (BIN / "mypy",),
        }.items():
            say(name)
            if call(*words, check=False):
                failed.append(name)
    say("pytest")
    if call(BIN / "python", "-m", "pytest", "-m", "not long", *extra, check=False):
        failed.append("pytest")
    if failed:
        sys.exit(f"FAILED: {', '.join(failed)}")


if __name__ == "__main__":
    main()
