"""llama.cpp's own programs: where they are on this machine, and a prebuilt set where none are.

``aiki model serve`` uses what the user has. The benchmark and the tests need a peer on any machine,
and building llama.cpp takes ten minutes; Debian's unstable suite has it built for every x86-64
(12 MB, MIT), with code for each generation of CPU. On a Debian machine ``apt-get`` fetches those
packages from the machine's own mirror into a folder; they are unpacked there and run with the C
library they were linked to, so nothing is installed and no root is needed.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import stat
import subprocess
from pathlib import Path

from aiki_kernel.errors import ModelError

PROGRAMS = ("llama-server", "llama-bench", "llama-quantize")
_PACKAGES = (
    *("llama.cpp-tools", "libllama0", "libggml0", "libssl3t64", "libstdc++6"),
    *("libgomp1", "libgcc-s1", "libc6", "libzstd1", "zlib1g"),
)
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PATIENCE_S = 180
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def find(program: str = "llama-server", folder: Path | None = None) -> Path | None:
    """``program`` on the search path, else in ``folder`` (see :func:`fetch`); None for neither."""
    found = shutil.which(program)
    if found:
        return Path(found)
    path = (folder or default_folder()) / program
    return path if os.access(path, os.X_OK) else None


def default_folder() -> Path:
    """``AIKI_LLAMA_CPP``, or a folder of the user's cache."""
    stated = os.environ.get("AIKI_LLAMA_CPP")
    return Path(stated) if stated else Path.home() / ".cache" / "aiki-kernel" / "llama.cpp"


def fetch(folder: Path | None = None) -> Path:
    """The folder with :data:`PROGRAMS`; fetched in seconds when it is not there yet.

    Several processes may call this: one works. Raises :class:`ModelError` where it cannot be done.
    """
    folder = folder or default_folder()
    if (folder / PROGRAMS[0]).is_file():
        return folder
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise ModelError("Prebuilt llama.cpp programs are for Linux on x86-64: install llama.cpp.")
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise ModelError("There is no apt-get to fetch llama.cpp with: install llama.cpp.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(folder.name + ".part")
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / PROGRAMS[0]).is_file():
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
            _download(part)
            _unpack(part)
            part.rename(folder)
            _write_starters(folder)
    return folder


def _download(part: Path) -> None:
    for name in ("lists/partial", "cache/archives/partial", "debs"):
        (part / name).mkdir(parents=True)
    source = part / "sources.list"
    source.write_text(f"deb [signed-by={_KEYRING}] {_mirror(part)} sid main\n", "utf-8")
    options = {
        "Dir::Etc::sourcelist": source,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": part / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": part / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    words = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    for verb in (["update"], ["download", *_PACKAGES]):
        _call(["apt-get", "-q", *words, *verb], part / "debs")
    shutil.rmtree(part / "lists")
    shutil.rmtree(part / "cache")


def _mirror(part: Path) -> str:
    """The Debian archive that this machine's own sources name."""
    said = _call(["apt-get", "indextargets", "--format", "$(REPO_URI)"], part)
    found = [line for line in said.split() if line.rstrip("/").endswith("/debian")]
    if not found or not _KEYRING.is_file():
        raise ModelError("This machine has no Debian mirror to fetch llama.cpp from: install it.")
    return found[0]


def _unpack(part: Path) -> None:
    for package in sorted((part / "debs").glob("*.deb")):
        _call(["dpkg-deb", "-x", str(package), str(part / "unpacked")], part)
    shutil.rmtree(part / "debs")
    # ggml looks for its code for each CPU beside the running program, which is the C library's
    # own loader here.
    libraries = part / "unpacked" / _LIBRARIES
    for path in (libraries / "ggml" / "backends0").glob("*.so"):
        (libraries / path.name).symlink_to(path.relative_to(libraries))


def _write_starters(folder: Path) -> None:
    """A script for each program; the last one written is the first that is looked for."""
    libraries = folder / "unpacked" / _LIBRARIES
    for program in reversed(PROGRAMS):
        starter = folder / program
        starter.write_text(
            "#!/bin/sh\n"
            f"exec '{libraries}/ld-linux-x86-64.so.2' --library-path "
            f"'{libraries}:{libraries}/llama' '{folder}/unpacked/usr/bin/{program}' \"$@\"\n",
            "utf-8",
        )
        starter.chmod(starter.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _call(words: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        raise ModelError(
            f"llama.cpp could not be fetched ({words[0]} took more than {_PATIENCE_S} s): "
            "install llama.cpp."
        ) from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise ModelError(
            f"llama.cpp could not be fetched ({words[0]}: {lines[-1][:200]}): install llama.cpp."
        )
    return done.stdout
