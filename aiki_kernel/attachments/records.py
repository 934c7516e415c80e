"""Records of plain Python and rows of CSV text as a :class:`~aiki_kernel.attachments.table.Table`.

Records are a list of dicts, or a dict of lists that are equally long, of the built-in types
themselves: a subclass may do anything.
"""

from __future__ import annotations

import csv
import io
import itertools
from typing import Any

from aiki_kernel.attachments.columns import SCANNED, column, text_column
from aiki_kernel.attachments.table import Table
from aiki_kernel.attachments.values import shown

_LEAST = 2
_PLAIN = (int, float, bool, str, type(None))
_LONG = 400  # characters from which records are summarised instead of written out
_SEPARATORS = ",;\t|"


def is_records(value: Any) -> bool:
    """Whether ``value`` is a list of dicts or a dict of lists, long enough to be summarised."""
    kind = type(value)
    if kind in (list, tuple):
        return len(value) >= _LEAST and all(type(one) is dict for one in value) and _long(value)
    if kind is dict:
        columns = list(value.values())
        if not columns or not all(type(one) in (list, tuple) for one in columns):
            return False
        lengths = {len(one) for one in columns}
        return len(lengths) == 1 and min(lengths) >= _LEAST and _long(value)
    return False


def is_column(value: Any) -> bool:
    """Whether ``value`` is a list of plain values that is too long for a sentence."""
    if type(value) not in (list, tuple, set, frozenset, range) or len(value) < _LEAST:
        return False
    return all(type(one) in _PLAIN for one in itertools.islice(value, SCANNED))


def table_of(value: Any) -> Table:
    """The table behind records."""
    if type(value) in (list, tuple, set, frozenset, range) and type(next(iter(value))) is not dict:
        part, rows = list(itertools.islice(value, SCANNED)), len(value)
        return Table(type(value).__name__, rows, ["values"], lambda _: column("values", part, rows))
    if type(value) is dict:
        rows = len(next(iter(value.values())))
        found = {shown(name, 200): list(values[:SCANNED]) for name, values in value.items()}
        kind = f"dict of {len(found):,} lists"
    else:
        part = value[:SCANNED]
        keys = dict.fromkeys(key for row in part for key in row if type(key) is str)
        found = {key: [row.get(key) for row in part] for key in keys}
        rows, kind = len(value), "list of dicts"
    names = list(found)
    return Table(kind, rows, names, lambda place: column(names[place], found[names[place]], rows))


def of_csv(text: str, kind: str = "CSV file") -> Table:
    """The table in CSV text whose first row names the columns. Raises ValueError, one line."""
    separator = _separator(text)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator, strict=False) if row]
    if not rows:
        raise ValueError("it is empty")
    head, *body = rows
    width = max(len(row) for row in rows[:1000])
    names = [name.strip().lstrip("\ufeff") or f"column {n}" for n, name in enumerate(head, 1)]
    names += [f"column {n}" for n in range(len(names) + 1, width + 1)]
    comma = separator != ","

    def read(place: int) -> Any:
        values = [row[place] if place < len(row) else "" for row in body]
        return text_column(names[place], values, comma=comma)

    return Table(kind, len(body), names, read)


def _separator(text: str) -> str:
    """What parts the columns: the sign that parts the first lines the most, and alike."""
    lines = [line for line in text[:20_000].splitlines()[:20] if line.strip()]
    best, most = ",", 0
    for sign in _SEPARATORS:
        rows = [len(row) for row in csv.reader(lines, delimiter=sign)]
        if rows and min(rows) > 1:
            alike = rows.count(rows[0]) / len(rows)
            score = round(100 * alike) + min(rows)
            best, most = (sign, score) if score > most else (best, most)
    return best


def _long(value: Any) -> bool:
    rows = value.values() if type(value) is dict else value
    if len(value) > 50 or max(map(len, rows)) > 50:
        return True
    try:
        inner = [one.values() if type(one) is dict else one for one in rows]
        return sum(len(shown(each, _LONG)) + 4 for one in inner for each in one) > _LONG
    except RecursionError:
        return True
