"""Small pieces of Markdown, and docstrings turned into it."""

from __future__ import annotations

import inspect
import re

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")


def code(text: str) -> str:
    """A code span. Pipes are escaped: in a table they would end the cell."""
    return f"`{text}`".replace("|", "\\|")


def row(*cells: str) -> str:
    """One row of a table."""
    return "| " + " | ".join(cell.replace("\n", " ").strip() for cell in cells) + " |"


def docstring(thing: object) -> str:
    """The docstring of a thing as Markdown: roles and double backquotes become code spans."""
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    return _ROLE.sub(r"`\1`", text).replace("``", "`")


def one_paragraph(text: str) -> str:
    """Lines joined, as a table wants them."""
    return " ".join(text.split())
