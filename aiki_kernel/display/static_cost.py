"""The cost board without a kernel: HTML without script, and text."""

from __future__ import annotations

from html import escape

from aiki_kernel.display.cost_facts import Board
from aiki_kernel.display.markup import said

_DIM = "opacity:.72"
_CELL = "text-align:left;vertical-align:top;padding:2px 10px 2px 0"
_RIGHT = "text-align:right;vertical-align:top;padding:2px 10px 2px 0;white-space:nowrap"
HEADS = ("calls", "tokens", "cost")


def render_html(board: Board) -> str:
    """The board as a fragment with inline styles."""
    most = max((bar["usd"] for bar in board["bars"]), default=0.0) or 1.0
    wide = 240 // max(7, len(board["bars"]))  # px; a month fits a narrow page
    bars = "".join(
        f'<td style="vertical-align:bottom;padding:0 1px 0 0;height:44px" '
        f'title="{escape(bar["name"], quote=True)}: {escape(bar["said"], quote=True)}">'
        f'<div style="height:{_height(bar["usd"], most)}px;min-width:{wide}px;'
        f'background-color:#2f9e6e;border-top:{3 if bar["unknown"] else 0}px solid #9a7bd0">'
        "</div></td>"
        for bar in board["bars"]
    )
    # GitHub takes the heights away: what they say stands here too.
    spent = [bar for bar in board["bars"] if bar["said"] != "nothing"]
    days = "".join(f"<li>{said(bar['name'])}: {said(bar['said'])}</li>" for bar in spent)
    unit = "hour" if board["span"] == "today" else "day"
    listed = (
        f'<details><summary style="cursor:pointer;width:fit-content;{_DIM}">by {unit}</summary>'
        f'<ul style="list-style:none;margin:0;padding:0;{_DIM}">{days}</ul></details>'
        if days
        else ""
    )
    groups = "".join(
        f'<tr><th style="{_CELL};font-weight:normal;{_DIM}">by {name}</th>'
        + "".join(f'<th style="{_RIGHT};font-weight:normal;{_DIM}">{head}</th>' for head in HEADS)
        + "</tr>"
        + "".join(
            f'<tr><td style="{_CELL}">{said(row[0])}</td>'
            + "".join(f'<td style="{_RIGHT}">{said(cell)}</td>' for cell in row[1:])
            + "</tr>"
            for row in rows
        )
        for name, rows in board["groups"].items()
        if rows
    )
    lines = [*(cap["said"] for cap in board["caps"]), *board["lines"]]
    told = "".join(f'<div style="{_DIM}">{said(line)}</div>' for line in lines)
    return (
        '<div style="max-width:760px;margin:4px 0 2px;font-size:12px;line-height:18px;'
        'overflow-wrap:anywhere">'
        f"<div><strong>{said(board['said'])}</strong></div>"
        f'<div style="{_DIM}">{said(board["counted"])}</div>'
        f'<table style="table-layout:auto;border-collapse:collapse" '
        f'aria-label="{_spent(board)}"><tr>{bars}</tr>'
        f"</table>{listed}{told}"
        '<table style="width:100%;table-layout:auto;border-collapse:collapse;font-size:12px">'
        f"{groups}</table></div>"
    )


def render_text(board: Board) -> str:
    """The board in lines."""
    lines = [board["said"], board["counted"]]
    lines += [cap["said"] for cap in board["caps"]]
    lines += board["lines"]
    lines += [
        f"  {bar['name']:<12} {bar['said']}" for bar in board["bars"] if bar["said"] != "nothing"
    ]
    for name, rows in board["groups"].items():
        wide = max((len(row[0]) for row in rows), default=0)
        lines += [f"by {name}:"] if rows else []
        lines += [
            f"  {row[0]:<{wide}}  {row[1]:>6} {'call ' if row[1] == '1' else 'calls'}"
            f"  {row[2]:>18} tokens  {row[3]}"
            for row in rows
        ]
    return "\n".join(lines)


def _spent(board: Board) -> str:
    return "cost by hour" if board["span"] == "today" else "cost by day"


def _height(usd: float, most: float) -> int:
    return max(2, round(42 * usd / most)) if usd else 0
