"""The audit log's format: one JSON object a line, each bound to the line before it.

A line is the canonical JSON (keys sorted, no blanks, ASCII) of ``v`` (format), ``seq``,
``at`` (ISO-8601, UTC), ``pid``, ``event``, ``facts`` and ``prev``, the SHA-256 of the line
before; its own SHA-256 over that text stands last, under ``sha256``. So a line that was
changed, removed, added or moved breaks the chain where it stands. Beside the file lies
``audit.head`` with the number and the SHA-256 of the last line, which a removed tail
contradicts. Nobody's key is in it: whoever may write all these files could forge them all,
so whoever has to prove more keeps a head elsewhere and asks for it (``expect``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
NOTHING = "0" * 64
"""What the very first line is bound to."""

_FIELDS = {"v", "seq", "at", "pid", "event", "facts", "prev"}
_LARGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Head:
    """The last line written: its number and hash, the size of its file in bytes.

    ``first`` and ``before`` are the number of the oldest line kept and the hash it is bound
    to; lines up to ``synced`` were forced onto the disk.
    """

    seq: int = 0
    sha256: str = NOTHING
    size: int = 0
    first: int = 1
    before: str = NOTHING
    synced: int = 0

    def encode(self) -> bytes:
        """512 bytes, so that one write replaces it whole."""
        text = json.dumps({"v": FORMAT, **self.__dict__}, separators=(",", ":"))
        return text.encode().ljust(511) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Head | None:
        """The reverse; None for what is no head."""
        try:
            found = json.loads(data)
            if found.pop("v") != FORMAT or set(found) != set(cls.__dataclass_fields__):
                return None
            texts = all(isinstance(found[name], str) for name in ("sha256", "before"))
            numbers = all(type(found[name]) is int for name in ("seq", "size", "first", "synced"))
        except (ValueError, AttributeError, KeyError):
            return None
        return cls(**found) if texts and numbers else None


def seal(body: Mapping[str, Any]) -> tuple[bytes, str]:
    """The line of ``body`` with its newline, and its SHA-256."""
    text = _canonical(body)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text[:-1]},"sha256":"{digest}"}}\n'.encode(), digest


def read_line(line: bytes) -> dict[str, Any] | None:
    """What a line says, with ``sha256``; None unless it is whole and as it was written."""
    try:
        found = json.loads(line)
        digest = found.pop("sha256")
        if set(found) != _FIELDS or not isinstance(found["facts"], dict):
            return None
        if type(found["seq"]) is not int or found["v"] != FORMAT:
            return None
        again, expected = seal(found)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
    if digest != expected or again.rstrip(b"\n") != line.rstrip(b"\n"):
        return None
    return {**found, "sha256": digest}


@dataclass(frozen=True)
class Fault:
    """Where the chain is broken: the file, its line (from 1), and what is wrong there."""

    file: str
    line: int
    problem: str

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "line": self.line, "problem": self.problem}


@dataclass(frozen=True)
class Verdict:
    """What a verification found. ``notes`` are recoveries that break nothing."""

    lines: int
    files: int
    head: str
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        return {
            "whole": not self.faults,
            "lines": self.lines,
            "files": self.files,
            "head": self.head,
            "faults": [fault.to_json() for fault in self.faults],
            "notes": list(self.notes),
        }


def files(path: Path) -> list[Path]:
    """The log's files, oldest first: those that were rotated away, then the present one."""
    older = sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"))
    return [*older, path] if path.exists() else older


def head_of(path: Path) -> Head | None:
    """The head record beside ``path``; None where there is none that can be read."""
    try:
        return Head.decode(path.with_suffix(".head").read_bytes())
    except OSError:
        return None


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers; one too long to be ours is cut short."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LARGEST_LINE):
            number += 1
            yield number, line


def verify(path: Path, *, expect: str = "", most: int = 20) -> Verdict:
    """Follow the chain through all files; at most ``most`` faults are named.

    ``expect`` is the SHA-256 of a line that has to be there still (a head noted earlier).
    Take the log's lock first where somebody may be writing.
    """
    head = head_of(path)
    found = files(path)
    faults: list[Fault] = []
    notes: list[str] = []
    count, last = 0, (head.first - 1 if head else 0)
    bound = head.before if head else NOTHING
    seen = not expect
    name, number = path.name, 0
    for file in found:
        name, number = file.name, 0
        for number, raw in lines(file):
            count += 1
            line = read_line(raw)
            if line is None:
                torn = not raw.endswith(b"\n") and file == path and head is not None
                if torn and head is not None and head.seq <= last:
                    notes.append(f"{name} ends in half a line that nobody acknowledged.")
                else:
                    faults.append(Fault(name, number, "was changed, or is no line of this log"))
                    bound = ""
                continue
            at: int = line["seq"]
            if head is not None and at < head.first:
                continue  # its file was to be dropped when the writer was killed
            if at > last + 1 and bound:
                gone = f"{last + 1}" if at == last + 2 else f"{last + 1} to {at - 1}"
                faults.append(Fault(name, number, f"stands where number {gone} was removed"))
            elif at <= last:
                faults.append(Fault(name, number, f"number {at} stands in the wrong place"))
            elif bound and line["prev"] != bound:
                faults.append(Fault(name, number, "does not follow from the line before it"))
            if line["event"] == "audit.recovered":
                _recovered(line, Fault(name, number, ""), faults, notes)
            last, bound = at, line["sha256"]
            seen = seen or bound == expect
    if head is None and found:
        faults.append(Fault(name, number, "is the last, but audit.head, which knows, is missing"))
    if head is not None and head.seq > last:
        tail = head.seq - last
        cause = "removed" if last < head.synced else "removed, or lost in a power cut"
        faults.append(Fault(name, number, f"is followed by {tail} lines that were {cause}"))
    elif head is not None and head.seq == last and bound and bound != head.sha256:
        faults.append(Fault(name, number, "is not the last line that was written"))
    if not seen:
        faults.append(Fault(name, number, f"ends a log without the line {expect[:16]}"))
    return Verdict(count, len(found), bound, tuple(faults[:most]), tuple(notes))


def _recovered(line: Mapping[str, Any], at: Fault, faults: list[Fault], notes: list[str]) -> None:
    why = str(line["facts"].get("why", ""))
    if why == "torn":
        notes.append(f"{at.file} line {at.line} took over after half a line ({line['at']}).")
    elif why == "head":
        problem = "was written when audit.head was missing: lines before it may be gone"
        faults.append(Fault(at.file, at.line, problem))


def _canonical(body: Mapping[str, Any]) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
