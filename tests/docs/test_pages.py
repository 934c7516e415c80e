"""Every code block of README and docs runs, every command and setting in their prose exists."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import links
import pytest
from blocks import ROOT, Runner, blocks, check_span, escaped, spans
from pydantic import BaseModel

from aiki_kernel.config import Settings
from aiki_kernel.errors import AikiError

WRITTEN = [
    page
    for page in links.pages(ROOT)
    if page.name != "CHANGELOG.md" and page.parent.name not in ("reference", "LICENSES")
]
_SETTING = re.compile(r"[a-z]+(?:\.[a-z0-9_]+){1,2}")


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(
    page: Path, home: Path, notebook: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "pages" / page.stem
    folder.mkdir(exist_ok=True)
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.chdir(folder)
    runner = Runner(folder, notebook)
    for block in blocks(page):
        runner.run(block)
    if "aiki" in runner.names and hasattr(runner.names["aiki"], "close"):
        runner.names["aiki"].close()


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_commands_and_settings_in_prose_exist(page: Path) -> None:
    faults = []
    for span in spans(page):
        try:
            check_span(span)
        except (AikiError, ValueError) as error:
            faults.append(f"`{span}`: {error}")
        if _SETTING.fullmatch(span) and not known_setting(span.split(".")):
            faults.append(f"`{span}` is no setting")
    assert not faults, "\n".join(faults)


def test_no_code_escapes() -> None:
    """Derived pages too: their blocks are signatures, which run nowhere."""
    assert [line for page in links.pages(ROOT) for line in escaped(page)] == []
    derived = [page for page in links.pages(ROOT) if page not in WRITTEN]
    assert {block.language for page in derived for block in blocks(page)} == {"text"}


def known_setting(words: list[str]) -> bool:
    """Whether a dotted name is a setting; one whose first part is no table is something else."""
    model: type[BaseModel] = Settings
    for at, word in enumerate(words):
        field = model.model_fields.get(word)
        if field is None:
            return at == 0
        kind = field.annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return True
        model = kind
    return True


def test_no_link_leads_nowhere() -> None:
    assert links.broken(ROOT) == []
