"""The pickers without a kernel: HTML without script, and text."""

from __future__ import annotations

from aiki_kernel.display.markup import coded, said
from aiki_kernel.display.picker_facts import Facts

_DIM = "opacity:.72"
_CELL = "text-align:left;vertical-align:top;padding:3px 10px 3px 0"
_RIGHT = "text-align:right;vertical-align:top;padding:3px 10px 3px 0;white-space:nowrap"
_BOX = (
    '<div style="max-width:760px;margin:4px 0 2px;font-size:12px;line-height:18px;'
    'overflow-wrap:anywhere">'
)
_STYLE = "width:100%;table-layout:auto;border-collapse:collapse;font-size:12px"
_TABLE = f'<table style="{_STYLE}">'
# Six columns: on a narrow page they scroll by themselves.
_WIDE = f'<div style="overflow-x:auto"><table style="min-width:540px;{_STYLE}">'


def personas_html(page: Facts) -> str:
    """The personas as a fragment with inline styles."""
    rows = "".join(
        f'<tr><td style="{_CELL};width:26%">{_mark(one)}<strong>{said(one["title"])}'
        f'</strong><div style="{_DIM}">@{said(one["name"])}</div></td>'
        f'<td style="{_CELL}">{coded(one["problem"] or one["about"])}'
        f'<div style="{_DIM}">{said(facts(one))}</div></td></tr>'
        for one in page["rows"]
    )
    more = f'<div style="{_DIM}">{coded(page["more"])}</div>' if page["more"] else ""
    return f"{_BOX}<div>{said(page['said'])}</div>{_TABLE}{rows}</table>{more}</div>"


def personas_text(page: Facts) -> str:
    """The personas in lines."""
    lines = [page["said"]]
    for one in page["rows"]:
        mark = "→" if one["current"] else " "
        lines += ["", f"{mark} {one['name']}: {one['title']}"]
        lines += [f"    {line}" for line in (one["problem"] or one["about"], facts(one)) if line]
    return "\n".join([*lines, *(["", page["more"]] if page["more"] else [])])


def facts(one: Facts) -> str:
    """``models any · reads own, shared · ...``"""
    return " · ".join(f"{name} {value}" for name, value in one["facts"])


def models_html(page: Facts) -> str:
    """The models as a fragment with inline styles."""
    heads = ("model", "tier", "in $/M", "out $/M", "window", "")
    head = "".join(
        f'<th style="{_RIGHT if 2 <= n <= 4 else _CELL};font-weight:normal;{_DIM}">{name}</th>'
        for n, name in enumerate(heads)
    )
    rows = "".join(
        f'<tr><td style="{_CELL}">{_mark(one)}{said(one["name"])}</td>'
        f'<td style="{_CELL};white-space:nowrap">{said(one["tier"])}</td>'
        f'<td style="{_RIGHT}">{said(one["given"])}</td>'
        f'<td style="{_RIGHT}">{said(one["made"])}</td>'
        f'<td style="{_RIGHT}">{said(one["window"])}</td>'
        f'<td style="{_CELL};{_DIM}">{coded(state(one))}</td></tr>'
        for one in page["rows"]
    )
    told = [line for line in (page["note"], page["todo"]) if line]
    note = "".join(f'<div style="{_DIM}">{coded(line)}</div>' for line in told)
    return (
        f"{_BOX}<div>{said(page['said'])}</div>{_WIDE}<thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{note}</div>"
    )


def models_text(page: Facts) -> str:
    """The models in lines."""
    rows = page["rows"]
    wide = max((len(one["name"]) for one in rows), default=0)
    lines = [page["said"], ""]
    lines += [
        f"{'→' if one['current'] else ' '} {one['name']:<{wide}}  {one['tier']:<8}  "
        f"{one['given']:>8} in  {one['made']:>8} out  {one['window']:>7}  {state(one)}".rstrip()
        for one in rows
    ]
    return "\n".join([*lines, *(line for line in (page["note"], page["todo"]) if line)])


def state(one: Facts) -> str:
    """Whether a model can answer, and if not what helps: ``88 MB, here``."""
    return ", ".join(part for part in (one["size"], one["state"]) if part)


def _mark(one: Facts) -> str:
    return "→ " if one["current"] else ""
