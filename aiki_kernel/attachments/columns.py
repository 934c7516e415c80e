"""Statistics of a column that is held as plain values: records, a CSV file, a frame's texts."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aiki_kernel.attachments.table import Column
from aiki_kernel.attachments.values import library, missing, number, shown

HEAD = 5
SCANNED = 100_000
"""Values that are counted one by one, at most."""

_MOST = 3
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_REAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|nan)", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?\d+,\d+")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")
_TRUTH = {"true": True, "false": False, "yes": True, "no": False}


def column(name: str, values: Sequence[Any], of: int = 0) -> Column:
    """A column of Python values; numbers, truth values and texts are told apart by their types.

    ``of`` is how many there are in all, where ``values`` are only the first of them. What was
    not looked at is said: figures of a part must not pass for those of the whole.
    """
    head = tuple(shown(value, 200) for value in values[:HEAD])
    made = _column(name, values[:SCANNED], head, max(of, len(values)))
    if max(of, len(values)) <= SCANNED or made.type == "text":  # texts say it themselves
        return made
    seen = f"of the first {SCANNED:,} values"
    return replace(made, about=f"{made.about} ({seen})" if made.about else f"({seen})")


def _column(name: str, part: Sequence[Any], head: tuple[str, ...], of: int) -> Column:
    there = [value for value in part if not missing(value)]
    gone = len(part) - len(there)
    kinds = {type(value) for value in there}
    if not there:
        return Column(name, "empty", gone, "", head)
    if kinds == {bool}:
        return Column(name, "bool", gone, share(sum(there), len(there)), head)
    if kinds <= {int, float, bool} or (len(kinds) == 1 and _is_number(there[0])):
        plain = [float(value) for value in there]
        kind = "int" if kinds == {int} else "float"
        return Column(name, kind, gone, numbers(plain), head)
    if kinds == {str}:
        return Column(name, "text", gone, texts(there, of), head)
    words = sorted(kind.__name__ for kind in kinds)
    if len(kinds) == 1 and shown(there[0]) and not shown(there[0]).startswith("<"):
        try:
            low, high = min(there), max(there)
        except TypeError:
            return Column(name, words[0], gone, "", head)
        return Column(name, words[0], gone, f"{shown(low)} to {shown(high)}", head)
    return Column(name, " or ".join(words[:4]), gone, "", head)


def text_column(name: str, values: Sequence[str], *, comma: bool = False) -> Column:
    """A column of texts as a file has them, read as numbers or dates where all of them are.

    ``comma`` says that a decimal comma may stand in a number.
    """
    head = tuple(shown(value, 200) for value in values[:HEAD])
    there = [value.strip() for value in values if value.strip()]
    gone = len(values) - len(there)
    if not there:
        return Column(name, "empty", gone, "", head)
    if all(_INTEGER.fullmatch(value) for value in there):
        return Column(name, "int", gone, numbers([float(value) for value in there]), head)
    decimal = comma and all(_COMMA.fullmatch(v) or _REAL.fullmatch(v) for v in there)
    if decimal or all(_REAL.fullmatch(value) for value in there):
        plain = [float(value.replace(",", ".")) for value in there]
        return Column(name, "float", gone, numbers(plain), head)
    if all(value.lower() in _TRUTH for value in there):
        yes = sum(_TRUTH[value.lower()] for value in there)
        return Column(name, "bool", gone, share(yes, len(there)), head)
    if all(_DATE.fullmatch(value) for value in there):
        return Column(name, "date", gone, f"{min(there)} to {max(there)}", head)
    return Column(name, "text", gone, texts(there, len(there)), head)


def numbers(values: Sequence[float]) -> str:
    """``min 1, mean 2.5, median 2, max 9, sd 1.2``."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    spread = statistics.pstdev(finite) if len(finite) < 2 else statistics.stdev(finite)
    mean, middle = statistics.fmean(finite), statistics.median(finite)
    return told((min(finite), mean, middle, max(finite), spread))


def told(figures: Sequence[float | None]) -> str:
    """The figures of a column of numbers in one phrase, those left out that there are none of:
    least, mean, median, greatest, standard deviation."""
    names = ("min", "mean", "median", "max", "sd")
    found = zip(names, figures, strict=True)
    return ", ".join(
        f"{name} {number(one)}" for name, one in found if one is not None and not math.isnan(one)
    )


def texts(values: Sequence[str], of: int) -> str:
    """How many different ones there are, the most frequent, and how long they are."""
    part = values[:SCANNED]
    counts = Counter(part)
    within = f" in the first {SCANNED:,}" if of > SCANNED else ""
    longest = max(map(len, part), default=0)
    if len(counts) == len(part) and len(part) > _MOST:
        return f"all different{within}, up to {longest:,} characters"
    most = ", ".join(
        f'"{shown(value, 30)}" {count:,}' for value, count in counts.most_common(_MOST)
    )
    return f"{len(counts):,} different{within}; most: {most}"


def share(yes: int, of: int) -> str:
    """``true in 40 %``."""
    return f"true in {100 * yes / of:.3g} %" if of else ""


def _is_number(value: Any) -> bool:
    name = type(value).__name__
    return library(value) == "numpy" and name.startswith(("int", "uint", "float"))
