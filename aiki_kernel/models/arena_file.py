"""Dequantised weights kept on disk, so that the next load maps them and computes nothing.

One file a model: a header of one page, then the float32 arena as it lies in memory. Its name holds
the SHA-256 of the GGUF and the version of the layout. It is mapped read-only, so processes share
its pages, which are huge ones where the system has such for files. A file is written under another
name, synced and renamed; every byte of it is summed at every load (tens of milliseconds, and the
pages are needed anyway), which finds damage that leaves size and time as they were. Whatever goes
wrong here costs only the dequantising again, and a line in the log.

A mapped file must not be cut short in place: replace or delete it, which leaves the mapping whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import mmap
import os
import shutil
import struct
import sys
import threading
from pathlib import Path
from typing import Protocol

import numpy as np

from aiki_kernel.models.engine import Floats

LAYOUT = 1  # raise it whenever the order, the padding or the meaning of the floats changes
KEEP_FREE = 2 * 10**9  # bytes of disk that are left to others
_MAGIC = b"AIKIWTS\n"
_FACTS = struct.Struct("=8sIxxxx32sQ")  # magic, layout, sha256 of the GGUF, floats
_PAGE = 4096  # of the header; the floats after it stay aligned
_BLOCK = 1 << 18  # floats a sum, 1 MiB
_CHUNK = 8 << 20  # bytes a write
_MOSTLY = 0.9  # of a file must lie in huge pages: the rest made a large model a fifth slower
_EDGES = 4 << 20  # bytes at its ends that need not

logger = logging.getLogger("aiki.models")


class Stored(Protocol):
    """Where weights may lie ready: in an :class:`ArenaFile`."""

    def map(self, floats: int) -> Floats | None: ...


class Untouched:
    """Room that nobody reads or fills: addresses, and no memory behind them. For checks."""

    def map(self, floats: int) -> Floats | None:
        return np.empty(floats, np.float32)


class ArenaFile:
    """Where the weights of one GGUF file are kept, as one array of float32."""

    def __init__(
        self, cache: Path, sha256: str, *, kind: str = "weights", layout: int = LAYOUT
    ) -> None:
        """``kind`` is the end of the file's name; ``layout`` the version of what is in it."""
        self.path = cache / f"{sha256}.v{layout}.{kind}"
        self._kind, self._layout = kind, layout
        self._part = self.path.with_name(self.path.name + ".part")
        self._sha256 = sha256

    def map(self, floats: int) -> Floats | None:
        """The stored array, read-only, (floats,); None when it is absent or cannot be believed.

        A damaged file is deleted.
        """
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != _PAGE + 4 * floats:
                    fault = f"has {size} bytes and must have {_PAGE + 4 * floats}"
                else:
                    found, whole = self._mapped(file.fileno(), size)
                    if whole and 0 < _in_huge_pages(found) < _MOSTLY * (found.nbytes - _EDGES):
                        del found  # what lies in small pages is read again, into huge ones
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                        found, whole = self._mapped(file.fileno(), size)
                    if whole:
                        return found
                    fault = "is damaged"
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("stored weights %s cannot be read: %s", self.path, error.strerror)
            return None
        logger.warning("stored weights %s: the file %s; it is made again", self.path, fault)
        with contextlib.suppress(OSError):  # a read-only folder: not believed next time either
            self.path.unlink()
        return None

    def _mapped(self, descriptor: int, size: int) -> tuple[Floats, bool]:
        """The array in an open file of the right size, and whether it is what was stored."""
        view = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        _ask_for_huge_pages(view)
        found: Floats = np.frombuffer(view, np.float32, -1, _PAGE)
        return found, view[:_PAGE] == self._header(found)

    def write_later(self, room: Floats) -> threading.Thread:
        """Store ``room``, which nobody changes any more, in a thread that yields to the rest."""
        thread = threading.Thread(
            target=self._write_quietly, args=(room,), name="aiki-weights", daemon=True
        )
        thread.start()
        return thread

    def write(self, room: Floats) -> bool:
        """Store ``room``; False when it is there already or another process is at it.

        Raises :class:`OSError`; what was stored before is then untouched.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self._part, flags, 0o600), "wb", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            # Whoever held the lock before may have renamed this very file into place.
            if self.path.exists() or not _is_at(file.fileno(), self._part):
                if _is_at(file.fileno(), self._part):
                    self._part.unlink()
                return False
            try:
                self._fill(file.fileno(), room)
            except OSError:
                self._part.unlink(missing_ok=True)
                raise
            self._part.replace(self.path)
        self._remove_older()
        return True

    def _fill(self, descriptor: int, room: Floats) -> None:
        os.ftruncate(descriptor, 0)  # what a process that was killed left behind
        free = shutil.disk_usage(self.path.parent).free
        if free - room.nbytes < KEEP_FREE:
            raise OSError(
                0, f"{room.nbytes / 1e9:.1f} GB needed, {free / 1e9:.1f} GB of disk are free"
            )
        for data in (memoryview(self._header(room)), room.data.cast("B")):
            done = 0
            while done < len(data):
                done += os.write(descriptor, data[done : done + _CHUNK])
        os.fsync(descriptor)
        # Written in pieces, it lies in the cache in small pages. Forgotten there, it is read
        # again in huge ones by whoever maps it first.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def _write_quietly(self, room: Floats) -> None:
        if sys.platform == "linux":  # there a niceness belongs to the thread alone
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
        try:
            if self.write(room):
                logger.info("stored weights as %s", self.path)
        except OSError as error:
            logger.warning(
                "weights are not stored in %s (%s): every load computes them again",
                self.path.parent,
                error.strerror,
            )

    def _remove_older(self) -> None:
        """Files of the same model in other layouts; processes that map them keep them."""
        for other in self.path.parent.glob(f"{self._sha256}.v*.{self._kind}*"):
            if other not in (self.path, self._part):
                with contextlib.suppress(OSError):
                    other.unlink()

    def _header(self, room: Floats) -> bytes:
        """Facts, and a SHA-256 over them and the sums of all blocks; filled up to a page."""
        facts = _FACTS.pack(_MAGIC, self._layout, bytes.fromhex(self._sha256), len(room))
        digest = hashlib.sha256(facts)
        for start in range(0, len(room), _BLOCK):
            words = room[start : start + _BLOCK].view(np.uint64)
            digest.update(int(np.add.reduce(words)).to_bytes(8, "little"))
        return (facts + digest.digest()).ljust(_PAGE, b"\0")


def _ask_for_huge_pages(view: mmap.mmap) -> None:
    """Read the file into huge pages, if this system has them for files: every token reads all of
    the weights, and with pages of 4 KB a fifth of that time is spent on finding them.
    """
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them: small pages then
            view.madvise(mmap.MADV_HUGEPAGE)


def _in_huge_pages(found: Floats) -> int:
    """Bytes of a mapped array that huge pages hold; 0 where the system does not say."""
    place, here = found.ctypes.data, False
    try:
        with Path("/proc/self/smaps").open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                first, _, rest = line.partition(" ")
                if first.startswith("FilePmdMapped") and here:
                    return int(rest.split()[0]) * 1024
                start, dash, end = first.partition("-")
                if dash and not first.endswith(":"):
                    here = int(start, 16) <= place < int(end, 16)
    except (OSError, ValueError):
        return 0
    return 0


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
