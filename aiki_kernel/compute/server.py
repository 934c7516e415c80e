"""The search server: native code in a process of its own, around the same kernels.

Started by :mod:`aiki_kernel.compute.server_backend` with one end of a socket pair. It maps the
client's vectors read-only, serves every connection in a thread (the kernels release the
interpreter's lock), and ends when its client does. It imports nothing heavy.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
import threading
from typing import Any

from aiki_kernel.compute import frames
from aiki_kernel.compute.frames import FrameError, Kind
from aiki_kernel.compute.native import Kernels, native

SCORE, ROW = 4, 8  # bytes of a float32 and of an int64


class Server:
    """Mapped regions and the threads that search them."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.regions: dict[int, tuple[Any, int]] = {}

    def serve(self, connection: socket.socket) -> None:
        """Answer frames until the other side closes. What is no frame is answered with an
        error frame, and the connection ends: nobody knows where the next frame starts.
        """
        with connection:
            while True:
                descriptors: list[int] = []
                try:
                    header, descriptors, _, _ = socket.recv_fds(connection, frames.HEADER.size, 1)
                    if not header:
                        return
                    header += frames.exactly(connection, frames.HEADER.size - len(header))
                    kind, length = frames.opened(header)
                    body = frames.exactly(connection, length)
                    self.answer(connection, kind, body, descriptors)
                except FrameError as error:
                    frames.send(connection, Kind.ERROR, str(error).encode())
                    return
                except (EOFError, OSError):
                    return
                finally:
                    for fd in descriptors:
                        os.close(fd)

    def answer(
        self, connection: socket.socket, kind: int, body: bytearray, descriptors: list[int]
    ) -> None:
        """Do what one frame asks; what cannot be done is answered with an error frame."""
        try:
            if kind == Kind.SEARCH:
                reply = self.search(body)
                frames.send(connection, Kind.FOUND, reply)
                return
            if kind == Kind.ATTACH:
                self.attach(body, descriptors)
            elif kind == Kind.DETACH:
                self.regions.pop(int.from_bytes(body, "little"), None)
            elif kind == Kind.CONNECT:
                other = socket.socket(fileno=descriptors.pop())
                threading.Thread(target=self.serve, args=(other,), daemon=True).start()
            elif kind != Kind.PING:
                raise ValueError(f"unknown kind {kind}")
        except OSError:
            raise  # the connection itself
        except Exception as error:
            frames.send(connection, Kind.ERROR, f"{type(error).__name__}: {error}".encode())
            return
        frames.send(connection, Kind.DONE)

    def attach(self, body: bytearray, descriptors: list[int]) -> None:
        """Map a region and bind the kernels to its four arrays, of rows or of lists."""
        region, capacity, dim, *places = frames.ATTACH.unpack(body)
        size = os.fstat(descriptors[0]).st_size
        mapped = memoryview(mmap.mmap(descriptors[0], size, access=mmap.ACCESS_READ))
        arrays = []
        for offset, length in zip(places[:4], places[4:], strict=True):
            if offset + length > size:
                raise ValueError("an array lies outside its region")
            arrays.append(mapped[offset : offset + length])
        if capacity:
            rows, codes8, scales, codes1 = arrays
            bound = self.kernels.bind(rows, codes8, scales, codes1, capacity, dim)
        else:
            heads, links, ids, codes = arrays
            bound = self.kernels.bind_lists(heads, links, ids, codes, dim)
        self.regions[region] = (bound, dim)

    def search(self, body: bytearray) -> bytes:
        """Run one search; the kernels check every length again."""
        fields = frames.SEARCH.unpack_from(body)
        region, list_region, count, k, bitmap_length, chosen_length, settings = fields
        binding, dim = self.regions[region]
        rest = memoryview(body)[frames.SEARCH.size :]
        if bitmap_length + chosen_length > len(rest) or count < 1:
            raise ValueError("a search frame of the wrong length")
        bitmap, rest = rest[:bitmap_length], rest[bitmap_length:]
        chosen, queries = rest[:chosen_length], rest[chosen_length:]
        if len(queries) != count * dim * SCORE or count * k > frames.LARGEST // (ROW + SCORE):
            raise ValueError("a search frame of the wrong length")
        rows, scores = bytearray(count * k * ROW), bytearray(count * k * SCORE)
        lists = (self.regions[list_region][0], chosen) if list_region else ()
        found = self.kernels.search(binding, settings, queries, bitmap, scores, rows, *lists)
        return found.to_bytes(8, "little", signed=True) + rows + scores


def main() -> None:
    """``python -m aiki_kernel.compute.server FD``: serve the socket with that descriptor."""
    kernels = native().kernels
    if kernels is None:
        sys.exit(native().reason)
    Server(kernels).serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)  # the client is gone: searches that still run have nobody to answer


if __name__ == "__main__":
    main()
