"""The content hash of a large file, computed once.

Reading 98 MB through SHA-256 costs 0.3 s (and ten times that without SHA instructions), so the
digest is remembered together with what changes when the file does: size, modification time in
nanoseconds, device and inode. A note that is absent, damaged or about another state of the file
is not believed; a cache folder that cannot be written only costs the time again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

from aiki_kernel.errors import ModelError


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises :class:`ModelError` when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}): check the file and its permissions."
        ) from None


def fingerprint(path: Path, cache: Path) -> str:
    """SHA-256 of ``path``, from the note in ``cache`` when the file has not changed since."""
    state = _state(path)
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:24]
    note = cache / f"{name}.sha256.json"
    known = _read(note)
    digest = known.get("sha256")
    if known.get("state") == state and isinstance(digest, str) and len(digest) == 64:
        return digest
    digest = sha256_of(path)
    if _state(path) == state:
        _write(note, {"state": state, "sha256": digest})
    return digest


def _state(path: Path) -> list[int]:
    try:
        info = path.stat()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): check the file.") from None
    return [info.st_size, info.st_mtime_ns, info.st_dev, info.st_ino]


def _read(note: Path) -> dict[str, object]:
    try:
        found = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(note: Path, content: dict[str, object]) -> None:
    # A full disk or a read-only folder is no reason not to answer: next time it is hashed again.
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".note-", dir=note.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file)
            Path(temporary).replace(note)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
