"""One value of a table as text, without running code of the user's.

Only values of built-in types, of the standard library's, and of NumPy, pandas and polars are
written out; an object of any other class is its class's name in ``<>``, since its own ``str``
could do anything.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import math
import pathlib
import uuid
from typing import Any

from aiki_kernel.safety.secrets import redact

_WRITTEN = (
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    fractions.Fraction,
    uuid.UUID,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)
_SHORTEST_KEY, _LONGEST_KEY = 7, 400  # characters
_LIBRARIES = ("numpy", "pandas", "polars")


def library(value: Any) -> str:
    """The library that an object's class belongs to: ``pandas`` for a DataFrame."""
    return type(value).__module__.partition(".")[0]


def missing(value: Any) -> bool:
    """Whether ``value`` stands for none: None, NaN, NaT, NA."""
    if value is None:
        return True
    if type(value) is float:
        return math.isnan(value)
    name = type(value).__name__
    if library(value) == "numpy" and name.startswith("float"):
        return bool(value != value)
    return name in ("NaTType", "NAType")


def shown(value: Any, width: int = 60) -> str:
    """``value`` on one line of at most ``width`` characters; "" for a missing one."""
    if missing(value):
        return ""
    return cut(_text(value), width)


def cut(text: str, width: int) -> str:
    """``text`` on one line, its end left out with a sign where it is longer than ``width``.

    Secrets go before the cut: half a key would not be known for one.
    """
    if len(text) > 4 * width + _LONGEST_KEY:
        text = text[: 4 * width + _LONGEST_KEY] + "…"
    if len(text) > _SHORTEST_KEY:
        text = redact(text)
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: max(1, width - 1)] + "…"


def number(value: float | None) -> str:
    """A figure of a statistic: six digits, none that say nothing."""
    if value is None or value != value:
        return "none"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value)}"
    return f"{value:.6g}"


def _text(value: Any) -> str:
    kind = type(value)
    if kind in (str, int, bool, complex):
        return str(value)
    if kind is float:
        return number(value) if math.isfinite(value) else str(value)
    if kind in _WRITTEN:
        return str(value)
    if kind is bytes:
        return f"<{len(value)} bytes>"
    if kind in (list, tuple, set, dict):
        return f"<{kind.__name__} of {len(value)}>"
    if library(value) == "numpy" and hasattr(kind, "item") and not hasattr(kind, "__len__"):
        plain = value.item()
        return _text(plain) if library(plain) != "numpy" else str(value)
    if library(value) == "numpy" and kind.__name__ in ("str_", "bytes_"):
        return str(value)
    if library(value) in _LIBRARIES and kind.__name__ in (
        "Timestamp",
        "Timedelta",
        "Period",
        "Interval",
        "datetime64",
        "timedelta64",
    ):
        return str(value)
    return f"<{kind.__name__}>"
