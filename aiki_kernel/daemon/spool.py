"""The spool: turns that wait on disk for a memory that is away.

One file a turn in ``AIKI_HOME/spool``. A turn is acknowledged only when its file is
durable: written beside its final name, fsynced, renamed, and the folder fsynced. Names
sort by the time of spooling and end in a digest of the turn's id, so a turn is never
spooled twice and replay keeps the order. The file goes only after the store has
acknowledged the turn, and the store is idempotent by turn id: a crash between the two
replays into nothing new. A file that cannot be read is moved to ``spool/bad``, never
deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiki_kernel.daemon.wire import encode
from aiki_kernel.errors import StoreError
from aiki_kernel.memory.records import Turn

_FIRST_RETRY_S = 2.0
_LONGEST_RETRY_S = 300.0
_FAILURES_PER_PASS = 3


@dataclass(frozen=True)
class Replayed:
    """What one pass over the spool did. ``error`` is the last refusal, if any."""

    stored: int = 0
    waiting: int = 0
    bad: int = 0
    error: str = ""


class Spool:
    """The folder of waiting turns. Safe for many processes that put and one that replays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._retry: dict[str, tuple[float, float]] = {}

    def put(self, turn: Turn) -> Path:
        """Make ``turn`` durable and return its file.

        Raises :class:`StoreError` with one line when the disk refuses; the turn is then
        not acknowledged and leaves no file behind.
        """
        data = encode(turn.to_json())
        digest = _digest(turn.id)
        moment = time.time_ns()
        temporary = self.folder / f".{digest}.{os.getpid()}.{moment}.tmp"
        final = self.folder / f"{moment:020d}-{digest}.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            known = self._files_of(turn.id)
            if known:
                return known[0]
            with temporary.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(final)
            _sync_folder(self.folder)
        except OSError as error:
            for leftover in (temporary, final):
                with contextlib.suppress(OSError):
                    leftover.unlink()
            raise StoreError(
                f"This turn was not remembered: {self.folder} cannot be written "
                f"({error.strerror or error}); make room there and send the message again."
            ) from None
        return final

    def discard(self, turn_id: str) -> None:
        """Forget a waiting turn that a stored one has replaced."""
        for path in self._files_of(turn_id):
            path.unlink(missing_ok=True)

    def waiting(self) -> list[Path]:
        """The waiting files, oldest first."""
        try:
            names = [entry.name for entry in os.scandir(self.folder) if entry.is_file()]
        except OSError:
            return []
        return [
            self.folder / name
            for name in sorted(names)
            if name.endswith(".json") and not name.startswith(".")
        ]

    def bad(self) -> list[Path]:
        """Files that could not be read, kept for a person to look at."""
        try:
            return sorted(
                Path(entry.path)
                for entry in os.scandir(self.folder / "bad")
                if not entry.name.endswith(".txt")
            )
        except OSError:
            return []

    def sweep(self) -> None:
        """Remove what a crash in :meth:`put` left behind: it was never acknowledged."""
        hour_ago = time.time() - 3600
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.folder):
                if entry.name.endswith(".tmp") and entry.stat().st_mtime < hour_ago:
                    Path(entry.path).unlink(missing_ok=True)

    def due(self) -> bool:
        """Whether a replay has anything to try now."""
        now = time.monotonic()
        return any(self._retry.get(path.name, (0.0, 0.0))[0] <= now for path in self.waiting())

    def hurry(self) -> None:
        """The store is back: forget the waiting times of earlier refusals."""
        self._retry.clear()

    def replay(self, remember: Callable[[Turn], object]) -> Replayed:
        """Give every due turn to ``remember`` and remove its file once that returned.

        A refused turn stays and is tried again later, after twice the time; three refusals
        in a row end the pass, because then it is the store that is away.
        """
        stored = failed = 0
        error = ""
        now = time.monotonic()
        for path in self.waiting():
            due, delay = self._retry.get(path.name, (0.0, _FIRST_RETRY_S))
            if due > now:
                continue
            turn = self._read(path)
            if turn is None:
                continue
            try:
                remember(turn)
            except Exception as refusal:
                error = str(refusal) or type(refusal).__name__
                self._retry[path.name] = (
                    time.monotonic() + delay,
                    min(2 * delay, _LONGEST_RETRY_S),
                )
                failed += 1
                if failed >= _FAILURES_PER_PASS:
                    break
                continue
            failed = 0
            stored += 1
            path.unlink(missing_ok=True)
            self._retry.pop(path.name, None)
            if turn.replaces:
                self.discard(turn.replaces)
        if stored:
            with contextlib.suppress(OSError):
                _sync_folder(self.folder)
        return Replayed(stored, len(self.waiting()), len(self.bad()), error)

    def _read(self, path: Path) -> Turn | None:
        """The turn in ``path``; None when it is gone or damaged (then it lies in ``bad``)."""
        try:
            data = json.loads(path.read_text("utf-8"))
            if not isinstance(data, dict):
                raise TypeError("not a JSON object")
            turn = Turn.from_json(data)
            if not all(isinstance(getattr(turn, k), str) for k in _TEXT_FIELDS):
                raise TypeError("a field has the wrong type")
        except FileNotFoundError:
            return None
        except OSError as error:
            self.notes.append(f"{path.name}: {error.strerror}")
            return None
        except (ValueError, TypeError) as error:
            self._set_aside(path, str(error))
            return None
        return turn

    def _set_aside(self, path: Path, cause: str) -> None:
        folder = self.folder / "bad"
        folder.mkdir(exist_ok=True, mode=0o700)
        target = folder / path.name
        path.rename(target)
        note = f"{path.name} is damaged ({cause}) and was moved to {folder}."
        (folder / f"{path.name}.txt").write_text(note + "\n", "utf-8")
        _sync_folder(folder)
        self.notes.append(note)

    def _files_of(self, turn_id: str) -> list[Path]:
        ending = f"-{_digest(turn_id)}.json"
        return [path for path in self.waiting() if path.name.endswith(ending)]


_TEXT_FIELDS = (
    "id",
    "user_id",
    "session_id",
    "question",
    "answer",
    "model",
    "created_at",
    "previous",
)


def _digest(turn_id: str) -> str:
    return hashlib.sha256(turn_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
