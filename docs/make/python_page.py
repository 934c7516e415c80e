"""The reference of the Python interface, from signatures and docstrings."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import re
from typing import Any

from markdown import docstring

INTRO = """\
# Python reference

What outside code may rely on. Everything else in the package may change without notice.
A guide with examples that are run is [From Python](../python.md).
"""
PARTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Aiki", "`from aiki_kernel import Aiki`", ("aiki_kernel.aiki:Aiki",)),
    ("The memory", "`Aiki().memory`", ("aiki_kernel.aiki_memory:MemoryFacade",)),
    (
        "Answers",
        "What `ask` returns, and what `reply` and `Out[n]` hold in a notebook.",
        (
            "aiki_kernel.mind.reply:Reply",
            "aiki_kernel.models.chat:Usage",
            "aiki_kernel.mind.conversation:Message",
            "aiki_kernel.mind.conversation:Conversation",
            "aiki_kernel.mind.conversation:Exchange",
        ),
    ),
    (
        "Memories",
        "Plain frozen data.",
        (
            "aiki_kernel.memory.records:Hit",
            "aiki_kernel.memory.records:Record",
            "aiki_kernel.memory.records:Scope",
            "aiki_kernel.memory.records:ImportReport",
            "aiki_kernel.memory.patterns:Patterns",
            "aiki_kernel.memory.wave_signal:Signal",
        ),
    ),
    (
        "Events",
        "What `stream` and `respond` yield, in this order: `Recalled` and `Routed`, perhaps "
        "`Consulted`, perhaps `Hop`, then `Delta` after `Delta`, `Completed`, `Remembered`.",
        (
            "aiki_kernel.mind.events:Recalled",
            "aiki_kernel.mind.events:Routed",
            "aiki_kernel.mind.events:Decision",
            "aiki_kernel.mind.events:Candidate",
            "aiki_kernel.mind.events:Consulted",
            "aiki_kernel.models.chat:Hop",
            "aiki_kernel.mind.events:Delta",
            "aiki_kernel.mind.events:Completed",
            "aiki_kernel.mind.events:Remembered",
        ),
    ),
    (
        "Settings and files",
        "",
        (
            "aiki_kernel.config:Settings",
            "aiki_kernel.config:load",
            "aiki_kernel.config:Paths",
        ),
    ),
    (
        "Vector search",
        "`aiki_kernel.compute` stands by itself: it needs NumPy and nothing else of AIKI.",
        (
            "aiki_kernel.compute.index:VectorIndex",
            "aiki_kernel.compute.backend:Found",
            "aiki_kernel.compute.choice:Choice",
            "aiki_kernel.compute.errors:VectorError",
        ),
    ),
    (
        "Errors",
        "Every failure that a user can act on is an `AikiError`: one line with the cause and the "
        "next step. `kind` is the same in JSON answers.",
        tuple(
            f"aiki_kernel.errors:{name}"
            for name in (
                "AikiError",
                "ConfigError",
                "UsageError",
                "StoreError",
                "DaemonError",
                "ModelError",
                "RefusedError",
            )
        ),
    ),
)
_INTERNAL = {"settings_customise_sources", "model_post_init", "over", "from_json"}
_NOT_MADE = {"MemoryFacade"}
"""Classes that are given, never made by a caller."""
_PARTS_OF_AIKI = {"connection", "ledger", "consciousness", "responses", "personas", "planner"}
"""How Aiki is put together; nobody outside needs them."""


def page() -> str:
    """Markdown of the public Python interface."""
    parts = [INTRO]
    for title, about, names in PARTS:
        parts.append(f"## {title}" + (f"\n\n{about}" if about else ""))
        parts += [section(name) for name in names]
    return "\n\n".join(parts) + "\n"


def things() -> list[tuple[str, Any]]:
    """Every documented thing under its name."""
    return [(name, _load(name)) for _, _, names in PARTS for name in names]


def section(name: str) -> str:
    """One class or function."""
    thing = _load(name)
    module, _, short = name.partition(":")
    parts = [f"### {short}"]
    if inspect.isclass(thing):
        parts.append(f"`{module}.{short}`")
        if not _made_of_fields(thing) and thing.__name__ not in _NOT_MADE:
            parts.append(_code(f"{short}{_signature(thing.__init__)}"))
        parts.append(docstring(thing))
        if dataclasses.is_dataclass(thing):
            lines = [_field(field) for field in dataclasses.fields(thing)]
            parts.append(_code("\n".join(lines)))
        parts += [_member(key, value) for key, value in members(thing)]
    else:
        parts += [_code(f"{short}{_signature(thing)}"), docstring(thing)]
    return "\n\n".join(part for part in parts if part)


def _load(name: str) -> Any:
    module, _, short = name.partition(":")
    return getattr(importlib.import_module(module), short)


def _made_of_fields(thing: type) -> bool:
    settings = hasattr(thing, "model_fields")
    plain = thing.__init__ is object.__init__ or issubclass(thing, Exception | enum.Enum | tuple)
    return dataclasses.is_dataclass(thing) or settings or plain


def members(thing: type) -> list[tuple[str, Any]]:
    found = []
    for key, value in vars(thing).items():
        plain = getattr(value, "__func__", value)
        if key.startswith("_") or key in _INTERNAL:
            continue
        if thing.__name__ == "Aiki" and key in _PARTS_OF_AIKI:
            continue
        if isinstance(value, property) or inspect.isfunction(plain):
            found.append((key, value))
    return found


def _member(key: str, value: Any) -> str:
    if isinstance(value, property):
        kind = _clean(str(value.fget.__annotations__.get("return", "")))
        about = docstring(value)
        return f"**`{key}`** → `{kind}`" + (f"\n\n{about}" if about else "")
    plain = getattr(value, "__func__", value)
    if isinstance(value, staticmethod | classmethod) or plain.__name__ == key:
        head = f"{key}{_signature(plain)}"
    else:
        head = f"{key} = {plain.__name__}"
        return f"**`{head}`**"
    return f"**`{head}`**\n\n{docstring(plain)}".rstrip()


def _field(field: dataclasses.Field[Any]) -> str:
    kind = _clean(str(field.type))
    if field.default is not dataclasses.MISSING:
        return f"{field.name}: {kind} = {field.default!r}"
    made = "" if field.default_factory is dataclasses.MISSING else " = ..."
    return f"{field.name}: {kind}{made}"


def _signature(function: Any) -> str:
    found = inspect.signature(function)
    kept = [p for name, p in found.parameters.items() if name not in ("self", "cls")]
    words, starred = [], False
    for p in kept:
        if p.kind is p.KEYWORD_ONLY and not starred:
            words.append("*")
            starred = True
        mark = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        starred = starred or mark == "*"
        hint = "" if p.annotation is p.empty else f": {_clean(str(p.annotation))}"
        default = "" if p.default is p.empty else f" = {_shown(p.default)}"
        words.append(f"{mark}{p.name}{hint}{default}")
    back = found.return_annotation
    arrow = "" if back in (found.empty, "None") else f" -> {_clean(str(back))}"
    return f"({', '.join(words)}){arrow}"


def _shown(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)


def _clean(hint: str) -> str:
    return re.sub(r"\b[\w.]+\.(\w+)", r"\1", hint.strip("'"))


def _code(text: str) -> str:
    return f"```text\n{text}\n```"
