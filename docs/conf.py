"""Sphinx's settings. ``python docs/make`` calls it; pages are Markdown, read by MyST."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from aiki_kernel.version import __version__

project = "AIKI kernel"
version = release = __version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["make"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"AIKI kernel {__version__}"
html_show_sourcelink = False
html_show_copyright = False


def contents(app: Any, name: str, source: list[str]) -> None:
    """The side bar is the list on the first page, which is plain Markdown elsewhere."""
    if name != "index":
        return
    for title, part in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", source[0], re.M | re.S):
        pages = "\n".join(re.findall(r"^- \[.*?\]\((.+?)\.md\)", part, re.M))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n{pages}\n```\n"


def setup(app: Any) -> None:
    """Cells of the kernel are prose: they are shown as they are."""
    app.add_lexer("aiki", TextLexer)
    app.connect("source-read", contents)
