"""The lab extension's eye for cells agrees with the kernel's: one table for both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiki_kernel.kernel.cells import classify

TABLE = Path(__file__).resolve().parents[2] / "widgets" / "tests" / "cells.json"


@pytest.mark.parametrize(("source", "pieces"), json.loads(TABLE.read_text()))
def test_what_is_coloured_as_prose_is_a_message(source: str, pieces: list[list[str]]) -> None:
    cell = classify(source)
    kinds = [kind for kind, _ in pieces]
    assert ("prose" in kinds) == (cell.kind == "message")
    if cell.kind == "message":
        assert pieces[-1] == ["prose", cell.body]
    if cell.kind == "python" and cell.body and cell.header:
        assert pieces[-1] == ["python", cell.body]
