"""The memory browser without a kernel: HTML without script, and text."""

from __future__ import annotations

from typing import Any

from aiki_kernel.display.markup import said
from aiki_kernel.display.memory_facts import Facts

_DIM = "opacity:.72"
_CELL = "text-align:left;vertical-align:top;padding:3px 10px 3px 0"


def render_html(page: Facts) -> str:
    """A page as a fragment with inline styles. JupyterLab gives each table a fixed layout, so
    the columns beside the text have widths of their own."""
    rows = "".join(_row(one) for one in page["rows"])
    notes = "".join(
        f'<div style="{_DIM}">{said(line)}</div>' for line in (page["note"], _filters(page)) if line
    )
    return (
        '<div style="max-width:760px;margin:4px 0 2px;font-size:12px;line-height:18px;'
        'overflow-wrap:anywhere">'
        f"<div><strong>{said(page['said'])}</strong></div>{notes}"
        '<table style="width:100%;table-layout:auto;border-collapse:collapse;font-size:12px">'
        f"{rows}</table></div>"
    )


def render_text(page: Facts) -> str:
    """A page in lines."""
    lines = [page["said"]]
    lines += [line for line in (page["note"], _filters(page)) if line]
    for one in page["rows"]:
        lines.append("")
        lines.append(f"{one['id'][:8]}  {one['when']}  {about(one)}".rstrip())
        lines.append(f"          {one['text']}")
        if "gone" in one:
            lines.append(f"          {left(one)}")
    return "\n".join(lines)


def about(one: Facts) -> str:
    """Who, what and whence, in one line: ``you · fact · imported · #money · quarantined``."""
    tags = [f"#{tag}" for tag in one["tags"]]
    parts = [one["who"], one["kind"], one["trust"], one["where"], *tags, *one["marks"]]
    return " · ".join(part for part in parts if part)


def left(one: Facts) -> str:
    """How a memory left: ``2026-03-01 12:00 by kari: forgotten``."""
    gone = one["gone"]
    by = f" by {gone['by']}" if gone["by"] else ""
    return f"{gone['when']}{by}: {gone['why']}"


def _filters(page: Facts) -> str:
    return f"Only: {', '.join(page['filters'])}" if page["filters"] else ""


def _row(one: dict[str, Any]) -> str:
    gone = f'<div style="{_DIM}">{said(left(one))}</div>' if "gone" in one else ""
    return (
        f'<tr><td style="{_CELL};width:76px"><code>{said(one["id"][:8])}</code></td>'
        f'<td style="{_CELL};width:116px">{said(one["when"])}</td>'
        f'<td style="{_CELL}">{said(one["text"])}'
        f'<div style="{_DIM}">{said(about(one))}</div>{gone}</td></tr>'
    )
