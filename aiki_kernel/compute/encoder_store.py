"""Images on disk: computed once a user, then mapped and shared by all processes.

One file an image in the user's cache folder, which may be deleted at any time: a page of
header, then the bytes as the kernels read them. The name holds what the image was made from and
the version of its layout. A file is written under another name, synced and renamed; its
words are summed at every opening (a few ms), which finds damage that leaves the size as it
was. A folder that cannot be written costs only the computing, each time again.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

_MAGIC = b"AIKIENC\n"
_FACTS = struct.Struct("=8sQQ")  # magic, bytes, sum of the words
_PAGE = 4096
LINE = 64

logger = logging.getLogger("aiki.compute")


def default_folder() -> Path:
    """``aiki-kernel/encoder`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    root = Path(base) if base else Path.home() / ".cache"
    return root / "aiki-kernel" / "encoder"


def image(folder: Path, name: str, make: Callable[[], bytearray]) -> memoryview:
    """The image ``name``, read-only and on a cache line: from disk, or made and then stored."""
    path = folder / f"{name}.image"
    found = _mapped(path)
    if found is not None:
        return found
    made = make()
    made += bytes(-len(made) % 8)
    try:
        _write(path, made)
    except OSError as error:
        logger.info("%s cannot be kept (%s): it is computed at each start", path, error.strerror)
        return aligned(made)
    return _mapped(path) or aligned(made)


def _sum(data: memoryview | bytearray) -> int:
    return int(np.frombuffer(data, np.uint64).sum(dtype=np.uint64))


def _mapped(path: Path) -> memoryview | None:
    """The stored image; None when it is absent or damaged."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _PAGE or size % 8:
                raise ValueError("wrong length")
            view = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
        body = view[_PAGE:]
        if _FACTS.unpack_from(view) != (_MAGIC, len(body), _sum(body)):
            raise ValueError("wrong sum")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s is damaged (%s): it is made again", path, error)
        return None
    return body


def _write(path: Path, body: bytearray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".image-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            head = _FACTS.pack(_MAGIC, len(body), _sum(body))
            file.write(head + bytes(_PAGE - len(head)))
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def aligned(body: bytearray) -> memoryview:
    """A copy that begins on a cache line."""
    room = np.empty(len(body) + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    room[start : start + len(body)] = np.frombuffer(body, np.uint8)
    return room[start : start + len(body)].data
