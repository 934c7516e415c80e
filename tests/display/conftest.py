"""Summaries to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from shown_answers import summary


@pytest.fixture(scope="session")
def answer() -> Callable[..., dict[str, Any]]:
    """Makes the summary of an ordinary finished answer, with changes."""
    return summary
