"""An index on disk: one file beside the store, mapped into memory, never trusted blindly.

===============  ===============================================================
bytes 0 to 4095  ``AIKIVEC1``, length and BLAKE2b of a JSON header, the header
from 4096        the arrays of :mod:`aiki_kernel.compute.parts`, with room to grow
after them       one byte a row, 1 for alive; then the caller's own bytes, as many a row
from a page on   the coarse index, if there is one (:mod:`aiki_kernel.compute.lists_file`)
===============  ===============================================================

The header names version, shape, metric, a ``stamp`` by which the caller knows its store's
state, and a checksum of every section. A file that is cut, changed, of another version or
with another stamp raises :class:`IndexFileError`; whoever asked builds the index anew. The
mapping is private: changes stay in memory until :func:`save` puts a new file in place.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute import lists_file
from aiki_kernel.compute.backend import Snapshot
from aiki_kernel.compute.errors import VectorError
from aiki_kernel.compute.index import VectorIndex
from aiki_kernel.compute.parts import BLOCK, PAGE, Layout, Parts, Region, parts_in, round_up

MAGIC = b"AIKIVEC1"
VERSION = 1
KEY = 16  # bytes a row that the caller keeps, where the header does not say
WORDS = 1 << 17  # 1 MiB: the pieces that a checksum is made of


class IndexFileError(VectorError):
    """A file that cannot be used; the index must be built from the store."""


@dataclass(frozen=True)
class Loaded:
    """An index from a file, and the caller's bytes, ``(size, width)``, as they were given."""

    index: VectorIndex
    keys: NDArray[np.uint8]


