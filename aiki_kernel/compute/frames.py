"""Frames between the search server and its client, over a Unix socket pair.

A frame is a header of 12 bytes, ``AIKV``, kind, three zero bytes and the length of the body
(little-endian uint32), and a body. Only the standard library is needed here: the server
starts without NumPy.
"""

from __future__ import annotations

import socket
import struct
from enum import IntEnum

HEADER = struct.Struct("<4sB3xI")
MAGIC = b"AIKV"
LARGEST = 1 << 28  # bytes of a body

# region, capacity (0 for lists), dim, four offsets, four sizes
ATTACH = struct.Struct("<QQI4x4Q4Q")
# region, region of the lists or 0, queries, k, bitmap bytes, bytes of chosen lists, and the
# kernels' settings; bitmap, lists and queries follow
SEARCH = struct.Struct("<QQIIQQ64s")


class Kind(IntEnum):
    """What a frame asks or tells."""

    PING = 1
    DONE = 2
    ATTACH = 3  # with a descriptor: map a region, of rows or of lists
    DETACH = 4
    CONNECT = 5  # with a descriptor: serve another socket
    SEARCH = 6
    FOUND = 7  # rows (int64), then scores (float32)
    ERROR = 8  # one line of UTF-8


class FrameError(Exception):
    """What came is not a frame."""


def send(connection: socket.socket, kind: Kind, *body: bytes | memoryview) -> None:
    """Send one frame."""
    length = sum(len(part) for part in body)
    connection.sendall(b"".join([HEADER.pack(MAGIC, kind, length), *body]))


def exactly(connection: socket.socket, length: int) -> bytearray:
    """Read ``length`` bytes; EOFError when the other side is gone."""
    data = bytearray(length)
    view = memoryview(data)
    while view:
        got = connection.recv_into(view)
        if got == 0:
            raise EOFError
        view = view[got:]
    return data


def opened(header: bytes | bytearray) -> tuple[int, int]:
    """Kind and body length of a header; FrameError when it is none."""
    magic, kind, length = HEADER.unpack(header)
    if magic != MAGIC or length > LARGEST or header[5:8] != b"\0\0\0":
        raise FrameError("not a frame")
    return kind, length


def receive(connection: socket.socket) -> tuple[int, bytearray]:
    """Read one frame: kind and body."""
    kind, length = opened(exactly(connection, HEADER.size))
    return kind, exactly(connection, length)
