"""The health board without a kernel: HTML without script, and text.

GitHub, nbviewer, nbconvert, a console and a notebook that was run by papermill show these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiki_kernel.display.board_facts import Board, changed
from aiki_kernel.display.facts import when
from aiki_kernel.display.markup import coded, said

COLOURS = {"ok": "#2f9e6e", "degraded": "#e0a03a", "down": "#e0574f", "unknown": "#9a7bd0"}
"""As in ``widgets/health_board.css``. Each stands beside the word for it, never alone."""

_DIM = "opacity:.72"
_WIDTH, _HEIGHT = 96, 18


def render_html(board: Board) -> str:
    """The board as a fragment with inline styles."""
    rows = "".join(_row(one) for one in board["services"])
    return (
        '<div style="max-width:760px;margin:4px 0 2px;font-size:12px;line-height:18px;'
        'overflow-wrap:anywhere">'
        f'<div style="padding:3px 0"><span style="color:{COLOURS[board["status"]]}">●</span> '
        f"<strong>{said(board['headline'])}</strong> "
        f'<span style="{_DIM}">{said(_looked(board))}</span></div>'
        f"{_money(board)}"
        # On a narrow page it scrolls by itself.
        '<div style="overflow-x:auto"><table style="width:100%;min-width:560px;'
        'table-layout:auto;border-collapse:collapse;font-size:12px">'
        f"{rows}</table></div>{_told(board)}</div>"
    )


def render_text(board: Board) -> str:
    """The board in lines."""
    width = max((len(one["title"]) for one in board["services"]), default=0)
    lines = [f"{board['headline']}  ({_looked(board)})"]
    lines += [spent(board["money"])] if board["money"] else []
    lines += [
        f"{one['title']:<{width}}  {one['state']:<8}  {one['figure']:>10}  {one['reason']}"
        for one in board["services"]
    ]
    lines += [f"changed: {changed(change)}" for change in board["changes"]]
    lines += [quiet] if (quiet := _quiet(board)) else []
    return "\n".join(lines)


def path(line: Sequence[float | None], width: float, height: float) -> str:
    """The ``d`` of an SVG path through ``line``; a gap lifts the pen. One value is a flat line."""
    known = [value for value in line if value is not None]
    if not known or len(line) < 2:
        return ""
    low, high = min(known), max(known)
    step, room = width / (len(line) - 1), height - 2
    parts, down = [], False
    for index, value in enumerate(line):
        if value is None:
            down = False
            continue
        share = (value - low) / (high - low) if high > low else 0.5
        parts.append(f"{'L' if down else 'M'}{index * step:.1f} {1 + room * (1 - share):.1f}")
        down = True
    return "".join(parts)


def _row(one: dict[str, Any]) -> str:
    drawn = path(one["line"], _WIDTH, _HEIGHT)
    line = (
        f'<svg role="img" aria-label="the last hour" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}"><path d="{drawn}" fill="none" '
        'stroke="currentColor" stroke-opacity=".6" stroke-width="1.25"></path></svg>'
        if drawn
        else ""
    )
    cell = "text-align:left;vertical-align:top;padding:2px 8px 2px 0"
    return (
        f'<tr><td style="{cell};white-space:nowrap"><span style="color:{COLOURS[one["state"]]}">'
        f"●</span> {said(one['title'])}</td>"
        f'<td style="{cell};white-space:nowrap">{_state(one["state"])}</td>'
        f'<td style="{cell};text-align:right;white-space:nowrap">{said(one["figure"])}</td>'
        f'<td style="{cell};min-width:{_WIDTH + 8}px">{line}</td>'
        f'<td style="{cell};{_DIM}">{coded(one["reason"])}</td></tr>'
    )


def _state(state: str) -> str:
    return f'<span style="{_DIM}">ok</span>' if state == "ok" else f"<strong>{state}</strong>"


def _looked(board: Board) -> str:
    return f"looked {when(board['at'])}" if board["at"] else "not looked yet"


def _money(board: Board) -> str:
    money = board["money"]
    if money is None:
        return ""
    return f'<div style="{_DIM}">{said(spent(money))}</div>'


def spent(money: dict[str, Any]) -> str:
    """``$0.12 of today's $2``; without a budget ``$0.12 today, no budget``."""
    usd, cap = money["usd"], money["day_usd"]
    shown = "$0" if usd == 0 else f"${usd:.2f}" if usd >= 0.995 else f"${usd:.4f}"
    return f"{shown} of today's ${cap:g}" if cap is not None else f"{shown} today, no budget"


def _quiet(board: Board) -> str:
    """What is said where no change is known."""
    if not board["watched"]:
        return "No history: `aiki health daemon` keeps one."
    return "" if board["changes"] else "Nothing changed in the last hour."


def _told(board: Board) -> str:
    if quiet := _quiet(board):
        return f'<div style="{_DIM};padding-top:3px">{coded(quiet)}</div>'
    items = "".join(f"<li>{said(changed(change))}</li>" for change in board["changes"])
    return f'<ul style="margin:3px 0 0;padding-left:18px;{_DIM}">{items}</ul>'
