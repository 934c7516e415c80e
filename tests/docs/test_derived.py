"""What is derived from the sources says what the sources say."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import drawing
import pytest
import python_page
from blocks import ROOT


def _make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_make", ROOT / "docs/make/__main__.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_references_and_the_drawing_are_not_old() -> None:
    old = [path.name for path in _make().old()]
    assert not old, f"{', '.join(old)}: run `python docs/make --pages` and commit what it writes"


def test_the_drawing_follows_the_imports() -> None:
    """A room more, or an arrow more, is another picture and another table."""
    house = drawing.survey()
    assert {"kernel", "commands", "mind", "memory", "models"} <= set(house.about)
    assert all(house.about.values()), "a room without a docstring"
    arrows = {**house.arrows, ("display", "models"): 1}
    other = drawing.House(house.floors, arrows, house.about)
    assert drawing.svg(other) != drawing.svg(house)
    assert drawing.table(other) != drawing.table(house)


def test_what_python_may_rely_on_is_described() -> None:
    bare = []
    for name, thing in python_page.things():
        if not inspect.getdoc(thing) or (thing.__doc__ or "").startswith(f"{thing.__name__}("):
            bare.append(name)
        if inspect.isclass(thing):
            bare += [
                f"{name}.{key}" for key, value in python_page.members(thing) if not value.__doc__
            ]
    assert not bare, f"no docstring: {', '.join(bare)}"


@pytest.mark.long
def test_the_pages_render_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    assert _make().html(tmp_path / "html") == 0
    assert (tmp_path / "html" / "reference" / "commands.html").is_file()
