"""What the pickers show: personas and models, each with what a choice depends on.

Plain JSON data made of what ``%aiki_persona`` and ``%aiki_model list`` know; the widgets, the
HTML and the text are renderings of it. Names and prompts are other people's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiki_kernel.display.facts import clean, number
from aiki_kernel.safety.secrets import redact

Facts = dict[str, Any]

MOST_MODELS = 30
"""Rows of the model picker; beyond them one types."""
MOST_PERSONAS = 40
_ABOUT, _NAME = 160, 120
_LANGUAGES = {"en": "English", "no": "Norwegian"}
_FIRST = re.compile(r"^(?:You are|Du er)\b[^.!?]*[.!?]\s+")
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")


def personas(found: Sequence[Mapping[str, Any]], current: str, language: str) -> Facts:
    """The page of the persona picker; ``found`` as ``persona list --json`` has it."""
    rows = [_persona(one, current, language) for one in found[:MOST_PERSONAS]]
    now = next((row for row in rows if row["current"]), None)
    who = f"{now['title']} (@{now['name']})" if now else f"@{_line(current, _NAME)}"
    more = len(found) - len(rows)
    return {
        "rows": rows,
        "current": _line(current, _NAME),
        "said": f"{who} answers.",
        "more": f"{more} more: `%aiki_persona list` shows all." if more else "",
    }


def _persona(one: Mapping[str, Any], current: str, language: str) -> Facts:
    name = _line(one.get("name"), _NAME)
    problem = _line(f"cannot be used: {one['problem']}", 300) if one.get("problem") else ""
    voices = one.get("voices") or {}
    voice: Mapping[str, Any] = voices.get(language) or next(iter(voices.values()), {})
    return {
        "name": name,
        "title": _line(voice.get("title") or name, _NAME),
        "about": described(str(voice.get("system") or "")),
        "current": one.get("name") == current,
        "problem": problem,
        "facts": []
        if problem
        else [
            ["models", _line(", ".join(one.get("models") or ()) or "any", _ABOUT)],
            ["reads", _line(", ".join(one.get("read") or ()) or "nothing", _ABOUT)],
            ["writes", _line(", ".join(one.get("write") or ()) or "nothing", _ABOUT)],
            ["tools", _line(", ".join(_tool(t) for t in one.get("tools") or ()) or "none", _ABOUT)],
            ["speaks", ", ".join(_LANGUAGES.get(key, key) for key in voices) or "English"],
        ],
    }


def described(system: str) -> str:
    """The first sentence of a prompt that says more than a name."""
    text = clean(system)
    text = _FIRST.sub("", text) or text
    end = re.search(r"[.!?](?=\s|$)", text)
    return _line(text[: end.end()] if end else text, _ABOUT)


def _tool(name: str) -> str:
    return name.removeprefix("memory.")


def models(
    found: Sequence[Mapping[str, Any]], current: str, chosen_by: str, query: str = ""
) -> Facts:
    """The page of the model picker; ``found`` as ``model list --json`` has it, each with ``size``
    (bytes of local weights, or None) and ``todo`` (what it needs before it answers, or "")."""
    rows = [_model(one, current) for one in found[:MOST_MODELS]]
    more = len(found) - len(rows)
    asked = dict.fromkeys(_line(one.get("todo"), 80) for one in found[:MOST_MODELS])
    todo = [f"`{line}`" for line in asked if line]
    name = _line(current, _NAME)
    who = "The router chooses the model" if current == "auto" else f"{name} answers"
    none = f"No model has {_line(query, 60)!r} in its name." if query and not rows else ""
    return {
        "rows": rows,
        "current": _line(current, _NAME),
        "said": f"{who} ({_line(chosen_by, _NAME)}).",
        "total": len(found),
        "todo": f"Set a key in a terminal: {', '.join(todo)}." if todo else "",
        "note": none or (f"{more:,} more: type a part of the name." if more else ""),
    }


def _model(one: Mapping[str, Any], current: str) -> Facts:
    local = bool(one.get("local"))
    return {
        "name": _line(one.get("name"), _NAME),
        "tier": _line(one.get("tier") or "no tier", 20),
        "given": "free" if local else price(one.get("input_usd_per_million")),
        "made": "free" if local else price(one.get("output_usd_per_million")),
        "window": window(one.get("window")),
        "size": size(one.get("size")),
        "state": _line(one.get("state"), 200),
        "usable": bool(one.get("usable")),
        "local": local,
        "current": bool(one.get("current")),
    }


def price(usd: Any) -> str:
    """USD for a million tokens: ``$1.25``, ``$0.05``, ``unknown``."""
    found = number(usd)
    if found is None:
        return "unknown"
    return f"${found:.2f}" if found >= 0.095 or found == 0 else f"${found:.2g}"


def window(tokens: Any) -> str:
    """``128k``, ``1M``, ``8,192``; "" where nobody knows."""
    found = int(number(tokens) or 0)
    if not found:
        return ""
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if found >= 16_000 and found >= unit:
            return f"{found / unit:.3g}{name}"
    return f"{found:,}"


def size(count: Any) -> str:
    """``88 MB``, ``1.2 GB``; "" where nobody knows."""
    found = number(count)
    if not found:
        return ""
    return f"{found / 1e9:.1f} GB" if found >= 0.95e9 else f"{max(1, round(found / 1e6))} MB"


def _line(value: Any, limit: int) -> str:
    if value is None:
        return ""
    text = _TURNS.sub("", clean(redact(str(value))))
    return text if len(text) <= limit else text[: limit - 1] + "…"
