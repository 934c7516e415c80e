"""One kernel and one scripted API server for a file of tests: starting is what takes time."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_server import FaultServer
from kernel_home import home_environment
from notebook_driver import Notebook


@pytest.fixture(scope="module")
def environment(server: FaultServer) -> Iterator[dict[str, str]]:
    """Variables for a kernel whose model is the scripted server's ``ok``."""
    home, runtime = tempfile.mkdtemp(prefix="aiki-k"), tempfile.mkdtemp(prefix="aiki-r", dir="/tmp")
    yield {**home_environment(home, runtime), **server.environment("ok", "test")}
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(scope="module")
def notebook(environment: dict[str, str]) -> Iterator[Notebook]:
    """An AIKI kernel, warm: its first message has been answered."""
    kernel = Notebook(env=environment)
    kernel.run("wake up", cell="warm")
    yield kernel
    kernel.close()


@pytest.fixture
def in_environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same variables in this process, for programs that start kernels themselves."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)
