"""What a command is: a typed function, and the few words that its signature cannot say.

A parameter without a default stands by its place on the line; one with a default is an
option of the same name; ``Annotated[..., Arg(...)]`` adds the help line, the completions
and the exceptions to that rule. Nothing here imports more than the standard library: the
kernel loads it before the first message.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from aiki_kernel.aiki import Aiki
    from aiki_kernel.config import Paths, Settings
    from aiki_kernel.mind.conversation import Conversation

Face = Literal["cli", "magic"]
FACES: tuple[Face, ...] = ("cli", "magic")

Report = Callable[[str, int, int], None]
"""Told how far long work has come: what it is, how much is done, of how much (0: unknown)."""


@dataclass(frozen=True)
class Result:
    """What a command found or did, for three faces: ``data`` (JSON), ``text``, ``html``.

    ``status`` is the exit status of the terminal: 0 only on success. ``one_line``: as JSON it
    is a single line, for programs that read a stream of them. ``widget`` makes what a notebook
    with widgets shows instead of ``html``: see :class:`aiki_kernel.kernel.boards.LiveWidget`.
    """

    data: Any
    text: str
    html: str | None = None
    status: int = 0
    one_line: bool = False
    widget: Callable[[], Any] | None = None


@dataclass
class Context:
    """Where a command is called from, and the parts that it may ask for.

    Settings, paths and ``Aiki`` come to be when they are first asked for, so that help and
    completion cost nothing. ``width`` is in columns; ``color`` allows ANSI codes in texts;
    ``as_json`` says that only one JSON document may be printed; ``namespace`` are the names that
    a message may have in braces.
    """

    face: Face
    make_aiki: Callable[[], Aiki] | None = None
    conversation: Conversation | None = None
    report: Report | None = None
    width: int = 100
    color: bool = False
    as_json: bool = False
    namespace: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _aiki: Aiki | None = field(default=None, repr=False)

    @cached_property
    def settings(self) -> Settings:
        """Those of the running ``Aiki``, else read afresh. Raises ``ConfigError``."""
        if self._aiki is not None:
            return self._aiki.settings
        from aiki_kernel.config import load

        return load()

    @cached_property
    def paths(self) -> Paths:
        from aiki_kernel.config import Paths

        return Paths.default()

    @property
    def started(self) -> bool:
        """Whether an ``Aiki`` of this context is there already."""
        return self._aiki is not None

    @property
    def aiki(self) -> Aiki:
        """The parts put together; made by the first command that needs them."""
        if self._aiki is None:
            if self.make_aiki is None:
                from aiki_kernel.aiki import Aiki

                self._aiki = Aiki(self.settings)
            else:
                self._aiki = self.make_aiki()
        return self._aiki

    @property
    def backend(self) -> str:
        """What this session computes with: its own choice, else that of the settings."""
        own = self.conversation.backend if self.conversation is not None else None
        return own or self.settings.compute.backend

    def close(self) -> None:
        """Close what this context made itself; what was given to it stays open."""
        if self._aiki is not None and self.make_aiki is None:
            self._aiki.close()
            self._aiki = None


Completer = Callable[[Context, str], Iterable[str]]


@dataclass(frozen=True)
class Arg:
    """What a parameter means. ``choices`` are the only values; ``complete`` merely offers some.

    ``positional`` puts a parameter with a default by its place; ``rest`` takes every word
    that is left (a ``str`` gets them joined by spaces); ``unknown`` takes the words and
    options that the command does not know, to pass them on. ``alone`` is the value of an option
    that is given without one.
    """

    help: str
    short: str = ""
    metavar: str = ""
    choices: Sequence[str] = ()
    complete: Completer | None = None
    positional: bool = False
    rest: bool = False
    unknown: bool = False
    alone: str = ""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a command, as its parser and its completion see it."""

    name: str
    type: type
    default: Any
    arg: Arg
    many: bool = False

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def positional(self) -> bool:
        return not self.arg.unknown and (self.required or self.arg.positional or self.arg.rest)

    @property
    def is_flag(self) -> bool:
        return self.type is bool

    @property
    def option(self) -> str:
        """``--limit``; a flag that is on by default is turned off: ``--no-color``."""
        stem = self.name.rstrip("_").replace("_", "-")
        return f"--no-{stem}" if self.is_flag and self.default is True else f"--{stem}"

    @property
    def metavar(self) -> str:
        return self.arg.metavar or self.name.rstrip("_").replace("_", "-").upper()


@dataclass(frozen=True)
class Command:
    """A function under its words: ``memory search``, or a noun alone: ``cost``."""

    name: str
    function: Callable[..., Result]
    faces: tuple[Face, ...] = FACES

    @property
    def noun(self) -> str:
        return self.name.partition(" ")[0]

    @property
    def verb(self) -> str:
        return self.name.partition(" ")[2]

    @property
    def description(self) -> str:
        return inspect.cleandoc(self.function.__doc__ or "")

    @property
    def summary(self) -> str:
        return self.description.partition("\n")[0].rstrip(".")

    def called(self, face: Face) -> str:
        """How a user of that face writes this command."""
        return spelled(self.name, face)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Everything but the context, in the order of the signature."""
        hints = typing.get_type_hints(self.function, include_extras=True)
        found = []
        for parameter in list(inspect.signature(self.function).parameters.values())[1:]:
            kind, many, arg = _read(hints[parameter.name])
            found.append(Parameter(parameter.name, kind, parameter.default, arg, many))
        return tuple(found)


def spelled(name: str, face: Face) -> str:
    """``memory search`` as ``aiki memory search`` or ``%aiki_memory search``."""
    return f"aiki {name}".rstrip() if face == "cli" else f"%aiki_{name}"


def _read(hint: Any) -> tuple[type, bool, Arg]:
    """The plain type, whether there are many of it, and what the annotation adds."""
    arg = Arg("")
    if typing.get_origin(hint) is typing.Annotated:
        hint, *extras = typing.get_args(hint)
        arg = next((extra for extra in extras if isinstance(extra, Arg)), arg)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is Literal:
        values = tuple(str(value) for value in typing.get_args(hint))
        return str, False, arg if arg.choices else _with_choices(arg, values)
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True, arg
    if hint not in (str, int, float, bool, Path):
        raise TypeError(f"a command cannot take {hint!r}")
    return hint, False, arg


def _with_choices(arg: Arg, values: tuple[str, ...]) -> Arg:
    from dataclasses import replace

    return replace(arg, choices=values)
