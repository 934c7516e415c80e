"""The test command: ``python3 tests/run.py`` on a machine with Python and no more.

Makes ``.venv-test``, installs the project with its test extra, sees to Chromium and the other
programs that tests call, then runs the linter, the type checker and every test that is not
marked ``long``: side by side on as many workers as there are processors, and then, one by one,
those marked ``alone``. Arguments after ``--`` go to pytest: ``python3 tests/run.py -- tests/kernel
-x``; with ``-m long`` among them the long tests run instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-test"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
MOST_WORKERS = 8
WORKER_BYTES = 2 << 30
"""A worker, and the JupyterLab, the Chromium, the daemon and the kernels of its tests."""
OLDEST = (3, 11)
NOTHING_COLLECTED = 5  # an exit status of pytest


def say(text: str) -> None:
    print(f"== {text}", flush=True)


def call(*words: str | Path, check: bool = True, more: dict[str, str] | None = None) -> int:
    done = subprocess.run(
        [str(word) for word in words], cwd=ROOT, check=False, env={**os.environ, **(more or {})}
    )
    if check and done.returncode:
        sys.exit(done.returncode)
    return done.returncode


def install_project() -> None:
    if not (BIN / "pip").exists():  # the last thing that is put there: one cut short is made anew
        say(f"new environment in {VENV.name}")
        try:
            venv.create(VENV, with_pip=True, clear=True)
        except subprocess.CalledProcessError:
            sys.exit("This Python makes no environments: on Debian, apt install python3-venv.")
    say("installing the project and its test extra")
    call(
        BIN / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "-e", ".[test]"
    )


PROGRAMS = {
    "chromium": "chromium",  # drives the browser tests
    "docker-compose": "docker-compose",  # reads the stack of `aiki deploy`
    "node": "nodejs",  # runs the unit tests of the widgets' modules
    "npm": "npm",  # fetches what those tests need
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


def processors() -> int:
    """How many processors this process may use: its own mask, and the quota of its container."""
    mask = getattr(os, "sched_getaffinity", None)
    found = len(mask(0)) if mask else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        most, _, period = quota.read_text("utf-8").partition(" ")
        if most != "max":
            found = min(found, max(1, round(int(most) / int(period))))
    return found


def workers() -> int:
    """One for each processor, as far as the memory goes."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        memory = WORKER_BYTES * MOST_WORKERS
    return max(1, min(processors(), MOST_WORKERS, memory // WORKER_BYTES))


def marked(extra: list[str]) -> tuple[str, list[str]]:
    """The marks that are asked for, and the other arguments."""
    for at, word in enumerate(extra):
        if word == "-m" and at + 1 < len(extra):
            return extra[at + 1], extra[:at] + extra[at + 2 :]
        if word.startswith("-m") and not word.startswith("--") and len(word) > 2:
            return word[2:].removeprefix("="), extra[:at] + extra[at + 1 :]
    return "not long", extra


def run_tests(extra: list[str]) -> list[str]:
    """Both parts of the suite; which of them failed."""
    marks, extra = marked(extra)
    count = workers()
    pytest = [BIN / "python", "-m", "pytest", "--durations=25", "--durations-min=1"]
    beside = [f"-n{count}", "--dist=loadfile", "--no-loadscope-reorder"] if count > 1 else []
    # Each of several workers on a few processors must not bring a thread for each of them.
    few = {"OPENBLAS_NUM_THREADS": str(max(1, processors() // count))} if count > 1 else {}
    failed, empty = [], 0
    for name, chosen, words, more in (
        (f"pytest, {count} side by side", f"({marks}) and not alone", beside, few),
        ("pytest, one by one", f"({marks}) and alone", [], {}),
    ):
        say(name)
        status = call(*pytest, "-m", chosen, *words, *extra, check=False, more=more)
        empty += status == NOTHING_COLLECTED
        if status not in (0, NOTHING_COLLECTED):
            failed.append(name)
            if {"-x", "--exitfirst"} & set(extra):
                break
    return ["pytest: no test was found"] if empty == 2 else failed


def main() -> None:
    began = time.monotonic()
    if sys.version_info < OLDEST:
        sys.exit(f"Python 3.{OLDEST[1]} or newer is needed, this is {sys.version.split()[0]}.")
    extra = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    install_project()
    install_programs()
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
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
    failed += run_tests(extra)
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    if failed:
        sys.exit(f"== FAILED after {minutes} min {seconds} s: {', '.join(failed)}")
    say(f"PASSED in {minutes} min {seconds} s")


if __name__ == "__main__":
    main()
