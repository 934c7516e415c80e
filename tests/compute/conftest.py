"""Fixtures of this room; `compute_suite` holds what tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from compute_suite import MAKERS

from aiki_kernel.compute.backend import Backend


@pytest.fixture(params=list(MAKERS), scope="module")
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Every backend that runs on this machine, each compiled variant among them."""
    made = MAKERS[request.param]()
    yield made
    made.close()