def checksum(data: NDArray[Any]) -> str:
    """A fingerprint at the speed of memory: the 64-bit sum of every MiB, hashed in order.

    It finds damage and mix-ups; it does not keep out somebody who wants to fool it.
    """
    flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    words = flat[: len(flat) // 8 * 8].view(np.uint64)
    whole = len(words) // WORDS * WORDS
    digest = hashlib.blake2b(len(flat).to_bytes(8, "little"), digest_size=16)
    digest.update(np.add.reduce(words[:whole].reshape(-1, WORDS), axis=1).tobytes())
    digest.update(words[whole:].tobytes())
    digest.update(flat[len(words) * 8 :].tobytes())
    return digest.hexdigest()


def pieces(parts: Parts, layout: Layout, n: int) -> list[tuple[int, NDArray[Any]]]:
    """The arrays of ``n`` rows and where they start in a file of this layout."""
    filled: list[NDArray[Any]] = [parts.rows[:n]]
    if layout.coded:
        blocks = (n + BLOCK - 1) // BLOCK * BLOCK * layout.groups
        filled += [parts.codes8[:n], parts.scales[:n], parts.codes1[:blocks]]
    return [(PAGE + at, array) for at, array in zip(layout.offsets(), filled, strict=False)]


def save(
    path: Path,
    index: VectorIndex,
    *,
    stamp: str,
    keys: NDArray[np.uint8],
    state: Snapshot | None = None,
) -> None:
    """Write the index in place of ``path``, in one step: a crash leaves the old file.

    ``keys`` is ``(rows, width)`` bytes of the caller's own. ``state`` is an earlier
    snapshot of ``index``; a row that is overwritten while this runs spoils the file, which
    :func:`load` then refuses. The file has room for a quarter more rows, which take no
    space on disk until they come.
    """
    state = state or index.snapshot
    keys = np.ascontiguousarray(keys, np.uint8)
    if keys.ndim != 2 or len(keys) != state.n:
        raise VectorError(f"Keys are {state.n} rows of bytes, not {keys.shape}.")
    width = keys.shape[1]
    coded = index.coded
    layout = Layout(state.dim, round_up(max(BLOCK, state.n + state.n // 4), BLOCK), coded)
    alive = np.ones(state.n, np.uint8) if state.alive is None else state.alive.view(np.uint8)
    written = pieces(state.parts, layout, state.n)
    if coded:  # rows that come meanwhile change the last block of sign bits
        at, signs = written[-1]
        written[-1] = (at, signs.copy())
    written += [(PAGE + layout.total(), alive), (PAGE + layout.total() + state.n, keys)]
    end = PAGE + layout.total() + state.n * (1 + width)
    coarse = index.coarse_of(state)
    if coarse is not None:
        start = round_up(end, PAGE)
        written += lists_file.pieces(coarse, start)
        end = lists_file.end_of(coarse.parts.layout, coarse.used, start)
    header = json.dumps(
        {
            "version": VERSION,
            "dim": state.dim,
            "capacity": layout.capacity,
            "n": state.n,
            "coded": coded,
            "metric": state.metric,
            "longest": state.longest,
            "stamp": stamp,
            "key": width,
            "lists": None if coarse is None else lists_file.described(coarse),
            "sums": [checksum(section) for _, section in written],
        }
    ).encode()
    if len(header) > PAGE - 64:
        raise VectorError("The stamp of an index file is at most about 3,000 characters.")
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("wb") as file:
            file.write(MAGIC + len(header).to_bytes(8, "little"))
            file.write(hashlib.blake2b(header, digest_size=16).digest() + header)
            for offset, section in written:
                file.seek(offset)
                file.write(section.data if section.size else b"")
            file.truncate(end)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _header(data: mmap.mmap, path: Path) -> dict[str, Any]:
    length = int.from_bytes(data[8:16], "little")
    text = data[32 : 32 + length]
    if data[:8] != MAGIC or length > PAGE - 64:
        raise IndexFileError(f"{path.name} is no index file of this version.")
    if hashlib.blake2b(text, digest_size=16).digest() != data[16:32]:
        raise IndexFileError(f"{path.name} has a damaged header.")
    header: dict[str, Any] = json.loads(text)
    if header["version"] != VERSION:
        raise IndexFileError(f"{path.name} has version {header['version']}, not {VERSION}.")
    return header


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < PAGE:
                raise IndexFileError(f"{path.name} is cut short.")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise IndexFileError(f"{path.name} cannot be read: {error.strerror}.") from None


def stamp_of(path: Path) -> str:
    """The stamp that a file carries; the rest of it is not looked at. Raises IndexFileError."""
    return str(_header(_mapped(path), path)["stamp"])


def load(path: Path, *, stamp: str, backend: str = "auto") -> Loaded:
    """Map a file and check all of it. Raises IndexFileError, with the reason, when it is
    missing, damaged or made for another state of the store.
    """
    data = _mapped(path)
    header = _header(data, path)
    if header["stamp"] != stamp:
        raise IndexFileError(f"{path.name} is older or newer than the store.")
    n, width = header["n"], header.get("key", KEY)
    layout = Layout(header["dim"], header["capacity"], header["coded"])
    lists = header.get("lists")
    end = PAGE + layout.total() + n * (1 + width)
    start = round_up(end, PAGE)
    if lists is not None:
        shape = lists_file.layout_in(lists, layout.dim)
        end = lists_file.end_of(shape, lists["used"], start)
    if len(data) != end or n > layout.capacity:
        raise IndexFileError(f"{path.name} is cut short.")
    parts = parts_in(Region(data), layout, PAGE)
    tail = np.frombuffer(data, np.uint8, n * (1 + width), PAGE + layout.total())
    alive, keys = tail[:n], tail[n:].reshape(n, width)
    sections = [section for _, section in pieces(parts, layout, n)] + [alive, keys]
    if lists is not None:
        sections += lists_file.sections(data, shape, lists["used"], start)
    if [checksum(section) for section in sections] != header["sums"]:
        raise IndexFileError(f"{path.name} is damaged.")
    index = VectorIndex.over(
        parts,
        n,
        header["metric"],
        alive=alive.astype(np.bool_),
        longest=header["longest"],
        lists=None if lists is None else lists_file.restored(data, lists, layout.dim, start),
        backend=backend,
    )
    return Loaded(index, keys)
