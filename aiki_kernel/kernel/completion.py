"""Tab and Shift-Tab in cells of prose: magics and their words, models, variables in braces.

Python cells go to IPython. What needs settings or a registry runs in a thread, because
Tab is answered on the loop on which an answer may be streaming.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.attachments import files
from aiki_kernel.attachments.interpolation import Found, is_data, references, resolve
from aiki_kernel.kernel.bridge import in_thread
from aiki_kernel.kernel.cells import classify
from aiki_kernel.kernel.chat import option_names
from aiki_kernel.kernel.magics import PREFIX, context

if TYPE_CHECKING:
    from aiki_kernel.kernel.chat import Chat

_COMMAND = re.compile(rf"[ \t]*%{PREFIX}(?P<noun>[a-z]+)[ \t]+(?P<rest>.*)$", re.DOTALL)
_CELL = re.compile(r"[ \t]*%%aiki[ \t]+(?P<rest>.*)$", re.DOTALL)
_MAGIC = re.compile(r"[ \t]*(?P<mark>%{0,2})(?P<name>[A-Za-z_]\w*|)$")
_BRACE = re.compile(r"(?<![\{$\\])\{(?P<path>[A-Za-z][\w.]*|)$")
_OPEN = re.compile(r"(?<![\{$\\])\{open:(?P<quote>[\"']?)(?P<path>[^{}\n\"']*)$")
_ADDRESS = re.compile(r"\s*@(?P<name>[\w-]*)$")
_WORD = re.compile(r"[^\s,;()\[\]{}\"']+")


def body_of(code: str, cursor: int) -> tuple[str, int] | None:
    """The Python in a ``%%python`` cell and where it begins, when the cursor stands in it."""
    cell = classify(code)
    if cell.kind == "python" and cursor >= cell.header:
        return (cell.body, cell.header) if cell.header else (code, 0)
    return None


async def complete(chat: Chat, code: str, cursor: int) -> dict[str, Any] | None:
    """The reply to a Tab outside Python, or None where IPython knows better."""
    line = code[:cursor].rpartition("\n")[2]
    command = _COMMAND.match(line)
    if command:
        words, prefix = _split(command["rest"])
        found = await in_thread(lambda: _command(chat, [command["noun"], *words], prefix))
        return _reply(found, cursor - len(prefix), cursor)
    cell = _CELL.match(line)
    if cell:
        words, prefix = _split(cell["rest"])
        found = option_names()
        if words and words[-1] == "--model":
            found = await in_thread(lambda: _models(chat))
        if words and words[-1] == "--persona":
            found = await in_thread(lambda: _personas(chat))
        if words and words[-1] == "--json":
            found = _schemas(chat)
        found = [name for name in found if name.startswith(prefix)]
        return _reply(found, cursor - len(prefix), cursor)
    magic = _MAGIC.match(line)
    if magic and magic["mark"]:
        typed = magic["mark"] + magic["name"]
        return _reply(_magics(chat, typed, "\n" not in code[:cursor]), cursor - len(typed), cursor)
    if classify(code).kind not in ("message", "empty"):
        return None
    address = _ADDRESS.match(code[:cursor])
    if address:
        known = await in_thread(lambda: _personas(chat))
        found = [f"@{name}" for name in known if name.startswith(address["name"].lower())]
        return _reply(found, cursor - len(address["name"]) - 1, cursor)
    opened = _OPEN.search(code[:cursor])
    if opened:
        path = opened["path"]
        found = await in_thread(lambda: files.offers(path, Path.cwd()))
        return _reply(found, cursor - len(path), cursor)
    brace = _BRACE.search(code[:cursor])
    if brace:
        head, dot, prefix = brace["path"].rpartition(".")
        names = _attributes(chat, head) if dot else _variables(chat)
        found = [name for name in names if name.startswith(prefix)]
        if not dot and "open:".startswith(prefix):
            found.append("open:")
        return _reply(found, cursor - len(prefix), cursor)
    return _reply([], cursor, cursor)


async def inspect(chat: Chat, code: str, cursor: int) -> str | None:
    """What Shift-Tab says about a command, a model or ``%%aiki``; None for IPython's answer."""
    begin = code.rfind("\n", 0, cursor) + 1
    line = code[begin:].partition("\n")[0]
    command = re.match(rf"[ \t]*%{PREFIX}(?P<noun>[a-z]+)(?P<rest>.*)$", line)
    word = _word_at(line, cursor - begin)
    if command:
        verbs = command["rest"].split()
        text: str | None = await in_thread(lambda: _help(chat, command["noun"], verbs, word))
        return text
    if _CELL.match(line) and "/" in word:
        model: str | None = await in_thread(lambda: _model(chat, word))
        return model
    return None


