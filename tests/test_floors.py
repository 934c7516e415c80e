"""The house stands on floors: a room imports only from floors below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "aiki_kernel"
FLOORS = [
    {
        "config",
        "config_attachments",
        "config_cache",
        "config_curation",
        "config_health",
        "config_ranking",
        "config_routing",
        "config_telemetry",
        "trace",
        "errors",
        "version",
    },
    {"safety", "compute"},
    {"memory", "models", "health"},
    {"mind"},
    {"daemon"},
    {"aiki_memory"},
    {"aiki", "attachments", "display"},
    {"commands"},
    {"kernel", "cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "aiki_kernel":
                names = [f"aiki_kernel.{alias.name}" for alias in node.names]
            assert node.level == 0, f"{path}: relative import"
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        rooms |= {
            name.split(".")[1] for name in names if name.startswith("aiki_kernel.") and "." in name
        }
    return rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_arrow_runs_upward(path: Path) -> None:
    room = room_of(path)
    if room in {"__init__", "__main__"}:
        return  # the doors of the package: they lead to every floor, lazily
    assert room in FLOOR, f"{room} stands on no floor: add it to DESIGN's table and to this one"
    for other in imported_rooms(path) - {room, "__version__"}:
        below = FLOOR[other] < FLOOR[room] or FLOOR[room] == 0
        assert below, f"{room} (floor {FLOOR[room]}) imports {other}"


def test_the_mind_knows_neither_jupyter_nor_stores_nor_engines() -> None:
    forbidden = {"IPython", "ipykernel", "jupyter_client", "qdrant_client", "qdrant_edge", "openai"}
    for path in (PACKAGE / "mind").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            assert not {name.split(".")[0] for name in names} & forbidden, path
