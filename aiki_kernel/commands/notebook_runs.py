"""Runs of a notebook: the folder of their outputs, their names by date, and which of them stay.

A run is papermill's: the notebook as it is, with its parameters, into a file of the run's own.
The file says how it went: ``.running.ipynb`` while it grows, ``.failed.ipynb`` when a cell
failed. Its date is the local time with its distance to UTC, so that the hour that autumn gives
twice has two names. A lock is held meanwhile: the outputs of a notebook never mix.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiki_kernel.commands.notebooks import packaged
from aiki_kernel.errors import AikiError, UsageError

RUNNING, FAILED = ".running.ipynb", ".failed.ipynb"
_NAME = re.compile(
    r".*-(?P<when>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)(?P<zone>[+-]\d{4})?(?:-(?P<number>\d+))?"
    r"(?:\.running|\.failed)?\.ipynb"
)
_PATIENCE_S = 20.0
"""How long a run that takes too long gets to end its kernel."""


@dataclass(frozen=True)
class Runs:
    """The outputs of one notebook: those in ``folder`` that are named as ours are. Files of
    somebody else's in there are left alone."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def outputs(self) -> list[Path]:
        """Oldest first."""
        found = [(when, path) for path in self.folder.glob("*.ipynb") if (when := _when(path))]
        return [path for _, path in sorted(found)]

    def outcome(self, output: Path) -> str:
        """How the run that wrote ``output`` went, in words."""
        if output.name.endswith(RUNNING):
            return "runs" if self._locked() else "was cut"
        return "failed" if output.name.endswith(FAILED) else "went well"

    def claim(self, source: Path) -> None:
        """Make the folder, for ``source`` alone as long as that notebook is there.

        Raises :class:`UsageError` when another notebook has the name, :class:`AikiError` when
        the folder cannot be written.
        """
        ours, owner = packaged(), self.folder / ".notebook"
        said = source.stem if ours.get(source.stem) == source else str(source)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            before = owner.read_text("utf-8") if owner.exists() else said
            if self.name in ours and said != self.name:
                before = self.name
            if before != said and (before in ours or Path(before).is_file()):
                raise UsageError(
                    f"{self.name} is the name of another notebook ({before}): "
                    "give this one its own with --name."
                )
            owner.write_text(said, "utf-8")
        except OSError as error:
            raise self._unwritable(error) from None

    def run(
        self,
        source: Path,
        parameters: Mapping[str, str],
        *,
        inside: Path,
        timeout_s: float = 0.0,
        quiet: bool = False,
    ) -> tuple[Path, int]:
        """Run ``source`` in the folder ``inside``; its output, and papermill's exit status.

        papermill's log goes to stderr; with ``quiet`` only that of a run that failed.
        """
        with self._lock():
            try:
                growing = self._fresh(datetime.now().astimezone())
                shutil.copyfile(source, growing)  # who is stopped before the first cell leaves this
            except OSError as error:
                raise self._unwritable(error) from None
            ending = FAILED
            try:
                status = _papermill(source, growing, parameters, inside, timeout_s, quiet)
                ending = FAILED if status else ".ipynb"
            finally:
                output = growing.with_name(growing.name.replace(RUNNING, ending))
                with contextlib.suppress(FileNotFoundError):
                    growing.replace(output)
        return output, status

    def keep(self, count: int) -> list[Path]:
        """Remove the oldest outputs beyond ``count``; one at least stays."""
        removed = self.outputs()[: -max(1, count)]
        for path in removed:
            path.unlink(missing_ok=True)
        return removed

    def _fresh(self, now: datetime) -> Path:
        """A name that no output has had; two runs may begin in one second."""
        stem = f"{self.name}-{now:%Y-%m-%dT%H-%M-%S%z}"
        known = {re.sub(r"(\.running|\.failed)?\.ipynb$", "", one.name) for one in self.outputs()}
        number, free = 1, stem
        while free in known:
            number += 1
            free = f"{stem}-{number}"
        return self.folder / f"{free}{RUNNING}"

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        import fcntl

        try:
            held = (self.folder / ".lock").open("w")
        except OSError as error:
            raise self._unwritable(error) from None
        with held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise AikiError(
                    f"{self.name} is running already: wait, or give this run its own --name."
                ) from None
            yield

    def _locked(self) -> bool:
        import fcntl

        try:
            with (self.folder / ".lock").open("r") as held:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def _unwritable(self, error: OSError) -> AikiError:
        return AikiError(
            f"{self.folder} cannot be written ({error.strerror}): make room there or the folder "
            "yours, or set AIKI_HOME."
        )


def unit_name(text: str) -> str:
    """``text`` as the name of a unit and a folder: ``Blåbær på fjellet`` is
    ``Blaabaer-paa-fjellet``. Raises :class:`UsageError` when nothing is left."""
    import unicodedata

    spelled = text.translate(
        {ord(a): b for a, b in zip("æøåÆØÅ", ("ae", "oe", "aa", "Ae", "Oe", "Aa"), strict=True)}
    )
    plain = unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", plain).strip("-.")
    if not name:
        raise UsageError(f"{text!r} cannot be the name of a unit: give --name letters and digits.")
    return name[:100]


def _when(output: Path) -> tuple[float, int] | None:
    """When the run of ``output`` began (seconds since 1970, number in that second)."""
    named = _NAME.fullmatch(output.name)
    if named is None:
        return None
    zone = named["zone"] or ""
    try:
        began = datetime.strptime(named["when"] + zone, f"%Y-%m-%dT%H-%M-%S{'%z' if zone else ''}")
    except ValueError:
        return None
    return began.timestamp(), int(named["number"] or 1)


def _papermill(
    source: Path,
    output: Path,
    parameters: Mapping[str, str],
    inside: Path,
    timeout_s: float,
    quiet: bool,
) -> int:
    words = [sys.executable, "-m", "papermill", "--no-progress-bar", str(source), str(output)]
    for name, value in parameters.items():
        words += ["-p", name, value]
    with contextlib.ExitStack() as stack:
        kept = (
            stack.enter_context(tempfile.TemporaryFile("w+", errors="replace")) if quiet else None
        )
        log = kept or sys.stderr  # stdout is for our one line, or JSON
        running = subprocess.Popen(words, stdout=log, stderr=log, cwd=inside)
        try:
            status = running.wait(timeout_s or None)
        except subprocess.TimeoutExpired:
            print(f"Stopped after {timeout_s:.0f} s.", file=sys.stderr)  # noqa: T201
            _end(running)
            status = 1
        except BaseException:
            _end(running)
            raise
        if kept and status:
            kept.seek(0)
            shutil.copyfileobj(kept, sys.stderr)
    return status


def _end(running: subprocess.Popen[bytes]) -> None:
    """Let papermill end its kernel, as Ctrl-C does; a deaf one is killed."""
    running.send_signal(signal.SIGINT)
    try:
        running.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
