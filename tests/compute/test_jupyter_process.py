"""The kernels inside a real Jupyter kernel: its threads, its forks, its subprocesses."""

from __future__ import annotations

import os

import pytest
from jupyter_client.manager import start_new_kernel

from aiki_kernel.compute.native import runnable

SETUP = """
import multiprocessing, os, subprocess, sys, threading
import numpy as np
from aiki_kernel.compute.index import VectorIndex
rng = np.random.default_rng(0)
rows = rng.standard_normal((20000, 384)).astype(np.float32)
index = VectorIndex(384, backend={backend!r})
index.append(rows)
index.build_coarse(20)
def right(numbers=(5, 77, 19999)):
    return all(
        index.search(rows[i], 3, method=method).rows[0] == i
        for i in numbers for method in ("auto", "exact", "lists")
    )
assert right()
"""
BUSY = """
stop = threading.Event()
wrong = []
def search():
    while not stop.is_set():
        if not right((3, 11)):
            wrong.append(1)
threads = [threading.Thread(target=search) for _ in range(2)]
for thread in threads:
    thread.start()
"""
FORK = """
for _ in range(3):
    child = os.fork()
    if child == 0:
        ok = right()
        index.append(rows[:10])
        index.close()
        os._exit(0 if ok and len(index) == 20010 else 1)
    assert os.waitpid(child, 0)[1] == 0
"""
SUBPROCESS = """
code = "import numpy as np; from aiki_kernel.compute.index import VectorIndex; "
code += "i = VectorIndex(64); i.append(np.eye(64)); print(i.search(np.eye(64)[9], 1).rows[0])"
told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
assert told.stdout == "9\\n"
"""
PROCESSES = """
pipe, theirs = multiprocessing.Pipe()
worker = multiprocessing.get_context("fork").Process(target=lambda: theirs.send(right()))
worker.start()
assert pipe.poll(60) and pipe.recv()
worker.join()
"""
AFTER = """
stop.set()
for thread in threads:
    thread.join()
assert not wrong
assert right() and len(index) == 20000
index.append(rows[:1])
assert len(index) == 20001
index.close()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("backend", ["numpy", *(["mojo", "mojo-server"] if runnable() else [])])
def test_a_kernel_searches_before_during_and_after_forks(backend: str) -> None:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # BLAS threads do not survive a fork
    manager, client = start_new_kernel(kernel_name="python3", env=environment)
    try:
        for cell in (SETUP.format(backend=backend), BUSY, FORK, SUBPROCESS, PROCESSES, AFTER):
            reply = client.execute_interactive(cell, timeout=100, output_hook=lambda _: None)
            assert reply["content"]["status"] == "ok", reply["content"]["traceback"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
