"""The reference of all settings, from the models that read and check them."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from markdown import code, docstring, one_paragraph, row
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from aiki_kernel.config import Settings

INTRO = """\
# Settings

Settings stand in `aiki.toml` in the folder that `aiki config path` prints. A variable of the
environment wins over the file: `AIKI_`, the table and the name in capitals, two underscores between
them (`AIKI_MEMORY__RECALL_K=4`). `aiki config show` prints every value in effect and where it comes
from, `aiki config set memory.recall_k 4` writes one and keeps the comments of the file. Names that
do not exist and values that do not fit are refused in one line. Keys of providers never stand here:
`aiki config key OPENAI_API_KEY` keeps one where only you can read it.
"""
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def page() -> str:
    """Markdown of every setting."""
    parts = [INTRO]
    for name, model in _tables("", Settings):
        fields = [(key, f) for key, f in model.model_fields.items() if _section(f) is None]
        if not fields:
            continue
        about = "Top of the file." if not name else docstring(model)
        parts.append(f"## {code(f'[{name}]') if name else 'At the top'}\n\n{about}")
        lines = ["| name | takes | default | |", "|---|---|---|---|"]
        lines += [
            row(code(key), _takes(field), _default(field), one_paragraph(field.description or ""))
            for key, field in fields
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _tables(name: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield name, model
    for key, field in model.model_fields.items():
        inner = _section(field)
        path = f"{name}.{key}" if name else key
        if inner is not None:
            yield from _tables(path, inner)
        elif (entry := _entry(field)) is not None:
            yield from _tables(f"{path}.NAME", entry)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _entry(field: FieldInfo) -> type[BaseModel] | None:
    """The model of each value of a table of tables (``[endpoints.NAME]``)."""
    if typing.get_origin(field.annotation) is dict:
        value = typing.get_args(field.annotation)[1]
        if isinstance(value, type) and issubclass(value, BaseModel):
            return value
    return None


def _takes(field: FieldInfo) -> str:
    bounds = [
        f"{words} {value:g}"
        for item in field.metadata
        for name, words in _BOUNDS.items()
        if (value := getattr(item, name, None)) is not None
    ]
    return ", ".join([_kind(field.annotation), *bounds])


def _kind(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ", ".join(code(str(value)) for value in args)
    if origin in (typing.Union, types.UnionType):
        return _kind(next(part for part in args if part is not type(None)))
    if origin is tuple:
        inner = _kind(args[0])
        return f"list of {inner}" if args[-1] is Ellipsis else f"{len(args)} × {inner}"
    if origin is dict:
        entry = isinstance(args[1], type) and issubclass(args[1], BaseModel)
        return "tables" if entry else "table of text"
    names = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    return names[hint]


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        made = field.default_factory()  # type: ignore[call-arg]
        return "your login name" if isinstance(made, str) else "none"
    value = field.default
    if value is PydanticUndefined:
        return "has to be said"
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, tuple):
        return code("[" + ", ".join(_literal(part) for part in value) + "]")
    return code(_literal(value))


def _literal(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) or abs(value) >= 1e6 else f"{value:.1f}"
    return f'"{value}"' if isinstance(value, str) else str(value)
