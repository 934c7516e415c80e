"""The lines that the page on troubleshooting explains are lines that the program says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from blocks import ROOT

LINE = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)


def said() -> str:
    """Every text of the package, a line each; what is filled in is ``…``."""
    texts = []
    for path in sorted((ROOT / "aiki_kernel").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(text.replace("\n", " ").replace("`", "") for text in texts)


def test_every_line_is_said_somewhere() -> None:
    page = Path(ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    lines = LINE.findall(page)
    assert len(lines) > 20
    corpus = said()
    missing = [
        line
        for line in lines
        if not re.search("[^\n]*".join(re.escape(piece) for piece in re.split("…", line)), corpus)
    ]
    assert not missing, f"nothing says: {missing}"
