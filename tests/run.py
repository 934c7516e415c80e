"""The test command: ``python3 tests/run.py`` on a machine with Python and no more.

Makes ``.venv-test``, installs the project with its test extra, sees to Chromium and the other
programs that tests call, then runs the linter, the type checker and every test that is not
marked ``long``. Arguments after ``--`` go to pytest: ``python3 tests/run.py -- tests/kernel -x``.
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


PROGRAMS = {
    "chromium": "chromium",  # drives the browser tests
    "docker-compose": "docker-compose",  # reads the stack of `aiki deploy`
    "promtool": "prometheus",  # judges metrics and alert rules; the long suite scrapes with it
    "systemd-analyze": "systemd",  # reads its units
}
"""Programs that tests call, and the Debian packages that hold them."""


def missing() -> list[str]:
    others = {"chromium": ("chromium-browser", "google-chrome")}
    return [
        name
        for name in PROGRAMS
        if not any(shutil.which(program) for program in (name, *others.get(name, ())))
    ]


def install_programs() -> None:
    """What tests call is installed where that is allowed; else those tests are skipped, loudly.
    In CI that is a failure."""
    if not missing():
        return
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        packages = sorted({PROGRAMS[name] for name in missing()})
        say(f"installing {', '.join(packages)} from the system's packages")
        os.environ.setdefault("DEBIAN_FRONTEND", "noninteractive")
        call("apt-get", "update", "-q", check=False)
        # One by one: a package that is not to be had must not keep out the others.
        for package in packages:
            call("apt-get", "install", "-y", "-q", "--no-install-recommends", package, check=False)
    for name in missing():
        say(f"{name.upper()} IS MISSING: its tests will be SKIPPED (package '{PROGRAMS[name]}')")
    if missing() and os.environ.get("CI"):
        sys.exit(f"In CI these must be there: {', '.join(missing())}.")


def main() -> None:
    extra = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    install_project()
    install_programs()
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
