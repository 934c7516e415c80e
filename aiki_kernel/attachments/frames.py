"""Frames of pandas, polars and NumPy as a :class:`~aiki_kernel.attachments.table.Table`.

They are known by the module of their class, never by importing one: a subclass of the user's is
none of them. Statistics are the libraries' own; texts are counted by ourselves, and objects of
other classes are never compared, hashed or printed.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from typing import Any

from aiki_kernel.attachments.columns import HEAD, SCANNED, column, share, texts, told
from aiki_kernel.attachments.table import Column, Table
from aiki_kernel.attachments.values import cut, library, missing, shown

_SORTED = 1_000_000  # values: a median of more takes seconds a column
_SMALL = 12  # elements of an array that still stands in the sentence


def is_frame(value: Any) -> bool:
    """Whether ``value`` is a frame, a series or an array that is summarised."""
    kind, name = library(value), type(value).__name__
    if kind == "pandas":
        return name in ("DataFrame", "Series")
    if kind == "polars":
        return name in ("DataFrame", "Series", "LazyFrame")
    return kind == "numpy" and name in ("ndarray", "recarray", "matrix") and value.size > _SMALL


def table_of(value: Any) -> Table:
    """The table behind a frame, a series or an array."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"pandas": _pandas, "polars": _polars, "numpy": _numpy}[library(value)](value)


# -- pandas -----------------------------------------------------------------------------------


def _pandas(value: Any) -> Table:
    if type(value).__name__ == "Series":
        named = _name(value.name) or "values"
        return Table(
            "pandas Series",
            len(value),
            [named],
            lambda _: _pandas_column(named, value),
            _labels(value),
        )
    names = [_name(name) or str(name) for name in value.columns]
    return Table(
        "pandas DataFrame",
        len(value),
        names,
        lambda place: _pandas_column(names[place], value.iloc[:, place]),
        _labels(value),
        f"index: {type(value.index).__name__}{_index_name(value.index)}",
    )


def _labels(value: Any) -> tuple[str, ...]:
    return tuple(_name(label) for label in value.index[:HEAD])


def _index_name(index: Any) -> str:
    named = [_name(name) for name in index.names if name is not None]
    return f" {', '.join(named)}" if named else ""


def _name(label: Any) -> str:
    if type(label) is tuple:
        return " / ".join(shown(part) for part in label)
    return shown(label, 200)


