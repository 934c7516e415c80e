"""Rows for people: a table as text for the terminal and as HTML for the notebook.

What a cell holds may come from a model or a stranger's notebook. In a terminal its control
characters are taken out (an escape sequence could rewrite what the user sees); in HTML it
is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiki_kernel.commands.command import Context
from aiki_kernel.safety.secrets import redact

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """``text`` without what could steer a terminal; newlines and tabs stay."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = 200) -> str:
    """The beginning of ``text`` on one line, cut with an ellipsis at ``limit`` characters."""
    flat = " ".join(redact(plain(text)).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def usd(amount: float | None) -> str:
    """A cost as people read it. None is unknown, which is not nothing."""
    if amount is None:
        return "unknown"
    if amount == 0:
        return "$0"
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.4f}" if amount >= 1e-4 else "<$0.0001"


def when(stamp: str) -> str:
    """An ISO-8601 time in the user's own time zone, to the minute; unreadable ones as they are."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return plain(stamp)


@dataclass(frozen=True)
class Column:
    """A heading; ``right`` for numbers, ``whole`` for what must not be broken or cut."""

    title: str
    right: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Table:
    """Columns (a plain string is a heading) and rows of values; None shows as a dash."""

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Any]]
    title: str = ""

    def text(self, context: Context) -> str:
        """As wide as the context allows, colours only where it has them."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        made = RichTable(
            title=self.title or None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            show_edge=False,
        )
        for column in self._columns():
            made.add_column(
                column.title,
                justify="right" if column.right else "left",
                no_wrap=column.whole,
                overflow="fold",
            )
        for row in self.rows:
            made.add_row(*(Text(_cell(value)) for value in row))
        return rendered(context, made)

    def html(self) -> str:
        """A plain table in the notebook's own style."""
        from html import escape

        head = "".join(
            f'<th style="text-align:{_align(column)}">{escape(column.title)}</th>'
            for column in self._columns()
        )
        body = "".join(
            "<tr>" + "".join(self._html_cell(c, v, escape) for c, v in self._pairs(row)) + "</tr>"
            for row in self.rows
        )
        title = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def facts(self) -> dict[str, Any]:
        """As a widget takes it: ``title``, ``columns`` and ``rows`` of words."""
        return {
            "title": self.title,
            "columns": [{"title": c.title, "right": c.right} for c in self._columns()],
            "rows": [[_cell(value) for value in row] for row in self.rows],
        }

    def _columns(self) -> list[Column]:
        return [c if isinstance(c, Column) else Column(c) for c in self.columns]

    def _pairs(self, row: Sequence[Any]) -> list[tuple[Column, Any]]:
        return list(zip(self._columns(), row, strict=True))

    def _html_cell(self, column: Column, value: Any, escape: Callable[[str], str]) -> str:
        return f'<td style="text-align:{_align(column)}">{escape(_cell(value))}</td>'


def _align(column: Column) -> str:
    return "right" if column.right else "left"


def pairs(values: Sequence[tuple[str, Any]]) -> Table:
    """Names and values, one below the other."""
    return Table(["", ""], [(name, value) for name, value in values])


def rendered(context: Context, *renderables: Any) -> str:
    """What rich makes of something, as text without trailing blanks."""
    import io

    from rich.console import Console

    out = io.StringIO()
    console = Console(
        file=out,
        width=context.width,
        force_terminal=context.color,
        no_color=not context.color,
        highlight=False,
        force_jupyter=False,
    )
    console.print(*renderables)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1 else f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    return redact(plain(str(value)))  # before a line break could part a key in two
