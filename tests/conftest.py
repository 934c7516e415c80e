"""Fixtures for every room: a home of its own for each test, and a scripted API server.

``from fault_server import Scenario, failing`` works in every test file: this folder is
put on the path here, once.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from fault_server import FaultServer

# The same examples in every run and in every worker. A busy machine is no reason to fail, and
# no folder of the checkout is written to.
settings.register_profile("suite", derandomize=True, deadline=None, database=None)
settings.load_profile("suite")


def _is_ours(variable: str) -> bool:
    """Whether a variable could point a test at the user's own home, keys or servers."""
    return variable.startswith("AIKI_") or variable.endswith("_API_KEY")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What drives browsers and processes on a shared machine may try once more; it is reported.

    Workers take files in this order: those with most such tests first, so that no worker begins
    a long one when the others are about to end.
    """
    long_ones: Counter[Path] = Counter()
    for item in items:
        if item.get_closest_marker("browser") or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.flaky(reruns=1))
            long_ones[item.path] += 1
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (-long_ones[item.path], str(item.path)))


@pytest.fixture(scope="session", autouse=True)
def _no_user_environment() -> Iterator[None]:
    """No test sees the user's own ``AIKI_*`` settings, keys or home, whatever it forgets."""
    # Started behind a shell's `&`, we ignore Ctrl-C, and so would every process of a test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    saved = dict(os.environ)
    for name in [name for name in os.environ if _is_ours(name)]:
        del os.environ[name]
    home = tempfile.mkdtemp(prefix="aiki-home-")
    os.environ["AIKI_HOME"] = home
    yield
    os.environ.clear()
    os.environ.update(saved)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def aiki_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh ``AIKI_HOME``, and a runtime folder of its own whose path is short enough.

    Sockets allow about 100 characters, which pytest's temporary paths use up; so the
    runtime folder lies directly under the system's temporary folder. ``AIKI_*`` and
    ``*_API_KEY`` variables are gone.
    """
    for name in [name for name in os.environ if _is_ours(name)]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    runtime = tempfile.mkdtemp(prefix="aiki-", dir="/tmp" if os.name == "posix" else None)
    monkeypatch.setenv("AIKI_HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    yield home
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture
def fault_server() -> Iterator[FaultServer]:
    """A running :class:`FaultServer` on a free port."""
    with FaultServer() as server:
        yield server
