"""The house drawn from its real imports: rooms on their floors, an arrow for who imports whom.

The floors are those of ``tests/test_floors.py``, the arrows are read from the sources, the
words from each room's docstring. Nothing here is drawn by hand.
"""

from __future__ import annotations

import ast
import itertools
from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "aiki_kernel"
DOORS = {"__init__", "__main__"}
GROUND = "config"
WIDTH, BOX_W, BOX_H, FLOOR_H, TOP = 860, 206, 56, 114, 12


@dataclass(frozen=True)
class House:
    """``floors`` from the ground up, ``arrows`` (who, whom) -> number of modules that import."""

    floors: tuple[tuple[str, ...], ...]
    arrows: dict[tuple[str, str], int]
    about: dict[str, str]


def room_of(module: str) -> str:
    """The room as it is drawn: all that reads settings is one, so is what puts parts together."""
    if module.startswith("config") or module in ("errors", "trace", "version"):
        return GROUND
    return "aiki" if module == "aiki_memory" else module


def survey() -> House:
    """Read floors, imports and docstrings."""
    floors: list[tuple[str, ...]] = []
    for names in _floors():
        rooms = tuple(sorted({room_of(name) for name in names} - {r for f in floors for r in f}))
        if "aiki" in rooms and "aiki_memory" in names:
            continue  # it is drawn on the floor of `aiki`, one higher
        floors.append(rooms)
    arrows: Counter[tuple[str, str]] = Counter()
    for path in sorted(PACKAGE.rglob("*.py")):
        here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if here not in DOORS:
            arrows.update({(room_of(here), to) for to in _imported(path)} - {(room_of(here),) * 2})
    about = {room: _about(room) for rooms in floors for room in rooms}
    return House(tuple(floors), dict(arrows), about)


def _floors() -> list[set[str]]:
    tree = ast.parse((ROOT / "tests" / "test_floors.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FLOORS":
            found: list[set[str]] = ast.literal_eval(node.value)
            return found
    raise ValueError("tests/test_floors.py has no FLOORS")


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "aiki_kernel":
                names = [f"aiki_kernel.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            module = rest.partition(".")[0]
            if head == "aiki_kernel" and (
                (PACKAGE / module).is_dir() or (PACKAGE / f"{module}.py").is_file()
            ):
                found.add(room_of(module))
    return found - DOORS


def _about(room: str) -> str:
    path = PACKAGE / room / "__init__.py"
    path = path if path.is_file() else PACKAGE / f"{room}.py"
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    first = text.partition("\n\n")[0].replace("\n", " ").replace("``", "")
    return first.partition(". ")[0].rstrip(".")


def table(house: House) -> str:
    """The same facts as text: each room, what it is, and whom it imports."""
    lines = ["| floor | room | what it is | imports |", "|---|---|---|---|"]
    for number, rooms in reversed(list(enumerate(house.floors))):
        for room in rooms:
            whom = [to for (who, to) in sorted(house.arrows) if who == room]
            names = ", ".join(whom) if whom else "nothing of ours"
            lines.append(f"| {number} | `{room}` | {house.about[room]} | {names} |")
    return "\n".join(lines)


def svg(house: House) -> str:
    """The drawing. Arrows to the ground floor, which everybody has, are left out."""
    centres, boxes = {}, []
    aside = itertools.cycle((150, -150, 0))
    height = TOP + FLOOR_H * len(house.floors)
    for number, rooms in enumerate(house.floors):
        y = TOP + FLOOR_H * (len(house.floors) - 1 - number)
        ground = rooms == (GROUND,)
        for place, room in enumerate(rooms):
            width = WIDTH - 120 if ground else BOX_W
            x = WIDTH / 2 if ground else WIDTH * (place + 1) / (len(rooms) + 1)
            # Rooms alone on a floor stand aside in turn, so that arrows past them are seen.
            if len(rooms) == 1 and not ground:
                x += next(aside)
            centres[room] = (x, y, width)
            boxes.append(_box(room, house.about[room], x, y, width))
    paths = [
        _arrow(centres[who], centres[to])
        for who, to in sorted(house.arrows)
        if to != GROUND and who in centres and to in centres
    ]
    return "\n".join([_head(height), *paths, *boxes, "</svg>", ""])


def _head(height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"\n'
        '  font-family="system-ui, sans-serif">\n'
        "<title>The rooms of aiki_kernel and who imports whom</title>\n<style>\n"
        ".box{fill:#fff;stroke:#6b7684}.name{fill:#1c2733;font-weight:600;font-size:15px}\n"
        ".about{fill:#4d5966;font-size:10px}.arrow{fill:none;stroke:#3b78b5;stroke-opacity:.55}\n"
        "marker path{fill:#3b78b5}\n"
        "@media (prefers-color-scheme:dark){.box{fill:#1d2329;stroke:#8a96a3}.name{fill:#f0f3f6}\n"
        ".about{fill:#b3bdc8}.arrow{stroke:#79b4ec}marker path{fill:#79b4ec}}\n</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
    )


def _box(room: str, about: str, x: float, y: float, width: float) -> str:
    room_for = 110 if width > BOX_W else 34
    about = about.partition(": ")[2] or about  # the name stands above already
    lines: list[str] = [""]
    for word in about.split():
        if len(lines[-1]) + len(word) + 1 > room_for:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    if len(lines) > 2:
        lines = [lines[0], lines[1].rstrip(",") + " …"]
    name = "config, trace, errors" if room == GROUND else room
    left, middle = f"{x - width / 2:g}", f'x="{x:g}" text-anchor="middle"'
    parts = [
        f'<rect class="box" x="{left}" y="{y}" width="{width:g}" height="{BOX_H}" rx="6"/>',
        f'<text class="name" y="{y + 18}" {middle}>{name}</text>',
    ]
    parts += [
        f'<text class="about" y="{y + 33 + 13 * i}" {middle}>{escape(line)}</text>'
        for i, line in enumerate(lines)
    ]
    return "\n".join(parts)


def _arrow(who: tuple[float, float, float], to: tuple[float, float, float]) -> str:
    (x1, y1, w1), (x2, y2, w2) = who, to
    lean = max(-1.0, min(1.0, (x2 - x1) / 300))
    start, end = x1 + lean * w1 / 2.6, x2 - lean * w2 / 2.6
    top, bottom = y1 + BOX_H, y2 - 2
    bend = max(24.0, (bottom - top) / 2)
    return (
        f'<path class="arrow" marker-end="url(#tip)" d="M{start:.0f} {top:g}'
        f'C{start:.0f} {top + bend:.0f} {end:.0f} {bottom - bend:.0f} {end:.0f} {bottom:g}"/>'
    )
