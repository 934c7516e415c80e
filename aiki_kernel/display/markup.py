"""Other people's text in static HTML: escaped, in an element that keeps its direction inside."""

from __future__ import annotations

import re
from html import escape

_COMMAND = re.compile(r"`([^`]+)`")


def said(value: str) -> str:
    """``value`` as text that does not turn what stands around it."""
    return f"<bdi>{escape(value, quote=True)}</bdi>"


def coded(value: str) -> str:
    """``value`` with its `commands` as code: they are there to be copied."""
    parts = _COMMAND.split(value)
    return "".join(
        f"<code>{escape(part, quote=True)}</code>" if index % 2 else said(part)
        for index, part in enumerate(parts)
        if part
    )
