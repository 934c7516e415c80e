r"""``{name}`` in prose becomes the value of a variable; every other brace stays as it is.

Never ``str.format``: a prompt holds JSON, LaTeX, CSS and f-strings, and format would
choke on them or, worse, run what they say. The grammar is small::

    {name}   {name.attr}   {name[0]}   {name["key"]}     and chains of these
    {open:path/to/a file.csv}                            a file

A group is replaced only when all of it fits the grammar, the name is a variable of the
user and the value can be had without running the user's code. Otherwise it passes
untouched, as do: braces within braces, ``{{...}}``, ``${...}``, code spans and fences,
f-strings, mathematics (``$...$``, ``\(...\)``, ``\[...\]``) and LaTeX arguments
(``\frac{a}{b}``, ``x_{i}^{n}``).

Reading runs no user code: attributes are looked up statically. What an instance holds
itself, slots, and C-level descriptors are plain data everywhere; properties and indexing
are followed only for the classes of :data:`_PLAIN` (a DataFrame's ``shape`` is data; the
property of an unknown class may do anything). Functions, classes and modules are no data.
"""

from __future__ import annotations

import ast
import collections
import functools
import inspect
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_STEP = r"""\.[A-Za-z_]\w*|\[(?:-?\d+|"[^"\\\n]*"|'[^'\\\n]*')\]"""
_REFERENCE = re.compile(rf"([A-Za-z]\w*)((?:{_STEP})*)")
_STEPS = re.compile(_STEP)
_OPEN = re.compile(
    r"""\{open:(?:[ ]?["']([^"'{}\n]+)["'][ ]?|([^{}\n"',:;]+|[A-Za-z]:[^{}\n"',;]+|[a-z0-9]+://[^{}\s"']+))\}"""
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*(?:\n|$)", re.MULTILINE)
_F_STRING = re.compile(
    r"""(?<![\w'"])(?:[fF][rR]?|[rR][fF])(?:"{3}.*?"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')""",
    re.DOTALL,
)
_MATH = re.compile(
    r"\$\$.+?\$\$|\\\(.+?\\\)|\\\[.+?\\\]"
    r"|\\begin\{(?P<env>[A-Za-z]+\*?)\}.*?\\end\{(?P=env)\}",
    re.DOTALL,
)
# Pandoc's rule: no space inside the signs, no digit after them; "$5 and $7" is money.
_INLINE_MATH = re.compile(r"(?<![\\$\w])\$(?=[^\s$])[^$\n]*?(?<=[^\s\\$])\$(?![\d$])")

_PLAIN = {"numpy", "pandas", "polars", "pathlib", "datetime", "decimal", "fractions", "collections"}
_NO_DATA = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_TUPLE_FIELD = type(collections.namedtuple("_", "field").field)  # type: ignore[attr-defined]
_MISSING = object()
LIMIT = 20_000
"""Characters of one value that enter a message."""


@dataclass(frozen=True)
class Found:
    """A reference in braces: where it stands, its name and its steps (``.a``, ``[0]``).

    ``path`` is that of a file, and the name then "".
    """

    start: int
    end: int
    name: str
    steps: tuple[str, ...]
    path: str = ""

    @property
    def typed(self) -> str:
        """What stands between the braces, as the user would name it."""
        return self.path or self.name + "".join(self.steps)


def interpolate(text: str, namespace: Mapping[str, Any]) -> str:
    """``text`` with every reference that can be resolved in ``namespace`` replaced."""
    return replaced(text, lambda found: written(resolve(found, namespace)))


def replaced(text: str, shown_for: Callable[[Found], str | None]) -> str:
    """``text`` with references replaced; those for which there is None stay as they are."""
    out, position = [], 0
    for found in references(text):
        shown = shown_for(found)
        if shown is not None:
            out += [text[position : found.start], shown]
            position = found.end
    return "".join([*out, text[position:]])


def written(value: Any) -> str | None:
    """A value as the message has it; None for what is missing or cannot be written: that stays
    as it was typed."""
    if value is _MISSING:
        return None
    try:
        shown = str(value)
    except Exception:
        return None
    if len(shown) > LIMIT:
        shown = f"{shown[:LIMIT]}… ({len(shown):,} characters in all)"
    return shown


def references(text: str) -> list[Found]:
    """All groups of ``text`` that fit the grammar and stand in prose."""
    if "{" not in text:
        return []
    untouched = _untouched(text)
    found, position = [], 0
    while (start := text.find("{", position)) >= 0:
        if start in untouched:
            position = untouched[start]
            continue
        end = _closing(text, start)
        if end < 0:
            position = start + 1
            continue
        if _is_latex(text, start):
            position = _after_latex(text, end)
            continue
        opened = _OPEN.match(text, start)
        if opened and text[start - 1 : start] != "$" and _is_path(opened):
            found.append(Found(start, opened.end(), "", (), (opened[1] or opened[2]).strip()))
            position = opened.end()
            continue
        match = _REFERENCE.fullmatch(text, start + 1, end - 1)
        if match and text[start - 1 : start] != "$":
            steps = tuple(step[0] for step in _STEPS.finditer(match[2]))
            found.append(Found(start, end, match[1], steps))
        position = end
    return found


def _is_path(opened: re.Match[str]) -> bool:
    """Whether a file is meant, and not a value: ``{open: true}`` is JavaScript's."""
    if opened[1]:
        return True
    path = opened[2]
    if path[0].isspace():
        return re.search(r"[./\\]", path) is not None and not _NUMBER.fullmatch(path.strip())
    return path.strip() not in ("true", "false", "null") and not _NUMBER.fullmatch(path)


def resolve(found: Found, namespace: Mapping[str, Any]) -> Any:
    """The value of a reference, or the module's ``_MISSING`` when it is none of plain data."""
    value = namespace.get(found.name, _MISSING)
    for step in found.steps:
        if value is _MISSING:
            return _MISSING
        if step.startswith("."):
            value = _attribute(value, step[1:])
        else:
            value = _item(value, ast.literal_eval(step[1:-1]))
    return value if is_data(value) else _MISSING


def is_data(value: Any) -> bool:
    """Whether a value may stand in a message: not a function, class or module, and found."""
    return value is not _MISSING and not isinstance(value, _NO_DATA)


def _untouched(text: str) -> dict[int, int]:
    """Every position inside code, f-strings and mathematics -> the end of that piece."""
    pieces: dict[int, int] = {}

    def cover(start: int, end: int) -> None:
        if start not in pieces:
            pieces.update(dict.fromkeys(range(start, end), end))

    for start, end in _code(text):
        cover(start, end)
    for pattern in (_F_STRING, _MATH, _INLINE_MATH):
        for match in pattern.finditer(text):
            cover(*match.span())
    return pieces


def _code(text: str) -> list[tuple[int, int]]:
    """Fences (an open one reaches to the end) and code spans."""
    spans, position = [], 0
    while opening := _FENCE.search(text, position):
        spans += _code_spans(text, position, opening.start())
        mark = opening[1]
        closing = re.compile(rf"^[ \t]*{mark[0]}{{{len(mark)},}}[ \t]*$", re.MULTILINE)
        end = closing.search(text, opening.end())
        position = end.end() if end else len(text)
        spans.append((opening.start(), position))
        if position >= len(text):
            return spans
    return spans + _code_spans(text, position, len(text))


def _code_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    pattern = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)\1(?!`)", re.DOTALL)
    return [match.span() for match in pattern.finditer(text, start, end)]


def _closing(text: str, start: int) -> int:
    """One past the brace that closes the one at ``start``, or -1."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if match[0] == "{" else -1
        if not depth:
            return match.end()
    return -1


def _is_latex(text: str, start: int) -> bool:
    """Whether the group at ``start`` is an argument of a command, ``^`` or ``_``."""
    if text[start - 1 : start] in ("^", "_") and start >= 1:
        return True
    head = text[:start]
    head = re.sub(r"\[[^\[\]\n]*\]$", "", head)
    return re.search(r"\\[A-Za-z]+\*?$", head[-60:]) is not None


def _after_latex(text: str, end: int) -> int:
    """Past the further arguments of the same command: ``\\frac{a}{b}``."""
    while text[end : end + 1] == "{":
        closing = _closing(text, end)
        if closing < 0:
            return end
        end = closing
    return end


def _attribute(value: Any, name: str) -> Any:
    if name.startswith("__"):
        return _MISSING
    try:
        held = inspect.getattr_static(value, name)
    except AttributeError:
        return _MISSING
    if isinstance(held, types.MemberDescriptorType | types.GetSetDescriptorType | _TUPLE_FIELD):
        return _ask(held, value)
    if isinstance(held, property | functools.cached_property) or hasattr(held, "__get__"):
        return _ask(held, value) if _is_plain(type(value)) and not callable(held) else _MISSING
    return held


def _item(value: Any, key: int | str) -> Any:
    kind = type(value)
    own = getattr(kind, "__getitem__", None)
    builtin = any(own is base.__getitem__ for base in (dict, list, tuple, str))
    if not builtin and not _is_plain(kind):
        return _MISSING
    if builtin and isinstance(value, dict) and key not in value:
        return _MISSING  # a subclass's __missing__ would run
    try:
        return value[key]
    except Exception:
        return _MISSING


def _ask(descriptor: Any, value: Any) -> Any:
    # Not getattr: that would go through a __getattribute__ of the user's.
    try:
        return descriptor.__get__(value, type(value))
    except Exception:
        return _MISSING


def _is_plain(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _PLAIN
