"""The audit log: who did what to memory, models and settings, in ids and counts.

``AuditLog(paths.home / "audit.jsonl").record("memory.write", ids=[...], kinds={...})``.
Never any text of a user or a model, never a secret: a fact is a number, a name without
blanks, or a list of those; anything else is replaced by its SHA-256.

Durability: a line is in the file when :meth:`AuditLog.record` returns, so it outlives a
killed process; it is forced onto the disk by :meth:`AuditLog.sync` (the daemon, once a
second; everybody at exit), so a power cut may take the last second. One append costs some
tens of microseconds and no disk access. Many processes append at once: an ``flock`` orders
them, and ``audit.head`` hands the chain on. What cannot be written never stops the work; it
is counted, shown by :attr:`AuditLog.error`, and told by the next line that can be.

Events: ``model.call`` ``model.serve`` ``memory.write`` ``memory.update`` ``memory.delete``
``memory.import`` ``memory.export`` ``memory.snapshot`` ``memory.restore``
``memory.quarantine`` ``memory.release`` ``permission.refused`` ``config.change``
``secret.found`` ``daemon.start`` ``audit.recovered`` ``audit.missed``.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiki_kernel.safety import audit_chain
from aiki_kernel.safety.audit_chain import FORMAT, NOTHING, Head, Verdict, read_line, seal
from aiki_kernel.safety.same_file import same_file
from aiki_kernel.safety.secrets import find

_log = logging.getLogger(__name__)

LARGEST = 8 << 20
"""Bytes at which a file is rotated away."""
KEPT = 16
"""How many rotated files are kept; the head remembers where the oldest begins."""

_NAME = re.compile(r"[^\s\"\x00-\x1f\x7f-\x9f]{0,160}")
_PLAIN = re.compile(r"[0-9a-f-]{32,36}|[\w.:+-]{0,15}|\d{4}-\d\d-\d\d[\w:.+-]*", re.ASCII)
_MOST_ITEMS = 64
_LONGEST_TORN = 4096


class AuditLog:
    """The log at ``path``. Thread-safe, and safe among processes; survives a fork."""

    def __init__(self, path: Path, *, largest: int = LARGEST, kept: int = KEPT) -> None:
        self.path = path
        self.largest = largest
        self.kept = kept
        self.error = ""
        self.missed = 0
        self._lock = threading.Lock()
        self._pid = 0
        self._file = self._head = -1

    def record(self, event: str, **facts: Any) -> None:
        """Append one line. Never raises for what the disk refuses (see :attr:`error`)."""
        body = {name: _fact(value) for name, value in facts.items() if value is not None}
        with self._lock:
            try:
                with self._alone() as head:
                    if self.missed:
                        head = self._append(head, "audit.missed", {"count": self.missed})
                        self.missed = 0
                    self._append(head, event, body)
                self.error = ""
            except OSError as error:
                self.missed += 1
                if not self.error:
                    _log.warning("the audit log %s cannot be written: %s", self.path, error)
                self.error = f"{self.path} cannot be written ({error.strerror or error})."

    def sync(self) -> None:
        """Force what anybody wrote onto the disk. Does nothing when nothing was."""
        with self._lock:
            before = audit_chain.head_of(self.path)
            if before is None or before.seq == before.synced:
                return
            with contextlib.suppress(OSError):  # the next record says what is wrong
                with self._alone():
                    file = os.dup(self._file)
                try:
                    os.fdatasync(file)  # without the lock: it may take milliseconds
                finally:
                    os.close(file)
                with self._alone() as head:
                    if head.seq >= before.seq > head.synced:
                        os.pwrite(self._head, replace(head, synced=before.seq).encode(), 0)

    def verify(self, *, expect: str = "") -> Verdict:
        """Check the whole chain while nobody writes. Raises ``OSError`` where it is unreadable."""
        if not self.path.parent.exists():
            return Verdict(0, 0, NOTHING)
        with self._lock:
            if not audit_chain.files(self.path) and not self._head_path.exists():
                return Verdict(0, 0, NOTHING)
            handle = os.open(self._head_path, os.O_RDONLY) if self._head_path.exists() else -1
            try:
                if handle >= 0:
                    fcntl.flock(handle, fcntl.LOCK_SH)
                return audit_chain.verify(self.path, expect=expect)
            finally:
                if handle >= 0:
                    os.close(handle)

    def recent(self, limit: int = 50, *, event: str = "") -> list[dict[str, Any]]:
        """The newest lines, newest first; ``event`` (or how it begins) chooses."""
        found: list[dict[str, Any]] = []
        for file in reversed(audit_chain.files(self.path)):
            for raw in reversed(file.read_bytes().splitlines()):
                line = read_line(raw)
                if line is not None and str(line["event"]).startswith(event):
                    found.append(line)
                    if len(found) == limit:
                        return found
        return found

    def close(self) -> None:
        """Force everything out and let go of the files; a later record opens them again."""
        self.sync()
        with self._lock:
            self._drop()

    def __del__(self) -> None:
        if contextlib is not None:  # at the end of a process modules go first, files by themselves
            self._drop()

    # --- inside ---------------------------------------------------------------------------

    @property
    def _head_path(self) -> Path:
        return self.path.with_suffix(".head")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Head]:
        """Hold the lock among processes; yields the head, put right if a writer was killed."""
        if self._pid != os.getpid():
            # After a fork both would share one lock: each process opens its own.
            self._drop()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._head = _open(self._head_path, os.O_RDWR)
            self._file = _open(self.path, os.O_RDWR | os.O_APPEND)
            self._pid = os.getpid()
        while True:
            fcntl.flock(self._head, fcntl.LOCK_EX)
            if same_file(self._head, self._head_path):
                break
            os.close(self._head)  # somebody removed the file under us
            self._head = _open(self._head_path, os.O_RDWR)
        try:
            if not same_file(self._file, self.path):
                os.close(self._file)
                self._file = _open(self.path, os.O_RDWR | os.O_APPEND)
            yield self._known_head()
        finally:
            fcntl.flock(self._head, fcntl.LOCK_UN)

    def _known_head(self) -> Head:
        raw = os.pread(self._head, 512, 0)
        size = os.fstat(self._file).st_size
        head = Head.decode(raw)
        if head is not None and head.size == size:
            return head
        if head is None:
            if not size and not raw and len(audit_chain.files(self.path)) < 2:
                return Head()
            return self._without_head(size)
        return self._caught_up(head, size)

    def _caught_up(self, head: Head, size: int) -> Head:
        """Take in lines whose writer was killed before it wrote the head; cut a torn one off."""
        at = head.size if head.size <= size else self._begun(head, size)
        tail = os.pread(self._file, size - at, at)
        for raw in tail.splitlines(keepends=True):
            line = read_line(raw) if raw.endswith(b"\n") else None
            if line is None or line["prev"] != head.sha256:
                break
            at += len(raw)
            head = replace(head, seq=line["seq"], sha256=line["sha256"], size=at)
        if at < size:
            return self._cut(replace(head, size=at), os.pread(self._file, size - at, at))
        # Lines that the head knows may be gone: the chain goes on from the head and shows it.
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            size += os.write(self._file, b"\n")
        return replace(head, size=size)

    def _begun(self, head: Head, size: int) -> int:
        """Where to look in a file that is shorter than the head says: at its beginning if a killed
        writer had begun it (its first line is torn, or goes on from the head), else at its end."""
        first, newline, _ = os.pread(self._file, size, 0).partition(b"\n")
        line = read_line(first) if newline else None
        return 0 if not newline or (line and line["prev"] == head.sha256) else size

    def _cut(self, head: Head, torn: bytes) -> Head:
        whole = torn.endswith(b"\n")
        if whole:  # a strange line, not half of ours: it stays, and is found by verify
            return replace(head, size=head.size + len(torn))
        strange, _, half = torn.rpartition(b"\n")
        keep = head.size + (len(strange) + 1 if strange else 0)
        os.ftruncate(self._file, keep)
        facts = {
            "why": "torn",
            "bytes": len(half),
            "sha256": hashlib.sha256(half).hexdigest(),
            "half": half[:_LONGEST_TORN].decode("ascii", "replace"),
        }
        return self._append(replace(head, size=keep), "audit.recovered", facts)

    def _without_head(self, size: int) -> Head:
        """Nobody knows how long the log was: go on from its last line, and say so in it."""
        first, last = None, None
        for file in audit_chain.files(self.path):
            for _, raw in audit_chain.lines(file):
                line = read_line(raw)
                first, last = first or line, line or last
        head = Head(size=size)
        if first is not None and last is not None:
            head = Head(last["seq"], last["sha256"], size, first["seq"], first["prev"])
        return self._append(head, "audit.recovered", {"why": "head"})

    def _append(self, head: Head, event: str, facts: Mapping[str, Any]) -> Head:
        if head.size >= self.largest:
            head = self._rotate(head)
        line, digest = seal(
            {
                "v": FORMAT,
                "seq": head.seq + 1,
                "at": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
                "pid": os.getpid(),
                "event": event,
                "facts": facts,
                "prev": head.sha256,
            }
        )
        written = os.write(self._file, line)
        if written != len(line):
            os.ftruncate(self._file, head.size)
            raise OSError(28, "no space left")
        head = replace(head, seq=head.seq + 1, sha256=digest, size=head.size + len(line))
        os.pwrite(self._head, head.encode(), 0)
        return head

    def _rotate(self, head: Head) -> Head:
        """Begin a new file; of those beyond ``kept`` the head keeps where the next begins."""
        os.fdatasync(self._file)
        first = next((read_line(raw) for _, raw in audit_chain.lines(self.path)), None)
        number = first["seq"] if first else head.seq
        self.path.rename(self.path.with_name(f"{self.path.stem}-{number:012d}{self.path.suffix}"))
        os.close(self._file)
        self._file = _open(self.path, os.O_RDWR | os.O_APPEND)
        head = replace(head, size=0)
        older = audit_chain.files(self.path)[:-1]
        for old in older[: max(len(older) - self.kept, 0)]:
            last = None
            for _, raw in audit_chain.lines(old):
                last = read_line(raw) or last
            if last is not None:
                head = replace(head, first=last["seq"] + 1, before=last["sha256"])
            # The head first: a kill in between leaves lines too many, not too few.
            os.pwrite(self._head, head.encode(), 0)
            old.unlink()
        return head

    def _drop(self) -> None:
        for handle in (self._file, self._head):
            if handle >= 0:
                with contextlib.suppress(OSError):
                    os.close(handle)
        self._file = self._head = -1
        self._pid = 0


@functools.lru_cache(maxsize=64)
def audit_of(home: Path) -> AuditLog:
    """The log of an ``AIKI_HOME``: one object a process."""
    return AuditLog(home / "audit.jsonl")


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _fact(value: Any) -> Any:
    """``value`` as it may stand in the log."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 9) if abs(value) < float("inf") else str(value)
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) or (_NAME.fullmatch(value) and not find(value)):
            return value
        return "sha256:" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    if isinstance(value, Mapping):
        some = list(value.items())[:_MOST_ITEMS]
        return {str(_fact(str(name).replace(" ", "_"))): _fact(inner) for name, inner in some}
    items = list(value)
    kept = [_fact(item) for item in items[:_MOST_ITEMS]]
    return kept if len(items) <= _MOST_ITEMS else [*kept, f"+{len(items) - _MOST_ITEMS}"]
