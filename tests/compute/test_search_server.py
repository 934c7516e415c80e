"""The search server dies, hangs and is fed nonsense; its client always answers."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from compute_suite import sentence_like

from aiki_kernel.compute import frames
from aiki_kernel.compute.frames import Kind
from aiki_kernel.compute.index import VectorIndex
from aiki_kernel.compute.mojo_backend import SETTINGS
from aiki_kernel.compute.native import native
from aiki_kernel.compute.server import Server
from aiki_kernel.compute.server_backend import ServerBackend

pytestmark = pytest.mark.skipif(native().kernels is None, reason=native().reason)


@pytest.fixture
def served() -> Iterator[tuple[VectorIndex, ServerBackend, np.ndarray]]:
    rows = sentence_like(20000, 384)
    index = VectorIndex(384, backend="mojo-server")
    index.append(rows)
    backend = index._made["mojo-server"]
    assert isinstance(backend, ServerBackend)
    yield index, backend, rows
    index.close()


@pytest.mark.slow
def test_killed_fifty_times_at_random_moments(served) -> None:
    index, backend, rows = served
    right = index.search(rows[:40], 5, method="exact").rows
    random.seed(5)
    fallbacks = 0
    for round_ in range(50):
        index.search(rows[0], 1)
        pid = backend.pid
        assert pid
        delay = random.random() * 0.02
        killer = threading.Timer(delay, os.kill, (pid, signal.SIGKILL))
        killer.start()
        until = time.perf_counter() + delay + 0.005
        while time.perf_counter() < until:
            found = index.search(rows[:40], 5, method="exact")
            assert found.rows.tolist() == right.tolist(), round_
            fallbacks += bool(backend.note)
            if backend.note:
                assert "NumPy answered" in backend.note
        killer.join()
        assert index.search(rows[:40], 5, method="exact").rows.tolist() == right.tolist()
    index.search(rows[0], 1)
    index.search(rows[0], 1)
    assert not backend.note
    assert backend.starts > 40
    assert fallbacks > 10


def test_a_hung_server_is_replaced(served) -> None:
    index, backend, rows = served
    index.search(rows[3], 1)
    process = backend._process
    assert process is not None
    for one in (process.control, *process.idle):  # short patience, but only with this one
        one.settimeout(0.3)
    os.kill(backend.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, backend.pid, os.WSTOPPED)  # the signal takes a moment to arrive
    assert index.search(rows[3], 1).rows.tolist() == [3]
    assert "NumPy answered" in backend.note
    assert index.search(rows[4], 1).rows.tolist() == [4]
    assert not backend.note


def test_rows_added_later_are_found_without_a_new_server(served) -> None:
    index, backend, rows = served
    index.search(rows[0], 1)
    for start in range(0, 3000, 500):
        new = sentence_like(500, 384, seed=100 + start)
        numbers = index.append(new)
        assert index.search(new[7], 1).rows.tolist() == [numbers[7]]
    assert backend.starts == 1
    assert len(backend._process.attached) <= 3


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 12, frames.HEADER.pack(b"AIKV", 6, 1 << 30)],
)
def test_garbage_gets_an_error_frame(garbage: bytes) -> None:
    ours, theirs = socket.socketpair()
    threading.Thread(target=Server(native().kernels).serve, args=(theirs,), daemon=True).start()
    ours.settimeout(5)
    ours.sendall(garbage)
    kind, text = frames.receive(ours)
    assert (kind, bytes(text)) == (Kind.ERROR, b"not a frame")
    with contextlib.suppress(ConnectionResetError):  # closed with our bytes unread
        assert ours.recv(1) == b""


def test_frames_that_make_no_sense_get_an_error_frame_and_serving_goes_on() -> None:
    ours, theirs = socket.socketpair()
    threading.Thread(target=Server(native().kernels).serve, args=(theirs,), daemon=True).start()
    ours.settimeout(5)
    rng = random.Random(3)
    for _ in range(300):
        kind = rng.choice([Kind.SEARCH, Kind.ATTACH, Kind.CONNECT, 99, 0])
        frames.send(ours, kind, rng.randbytes(rng.choice([0, 3, frames.SEARCH.size, 200])))
        assert frames.receive(ours)[0] == Kind.ERROR
    frames.send(ours, Kind.PING)
    assert frames.receive(ours)[0] == Kind.DONE


def test_false_sizes_over_a_real_region_are_refused(served) -> None:
    index, backend, rows = served
    index.search(rows[0], 1)
    told = [2, 20000, 5, 100, 9, 1, 1, 0]  # method, n, k, depth, few, guess, cosine, probes
    good = [index.snapshot.parts.region.number, 0, 1, 5, 0, 0]
    query = rows[0].tobytes()
    lies = [(1, 12345), (2, 3), (2, 0), (3, 0), (3, 1 << 27), (4, 5), (4, 1 << 40), (5, 1 << 40)]
    lies += [(5, 8), (0, 12345)]
    false = [(0, 9), (0, 3), (1, 1 << 40), (1, 30017), (2, 0), (2, 6), (2, 1 << 27), (3, 3)]
    false += [(3, 60000), (4, 2), (4, 70000)]
    with backend._process.connection() as connection:

        def answer(fields: list[int], settings: list[int]) -> tuple[int, bytearray]:
            packed = frames.SEARCH.pack(*fields, SETTINGS.pack(*settings))
            frames.send(connection, Kind.SEARCH, packed, query)
            return frames.receive(connection)

        for place, value in lies:
            fields = [*good]
            fields[place] = value
            assert answer(fields, told)[0] == Kind.ERROR, (place, value)
        for place, value in false:
            settings = [*told]
            settings[place] = value
            assert answer(good, settings)[0] == Kind.ERROR, (place, value)
        kind, body = answer(good, told)
        assert kind == Kind.FOUND
        assert struct.unpack_from("<qq", body) == (5, 0)


def test_four_threads_and_a_fork_share_nothing_they_should_not(served) -> None:
    index, backend, rows = served
    wrong: list[int] = []

    def ask(start: int) -> None:
        for i in range(start, start + 200):
            if index.search(rows[i], 1).rows.tolist() != [i]:
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(n * 200,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    pid = backend.pid
    child = os.fork()
    if child == 0:
        ok = index.search(rows[9], 1).rows.tolist() == [9] and backend.pid != pid
        index.close()
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert index.search(rows[8], 1).rows.tolist() == [8]
    assert backend.pid == pid