def variable_at(code: str, cursor: int) -> str | None:
    """The reference in braces that the cursor stands in, as a Python expression."""
    for found in references(code):
        if found.name and found.start <= cursor <= found.end:
            return found.name + "".join(found.steps)
    return None


def _split(rest: str) -> tuple[list[str], str]:
    words = rest.split()
    if not rest or rest[-1].isspace():
        return words, ""
    return words[:-1], words[-1]


def _word_at(line: str, column: int) -> str:
    for match in _WORD.finditer(line):
        if match.start() <= column <= match.end():
            return match[0]
    return ""


def _reply(matches: list[str], start: int, end: int) -> dict[str, Any]:
    return {
        "matches": matches,
        "cursor_start": start,
        "cursor_end": end,
        "metadata": {},
        "status": "ok",
    }


def _magics(chat: Chat, typed: str, first_line: bool) -> list[str]:
    known: Mapping[str, Mapping[str, Any]] = chat.shell.magics_manager.lsmagic()
    names = [] if typed.startswith("%%") else [f"%{name}" for name in known["line"]]
    if first_line:
        names += [f"%%{name}" for name in {*known["cell"], "aiki", "python"}]
    return sorted(name for name in names if name.startswith(typed))


def _command(chat: Chat, words: list[str], prefix: str) -> list[str]:
    from aiki_kernel.commands import registry

    return registry.complete(words, prefix, context(chat))


def _models(chat: Chat) -> list[str]:
    from aiki_kernel.models.catalogue import names

    return names(context(chat).settings)


def _schemas(chat: Chat) -> list[str]:
    from aiki_kernel.attachments.schemas import names

    return names(chat.shell.user_ns)


def _personas(chat: Chat) -> list[str]:
    from aiki_kernel.commands.persona import names

    return list(names(context(chat), ""))


def _model(chat: Chat, name: str) -> str | None:
    from aiki_kernel.errors import AikiError
    from aiki_kernel.models.catalogue import resolve as find

    try:
        ref = find(context(chat).settings, name)
    except AikiError:
        return None
    where = "this machine" if ref.local else ref.base_url
    return f"{ref.name}: model {ref.model} of {ref.endpoint or 'local'}, at {where}"


def _help(chat: Chat, noun: str, words: list[str], word: str) -> str | None:
    from aiki_kernel.commands import registry
    from aiki_kernel.errors import AikiError

    if noun not in registry.nouns("magic"):
        return None
    verb = words[0] if words and words[0] in registry.commands(noun, "magic") else ""
    if noun == "model" and "/" in word:
        return _model(chat, word)
    try:
        return registry.run([noun, *([verb] if verb else []), "-h"], context(chat)).text
    except AikiError:
        return None


def _variables(chat: Chat) -> list[str]:
    names = chat.shell.user_ns
    hidden = chat.shell.user_ns_hidden
    return sorted(
        name
        for name, value in list(names.items())
        if not name.startswith("_")
        and (name not in hidden or hidden[name] is not value)
        and is_data(value)
    )


def _attributes(chat: Chat, path: str) -> list[str]:
    name, *rest = path.split(".")
    steps = tuple(f".{step}" for step in rest)
    value = resolve(Found(0, 0, name, steps), chat.shell.user_ns)
    if not is_data(value):
        return []
    own = vars(value) if hasattr(value, "__dict__") else {}
    return sorted(
        attribute
        for attribute in {*own, *dir(type(value))}
        if not attribute.startswith("_")
        and is_data(resolve(Found(0, 0, name, (*steps, f".{attribute}")), chat.shell.user_ns))
    )
