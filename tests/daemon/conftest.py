"""Fixtures of the daemon's room: a home whose daemon is gone when the test is."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiki_kernel.config import Paths, Settings, load
from aiki_kernel.daemon import lifecycle
from aiki_kernel.daemon.connect import Connection, connect


@pytest.fixture
def paths(aiki_home: Path) -> Iterator[Paths]:
    """Paths of a fresh home. Whatever daemon a test left there is stopped."""
    found = Paths.default()
    yield found
    lifecycle.stop(found, drain_s=1.0)


@pytest.fixture
def settings(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with the fast embedder: most tests here are not about finding."""
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    monkeypatch.setenv("AIKI_MEMORY__USER_ID", "kari")
    return load()


@pytest.fixture(params=["daemon", "in-process"])
async def connection(
    request: pytest.FixtureRequest, settings: Settings, paths: Paths
) -> AsyncIterator[Connection]:
    """The same connection through a real daemon and without one."""
    mode = "off" if request.param == "in-process" else "auto"
    made = connect(settings.model_copy(update={"daemon": mode}), paths)
    yield made
    await made.aclose()


@pytest.fixture(scope="session")
def weights_file() -> Path:
    """The GGUF file of the small model, fetched once for all tests."""
    from aiki_kernel.models import weights

    return weights.for_tests()


@pytest.fixture
def model_installed(paths: Paths, weights_file: Path) -> Paths:
    """The home has the small model."""
    paths.models.mkdir(parents=True)
    try:
        (paths.models / weights_file.name).hardlink_to(weights_file)
    except OSError:
        shutil.copy(weights_file, paths.models / weights_file.name)
    return paths
