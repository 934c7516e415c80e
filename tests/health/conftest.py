"""Fixtures of the health room: a plan of a fresh home, and what goes wrong there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiki_kernel.commands.health_plan import resolve
from aiki_kernel.config import Paths, load
from aiki_kernel.daemon import lifecycle
from aiki_kernel.health.plan import Plan

sys.path.insert(0, str(Path(__file__).parent))  # for ``health_files``


@pytest.fixture
def paths(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Paths]:
    """Paths of a fresh home with the fast embedder. Its daemon is gone when the test is."""
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    monkeypatch.setenv("AIKI_MEMORY__USER_ID", "kari")
    found = Paths.default()
    yield found
    lifecycle.stop(found, drain_s=1.0)


@pytest.fixture
def plan(paths: Paths) -> Plan:
    """What the settings of this home come to; probes may take half a second."""
    return resolve(load(), paths)._replace(timeout_s=1.0)
