"""The front end's files as anywidget wants them: one ES module and one style sheet a widget.

anywidget loads a single file and no file beside it, and nothing may be fetched. So what widgets
share (``widgets/aiki.js``, ``widgets/aiki.css``) is put into each: the one line that imports it
is replaced by its text. Comments stay behind, since each live widget carries its front end into
the notebook.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from aiki_kernel.errors import AikiError

_SHARED = "aiki"
_IMPORT = re.compile(r'^import \{(?P<names>[^}\n]*)\} from "\./aiki\.js";$', re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*//.*\n", re.MULTILINE)
_CSS_COMMENT = re.compile(r"/\*.*?\*/\s*", re.DOTALL)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class)\b)", re.MULTILINE)
_DECLARED = re.compile(r"^(?=(?:const|function) )", re.MULTILINE)
_NAME = re.compile(r"(?:const|function) (\w+)")
_WORD = re.compile(r"\w+")
_BLANK = re.compile(r"\n{2,}")


def file(name: str) -> Path:
    """The front-end file called ``name``: beside this module in a wheel, else in ``widgets/``.

    Raises :class:`AikiError` when it is in neither.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "static", here.parents[1] / "widgets"):
        if (folder / name).is_file():
            return folder / name
    raise AikiError(f"The widget file {name} is missing: install aiki-kernel again.")


@cache
def module(name: str) -> str:
    """The ES module of the widget ``name``, whole: what it imports from ``aiki.js`` is inside.

    Raises :class:`AikiError` when it imports anything else.
    """
    own = _read(f"{name}.js")
    asked = _IMPORT.search(own)
    if asked is not None:
        own = own[: asked.start()] + _shared(asked["names"]) + own[asked.end() :]
    if re.search(r"^import\b", own, re.MULTILINE):
        raise AikiError(f"widgets/{name}.js may import only from ./aiki.js, on one line.")
    return _BLANK.sub("\n", _COMMENT.sub("", own)).lstrip()


def _shared(names: str) -> str:
    """What ``names`` need of ``aiki.js``, in a scope of its own: a widget may use the other names
    for itself."""
    pairs = [name.split(" as ") for name in names.split(",") if name.strip()]
    wanted = ", ".join(": ".join(part.strip() for part in pair) for pair in pairs)
    given = [pair[0].strip() for pair in pairs]
    text = _needed(_EXPORT.sub("", _COMMENT.sub("", _read(f"{_SHARED}.js"))), given)
    return f"const {{ {wanted} }} = (() => {{\n{text}return {{ {', '.join(given)} }};\n}})();"


def _needed(text: str, names: Sequence[str]) -> str:
    """The declarations of ``text`` that ``names`` need, each of which begins a line.

    Raises :class:`AikiError` for a name that is not declared.
    """
    parts = [part for part in _DECLARED.split(text) if part.strip()]
    declared = {found[1]: part for part in parts if (found := _NAME.match(part))}
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in declared:
            raise AikiError(f"widgets/aiki.js has no {name}.")
        if name not in needed:
            needed.add(name)
            waiting += set(_WORD.findall(declared[name])) & declared.keys()
    return "".join(part for name, part in declared.items() if name in needed)


@cache
def style(name: str) -> str:
    """The style sheet of the widget ``name``, after the shared one."""
    text = _read(f"{_SHARED}.css") + _read(f"{name}.css")
    return _BLANK.sub("\n", _CSS_COMMENT.sub("", text)).lstrip()


def _read(name: str) -> str:
    return file(name).read_text("utf-8")
