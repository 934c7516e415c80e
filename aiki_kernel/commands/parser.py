"""The parser of a command, derived from its signature. It raises; it never exits.

argparse reads the words; what it says about mistakes is replaced by one line that names
the mistake and the nearest right word.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from aiki_kernel.commands.command import Command, Face, Parameter
from aiki_kernel.errors import UsageError

_WORD = re.compile(r"""(?:(\S*?=)?(?:"((?:[^"\\]|\\.)*)"|'([^']*)')(?=\s|$))|(\S+)""")


class HelpWanted(Exception):  # noqa: N818 - a question, not an error
    """Raised by ``-h``; carries the text."""


def split(line: str) -> list[str]:
    """The words of a magic's line. Quotes count only around a whole word, so *don't* is a word."""
    words = []
    for match in _WORD.finditer(line):
        lead, double, single, plain = match.groups()
        if plain is not None:
            words.append(plain)
        elif double is not None:
            words.append((lead or "") + re.sub(r'\\(["\\])', r"\1", double))
        else:
            words.append((lead or "") + single)
    return words


def nearest(word: str, known: Iterable[str]) -> str:
    """``: did you mean X?`` for the known word that is most like ``word``, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f": did you mean {found[0]}?" if found else "."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; see `{self.prog} -h`.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            name = action.option_strings[0] if action.option_strings else action.metavar
            raise UsageError(
                f"{self.prog}: {name} cannot be {value!r}, only {', '.join(known)}"
                f"{nearest(str(value), known)}"
            )


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        raise HelpWanted(parser.format_help().rstrip())


def build(command: Command, face: Face) -> argparse.ArgumentParser:
    """The parser for ``command`` as it is written in ``face``."""
    parser = _Parser(
        prog=command.called(face),
        description=command.description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    for parameter in command.parameters:
        if parameter.arg.unknown:
            parser.usage = f"{parser.format_usage()[7:].strip()} [{parameter.metavar} ...]"
            parser.epilog = f"Other words are passed on: {parameter.arg.help}."
        elif parameter.positional:
            _add_positional(parser, parameter)
        else:
            _add_option(parser, parameter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "-h", "--help", action=_Help, nargs=0, dest=argparse.SUPPRESS, help="show this help"
    )
    return parser


def _add_positional(parser: argparse.ArgumentParser, parameter: Parameter) -> None:
    more: dict[str, Any] = {}
    if parameter.many or parameter.arg.rest:
        more["nargs"] = "+" if parameter.required else "*"
    elif not parameter.required:
        more["nargs"] = "?"
        more["default"] = parameter.default
    if parameter.arg.choices:
        more["choices"] = list(parameter.arg.choices)
    parser.add_argument(
        parameter.name,
        metavar=parameter.metavar,
        type=parameter.type,
        help=parameter.arg.help.replace("%", "%%"),
        **more,
    )


def _add_option(parser: argparse.ArgumentParser, parameter: Parameter) -> None:
    names = [name for name in (parameter.arg.short, parameter.option) if name]
    text = parameter.arg.help.replace("%", "%%")
    if parameter.is_flag:
        action = "store_false" if parameter.default is True else "store_true"
        parser.add_argument(*names, dest=parameter.name, action=action, help=text)
        return
    more: dict[str, Any] = {"action": "append"} if parameter.many else {}
    if parameter.arg.choices:
        more["choices"] = list(parameter.arg.choices)
    if parameter.arg.alone:
        more |= {"nargs": "?", "const": parameter.arg.alone}
    if parameter.default not in (None, "", ()):
        text = f"{text} (default: {parameter.default})"
    parser.add_argument(
        *names,
        dest=parameter.name,
        type=parameter.type,
        default=None if parameter.many else parameter.default,
        metavar=parameter.metavar,
        help=text,
        **more,
    )


def parse(command: Command, words: Sequence[str], face: Face) -> tuple[dict[str, Any], bool]:
    """The arguments for the function, and whether JSON is asked for.

    Raises :class:`UsageError` with one line, or :class:`HelpWanted`.
    """
    parser = build(command, face)
    unknown = next((p for p in command.parameters if p.arg.unknown), None)
    try:
        space, extra = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        parser.error(str(error))
    values = vars(space)
    as_json = bool(values.pop("json"))
    if unknown is not None:
        values[unknown.name] = tuple(extra)
    elif extra:
        raise UsageError(_unknown_words(command, extra, face))
    for parameter in command.parameters:
        if parameter.arg.rest and parameter.type is str and not parameter.many:
            values[parameter.name] = " ".join(values[parameter.name] or ()) or (
                parameter.default if not parameter.required else ""
            )
        elif parameter.many and not parameter.arg.unknown:
            values[parameter.name] = tuple(values[parameter.name] or ())
    return values, as_json


def _unknown_words(command: Command, extra: Sequence[str], face: Face) -> str:
    called = command.called(face)
    word = next((w for w in extra if w.startswith("-")), extra[0])
    if not word.startswith("-"):
        return f"{called} has no place for {word!r}; see `{called} -h`."
    options = ["--json", "--help", *(p.option for p in command.parameters if not p.positional)]
    guess = nearest(word.partition("=")[0], options)
    return f"{called} has no option {word}{guess} See `{called} -h`."


def table(rows: Sequence[tuple[str, str]], indent: str = "  ") -> str:
    """Two columns, as the help of a noun shows its verbs."""
    width = max((len(left) for left, _ in rows), default=0)
    return "\n".join(f"{indent}{left:<{width}}  {right}".rstrip() for left, right in rows)
