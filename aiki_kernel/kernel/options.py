"""The words after ``%%aiki``: options of one message, and a schema that may stand among them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from aiki_kernel.errors import UsageError


def _yes(word: str) -> bool:
    """Yes or no, in the words that people use."""
    if word.lower() in ("yes", "on", "true", "ja"):
        return True
    if word.lower() in ("no", "off", "false", "nei"):
        return False
    raise UsageError(f"%%aiki: --cache wants yes or no, not {word!r}.")


_OPTIONS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "--model": ("model", str),
    "--persona": ("persona", str),
    "--temperature": ("temperature", float),
    "--max-tokens": ("max_tokens", int),
    "--top-p": ("top_p", float),
    "--seed": ("seed", int),
    "--cache": ("cache", _yes),
    "--json": ("json", str),
}
_INLINE = re.compile(r"(?<!\S)--json(?:[ \t]+|=)(?=\{)")


_FLAGS: Mapping[str, str] = {"--keep": "keep", "--preview": "preview"}
"""Options that take no value."""


def option_names() -> list[str]:
    """What may stand after ``%%aiki``."""
    return [*_OPTIONS, *_FLAGS]


def parse_options(line: str) -> dict[str, Any]:
    """The words after ``%%aiki`` as fields of a message.

    Raises :class:`UsageError` naming the nearest option or the value that does not fit.
    """
    found: dict[str, Any] = {}
    line = _without_inline(line, found)
    words = line.replace("=", " ").split()
    while words:
        word = words.pop(0)
        if word in _FLAGS:
            found[_FLAGS[word]] = True
            continue
        if word not in _OPTIONS:
            from aiki_kernel.commands.parser import nearest

            known = option_names()
            raise UsageError(
                f"%%aiki has no option {word}{nearest(word, known)} Known: {', '.join(known)}"
            )
        if not words:
            raise UsageError(f"%%aiki: {word} wants a value after it.")
        name, kind = _OPTIONS[word]
        value = words.pop(0)
        try:
            found[name] = kind(value)
        except ValueError:
            raise UsageError(f"%%aiki: {word} wants a number, not {value!r}.") from None
    return found


def _without_inline(line: str, found: dict[str, Any]) -> str:
    """``line`` without a schema that stands in it as JSON; that goes into ``found``."""
    inline = _INLINE.search(line)
    if inline is None:
        return line
    try:
        _, end = json.JSONDecoder().raw_decode(line, inline.end())
    except ValueError as error:
        raise UsageError(
            f"%%aiki: the schema after --json is no JSON ({error}): correct it, or give the name "
            "of a variable."
        ) from None
    found["json"] = line[inline.end() : end]
    return line[: inline.start()] + line[end:]