def _pandas_column(name: str, series: Any) -> Column:
    kind = series.dtype
    if library(kind) not in ("numpy", "pandas"):
        return Column(name, type(kind).__name__, 0, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head = tuple(shown(value, 200) for value in series.iloc[:HEAD].tolist())
        gone = int(series.isna().sum())
        return Column(name, cut(str(kind), 40), gone, _pandas_about(series, gone), head)


def _pandas_about(series: Any, gone: int) -> str:
    there = len(series) - gone
    kind = getattr(series.dtype, "kind", "O")
    if not there:
        return ""
    with contextlib.suppress(TypeError, ValueError, ArithmeticError):
        if kind == "b":
            return share(int(series.sum()), there)
        if kind in "iuf":
            middle = series.median() if len(series) <= _SORTED else math.nan
            five = (series.min(), series.mean(), middle, series.max(), series.std())
            return told([float(one) for one in five])
        if kind in "mM":
            return f"{shown(series.min())} to {shown(series.max())}"
        part = series.iloc[:SCANNED].tolist()
        values = [value for value in part if type(value) is str]
        if values and len(values) >= min(there, SCANNED) - gone:
            return texts(values, len(series))
        if type(series.dtype).__name__ == "CategoricalDtype":
            return texts([shown(value) for value in part if not missing(value)], len(series))
        if kind == "O":
            found = column("", part, of=len(series))
            return f"{found.type}; {found.about}" if found.about else found.type
    return ""


# -- polars -----------------------------------------------------------------------------------


def _polars(value: Any) -> Table:
    name = type(value).__name__
    if name == "LazyFrame":
        schema = dict(value.collect_schema())
        kinds = list(schema.items())
        return Table(
            "polars LazyFrame (not collected: no values)",
            None,
            list(schema),
            lambda place: Column(kinds[place][0], str(kinds[place][1]), 0, ""),
        )
    if name == "Series":
        named = value.name or "values"
        return Table("polars Series", len(value), [named], lambda _: _polars_column(value))
    columns = value.get_columns()
    names = [one.name for one in columns]
    return Table("polars DataFrame", len(value), names, lambda n: _polars_column(columns[n]))


def _polars_column(series: Any) -> Column:
    kind, gone = series.dtype, int(series.null_count())
    named = str(kind)
    head: tuple[str, ...] = ()
    about = ""
    if not named.startswith("Object"):
        head = tuple(shown(value, 200) for value in series.head(HEAD).to_list())
        there = series.drop_nulls()
        if kind.is_float():
            there = there.drop_nans()
            gone = len(series) - len(there)
        with contextlib.suppress(TypeError, ValueError, ArithmeticError):
            if len(there):
                about = _polars_about(there, kind)
    return Column(series.name, cut(named, 60), gone, about, head)


def _polars_about(there: Any, kind: Any) -> str:
    if kind.is_numeric():
        spread = there.std() if len(there) > 1 else None
        found = (there.min(), there.mean(), there.median(), there.max(), spread)
        return told(tuple(None if one is None else float(one) for one in found))
    if kind.is_temporal():
        return f"{shown(there.min())} to {shown(there.max())}"
    if str(kind) == "Boolean":
        return share(int(there.sum()), len(there))
    values = [value for value in there.head(SCANNED).to_list() if type(value) is str]
    return texts(values, len(there)) if values else ""


# -- NumPy ------------------------------------------------------------------------------------


def _numpy(value: Any) -> Table:
    import numpy as np

    array = np.asarray(value)
    shape = " x ".join(f"{size:,}" for size in array.shape)
    if fields := array.dtype.names:
        return Table(
            f"NumPy structured array of shape {shape}",
            array.size,
            list(fields),
            lambda place: _numpy_column(fields[place], array[fields[place]].reshape(-1)),
        )
    if array.ndim == 2 and array.shape[1] <= 50:
        return Table(
            f"NumPy array of {array.dtype}, shape {shape}",
            array.shape[0],
            [f"[:, {place}]" for place in range(array.shape[1])],
            lambda place: _numpy_column(f"[:, {place}]", array[:, place]),
        )
    name = "all values" if array.ndim > 1 else "values"
    return Table(
        f"NumPy array of {array.dtype}, shape {shape}",
        array.size,
        [name],
        lambda _: _numpy_column(name, array.reshape(-1)),
    )


def _numpy_column(name: str, values: Any) -> Column:
    import numpy as np

    head = tuple(shown(value, 200) for value in values[:HEAD].tolist())
    kind, gone, about = values.dtype.kind, 0, ""
    if kind == "O":
        found = column(name, values[:SCANNED].tolist(), of=values.size)
        return Column(name, f"object: {found.type}", found.missing, found.about, head)
    if kind == "b":
        about = share(int(values.sum()), values.size)
    elif kind in "iuf":
        there = values[np.isfinite(values)] if kind == "f" else values
        gone = int(np.isnan(values).sum()) if kind == "f" else 0
        if there.size:
            spread = float(there.std(ddof=1, dtype=np.float64)) if there.size > 1 else None
            low, high = float(there.min()), float(there.max())
            mean = float(there.mean(dtype=np.float64))
            middle = float(np.median(there)) if there.size <= _SORTED else None
            about = told((low, mean, middle, high, spread))
    elif kind in "mM":
        gone = int(np.isnat(values).sum())
        there = values[~np.isnat(values)]
        about = f"{there.min()} to {there.max()}" if there.size else ""
    elif kind == "U":
        about = texts(values[:SCANNED].tolist(), values.size)
    return Column(name, str(values.dtype), gone, about, head)
