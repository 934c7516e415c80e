"""Links between pages: every file, picture and heading that is named has to be there."""

from __future__ import annotations

import re
from pathlib import Path

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.*?)\s*$", re.MULTILINE)
_FENCE = re.compile(r"^(`{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def pages(root: Path) -> list[Path]:
    """README, CHANGELOG, notices, and every page of ``docs/``."""
    named = [root / name for name in ("README.md", "CHANGELOG.md", "LICENSES/README.md")]
    return named + sorted((root / "docs").rglob("*.md"))


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and Sphinx make them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        number = 1
        unique = slug
        while unique in found:
            unique, number = f"{slug}-{number}", number + 1
        found.add(unique)
    return found


def broken(root: Path) -> list[str]:
    """One line for each link that leads nowhere; addresses of the web are not asked."""
    faults = []
    docs = root / "docs"
    for page in pages(root):
        text = page.read_text("utf-8")
        for target in _LINK.findall(_FENCE.sub("", text)):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            path = (page.parent / file).resolve() if file else page
            name = page.relative_to(root)
            if not path.exists():
                faults.append(f"{name}: {target} is not there")
            elif path.suffix == ".md" and docs in page.parents and docs not in path.parents:
                faults.append(f"{name}: {target} is no page of docs/, which Sphinx renders alone")
            elif anchor and path.suffix == ".md" and anchor not in anchors(path.read_text("utf-8")):
                faults.append(f"{name}: {target} has no such heading")
    return faults
