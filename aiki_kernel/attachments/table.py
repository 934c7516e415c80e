"""Any frame as a summary for a model: shape, columns with types and statistics, first rows.

The rule for what does not fit into the budget of tokens, in this order: long values are cut
shorter, fewer first rows are shown, then columns go. Columns that the message names stay, then
the first ones and the last; what was left out is said at the end, so that a model does not take
a part for the whole.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aiki_kernel.attachments.values import cut
from aiki_kernel.models.tokens import estimate
from aiki_kernel.safety.secrets import redact

MOST_COLUMNS = 80
"""Columns that are looked at, at most: the statistics of thousands would take minutes."""

_STEPS = ((60, 5), (32, 5), (32, 3), (20, 2), (16, 1))  # characters of a value, first rows
_NAMED = 12  # columns left out that are named
_PASSWORDS = re.compile(
    r"(?:.*[_\W])?(?:passwords?|passwd|passphrases?|passord(?:et)?|pwd)", re.IGNORECASE
)
_KEYS = re.compile(
    r"(?:.*[_\W])?(?:(?:api|access|private)?[_\W]?keys?|tokens?|secrets?)", re.IGNORECASE
)
_INFLECTED = 3  # characters from which on a name may go on: "salg" in "salget"


@dataclass(frozen=True)
class Column:
    """One column: its statistics as a phrase, and its first values as texts."""

    name: str
    type: str
    missing: int
    about: str
    head: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A frame that may be large. ``column(i)`` looks at column ``i`` only when asked.

    ``rows`` is None where nobody knows (a lazy frame); ``index`` are the labels of the first rows.
    """

    kind: str
    rows: int | None
    names: Sequence[str]
    column: Callable[[int], Column]
    index: tuple[str, ...] = ()
    extra: str = ""

    @property
    def title(self) -> str:
        """``pandas DataFrame, 1,000 rows x 5 columns``."""
        columns = f"{len(self.names):,} column{'' if len(self.names) == 1 else 's'}"
        if self.rows is None:
            return f"{self.kind}, {columns}"
        return f"{self.kind}, {self.rows:,} row{'' if self.rows == 1 else 's'} x {columns}"


def summary(table: Table, budget: int, question: str = "") -> str:
    """``table`` within about ``budget`` tokens; columns named in ``question`` come first."""
    order = _by_interest(table.names, question)
    found = {place: _discreet(table.column(place)) for place in order[:MOST_COLUMNS]}
    text = ""
    for width, rows in _STEPS:
        text = _written(table, sorted(found), found, width, rows)
        if estimate(text) <= budget:
            return text
    width, rows = _STEPS[-1]
    low, high = 1, len(found)
    while low < high:  # the most columns that fit
        middle = (low + high + 1) // 2
        text = _written(table, sorted(order[:middle]), found, width, rows)
        low, high = (middle, high) if estimate(text) <= budget else (low, middle - 1)
    return _written(table, sorted(order[:low]), found, width, rows)


def _discreet(one: Column) -> Column:
    """``one`` without what its name says is secret: a password in a column of its own looks like
    any other word, and a key has no word for it beside it."""
    name = one.name.strip()
    if _PASSWORDS.fullmatch(name):
        head = tuple("[password removed]" if value else "" for value in one.head)
        return replace(one, about="", head=head)
    if not _KEYS.fullmatch(name):
        return one
    head = tuple(redact(f"api_key={value}").removeprefix("api_key=") for value in one.head)
    return one if head == one.head else replace(one, about="", head=head)


def _by_interest(names: Sequence[str], question: str) -> list[int]:
    """Places of columns: those that the question names, then from both ends, more at the front."""
    asked = question.lower()
    named = [place for place, name in enumerate(names[:20_000]) if _names(asked, name.lower())]
    front = list(range(len(names)))
    mixed: list[int] = []
    back = front[-max(1, min(5, len(front) // 4)) :] if len(front) > 8 else []
    rest = [place for place in front if place not in set(back)]
    for number, place in enumerate(rest):
        mixed.append(place)
        if number % 4 == 3 and back:
            mixed.append(back.pop())
        if len(mixed) > MOST_COLUMNS:
            break
    return list(dict.fromkeys([*named, *mixed, *back]))


def _names(asked: str, name: str) -> bool:
    """Whether ``asked`` names a column: as a word, and a long one also within a longer word."""
    if len(name) < 2 or name not in asked:
        return False
    if len(name) > _INFLECTED and not name[-1].isdigit():
        return True
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", asked) is not None


def _written(
    table: Table, places: Sequence[int], found: dict[int, Column], width: int, rows: int
) -> str:
    columns = [found[place] for place in places]
    lines = ["column | type | missing | about"]
    lines += [
        f"{cut(one.name, 60)} | {one.type} | {one.missing:,} | {_about(one.about, width)}"
        for one in columns
    ]
    if table.extra:
        lines.append(table.extra)
    heads = max((len(one.head) for one in columns), default=0)
    shown = min(rows, heads)
    if shown:
        lines.append(f"First {shown} row{'' if shown == 1 else 's'}, as CSV:")
        lines.append(_csv(table, columns, shown, width))
    left = _left_out(table, places, shown)
    return "\n".join([*lines, left] if left else lines)


def _about(text: str, width: int) -> str:
    return text if len(text) <= 4 * width else cut(text, 4 * width)


def _csv(table: Table, columns: Sequence[Column], rows: int, width: int) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    labels = [[cut(label, width)] for label in table.index[:rows]]
    writer.writerow([*(["(index)"] if labels else []), *(cut(one.name, 60) for one in columns)])
    for row in range(rows):
        values = [cut(one.head[row], width) if row < len(one.head) else "" for one in columns]
        writer.writerow([*(labels[row] if row < len(labels) else []), *values])
    return out.getvalue().rstrip("\n")


def _left_out(table: Table, places: Sequence[int], rows: int) -> str:
    parts = []
    gone = len(table.names) - len(places)
    if gone:
        kept = set(places)
        names = [name for place, name in enumerate(table.names[:20_000]) if place not in kept]
        told = ", ".join(cut(name, 40) for name in names[:_NAMED])
        more = ", …" if gone > _NAMED else ""
        parts.append(f"{gone:,} column{'' if gone == 1 else 's'} ({told}{more})")
    if table.rows is not None and table.rows > rows:
        parts.append(f"{table.rows - rows:,} of {table.rows:,} rows")
    return f"Left out here: {' and '.join(parts)}." if parts else ""
