"""Every command once. The terminal, the magics, Tab and the docs all ask here.

A noun is a module of this package and is imported when one of its commands is called,
helped or completed: ``%aiki_memory -h`` loads ``commands/memory.py`` and nothing else.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from aiki_kernel.commands.command import (
    FACES,
    Arg,
    Command,
    Context,
    Face,
    Parameter,
    Result,
    spelled,
)
from aiki_kernel.commands.parser import HelpWanted, build, nearest, parse, split, table
from aiki_kernel.errors import AikiError, UsageError
from aiki_kernel.safety.secrets import redact, refuse

__all__ = [
    "Arg",
    "Command",
    "Context",
    "Result",
    "command",
    "complete",
    "find",
    "nouns",
    "reference",
    "run",
    "split",
]

NOUNS: dict[str, tuple[str, tuple[Face, ...]]] = {
    "lab": ("Open JupyterLab with the AIKI kernel", ("cli",)),
    "chat": ("Talk in the terminal, or ask one question", ("cli",)),
    "memory": ("Look into the memory and change it", FACES),
    "model": ("Models: which there are, which one answers", FACES),
    "persona": ("Who answers, and what each may see", FACES),
    "route": ("Which model answers, and why", FACES),
    "consult": ("Insights of a smart model for a cheap one", FACES),
    "backend": ("What searches the memory, and what it costs", FACES),
    "session": ("The conversation that you are in", FACES),
    "cost": ("What the answers have cost", FACES),
    "config": ("Settings and keys", FACES),
    "health": ("What is wrong, before you meet it", FACES),
    "daemon": ("The process that owns memory and local models", ("cli",)),
    "kernel": ("Register the AIKI kernel with Jupyter", ("cli",)),
    "schedule": ("Notebooks that run by themselves", ("cli",)),
    "deploy": ("Files that run it without you: systemd, containers", ("cli",)),
    "bench": ("Measure recall, search, start and the loop", FACES),
    "completion": ("Tab completion for your shell", ("cli",)),
}
"""Noun -> (what it is about, the faces that have it). Its module has the same name."""

_COMMANDS: dict[str, dict[str, Command]] = {}

_F = TypeVar("_F", bound=Callable[..., Result])


def command(name: str, faces: Sequence[Face] = FACES) -> Callable[[_F], _F]:
    """Register a function as the command ``name`` (a noun, or a noun and a verb)."""

    def register(function: _F) -> _F:
        made = Command(name, function, tuple(faces))
        _COMMANDS.setdefault(made.noun, {})[made.verb] = made
        return function

    return register


def nouns(face: Face | None = None) -> list[str]:
    """The nouns that a face has, in the order of the help."""
    return [noun for noun, (_, faces) in NOUNS.items() if face is None or face in faces]


def commands(noun: str, face: Face | None = None) -> dict[str, Command]:
    """Verb -> command. The verb of the noun alone is ``""``. Imports the noun's module."""
    importlib.import_module(f"aiki_kernel.commands.{noun}")
    found = _COMMANDS.get(noun, {})
    return {verb: made for verb, made in found.items() if face is None or face in made.faces}


def find(words: Sequence[str], face: Face) -> tuple[Command, list[str]]:
    """The command that ``words`` begin with, and the words that are left for it.

    Raises :class:`UsageError`, or :class:`HelpWanted` for a noun or nothing.
    """
    if not words or words[0] in ("-h", "--help"):
        raise HelpWanted(overview(face))
    noun, rest = words[0], list(words[1:])
    if noun not in nouns(face):
        raise UsageError(_no_noun(noun, face))
    known = commands(noun, face)
    if rest and rest[0] in known and rest[0]:
        return known[rest[0]], rest[1:]
    alone = known.get("")
    if rest and rest[0] in ("-h", "--help") and len(known) > 1:
        raise HelpWanted(noun_help(noun, face))
    if alone is not None and (not rest or rest[0].startswith("-") or _takes_words(alone)):
        return alone, rest
    if not rest:
        raise HelpWanted(noun_help(noun, face))
    called = spelled(noun, face)
    if rest[0] in commands(noun):
        raise UsageError(_elsewhere(f"{noun} {rest[0]}"))
    guess = nearest(rest[0], (verb for verb in known if verb))
    raise UsageError(f"{called} knows no {rest[0]!r}{guess} See `{called} -h`.")


def run(words: Sequence[str], context: Context) -> Result:
    """Do what the words say: noun, verb, arguments.

    Raises :class:`AikiError` with one line for the user; in a magic also for a key, which
    must not stand in a notebook. With ``--json`` the text of the
    result is its data as one JSON document and there is no HTML.
    """
    if context.face == "magic":
        refuse(" ".join(words))
    try:
        found, rest = find(words, context.face)
        values, as_json = parse(found, rest, context.face)
    except HelpWanted as help_:
        asked = any(word in ("-h", "--help") for word in words) or context.face == "magic"
        return Result({"help": str(help_)}, str(help_), status=0 if asked else 2)
    context.as_json = as_json
    result = found.function(context, **values)
    return as_document(result) if as_json else discreet(result)


def discreet(result: Result) -> Result:
    """The same result as it may be shown: old memories, too, may hold what is not for display."""
    html = None if result.html is None else redact(result.html)
    return replace(result, text=redact(result.text), html=html)


def as_document(result: Result) -> Result:
    """The same result with its data as text."""
    indent = None if result.one_line else 2
    text = json.dumps(_clean(result.data), ensure_ascii=False, indent=indent, default=str)
    return replace(result, text=text, html=None)


def _clean(data: Any) -> Any:
    """Redacted text by text: a mark that swallowed a quote would break the document."""
    if isinstance(data, str):
        return redact(data)
    if isinstance(data, Mapping):
        return {key: _clean(value) for key, value in data.items()}
    return [_clean(item) for item in data] if isinstance(data, list | tuple) else data


def overview(face: Face) -> str:
    """The help of ``aiki`` itself."""
    rows = [(spelled(noun, face), NOUNS[noun][0]) for noun in nouns(face)]
    if face == "magic":
        return table(rows, indent="")
    return (
        "usage: aiki NOUN [VERB] [ARGUMENTS]\n\n"
        "A Jupyter kernel in which a cell is a message.\n\n"
        + table([(noun, NOUNS[noun][0]) for noun in nouns(face)])
        + "\n\nEach answers -h. --json prints one JSON document. aiki --version."
    )


def noun_help(noun: str, face: Face) -> str:
    """The help of a noun: its verbs, and how it is used alone."""
    known = commands(noun, face)
    rows = [(_usage(made), made.summary) for verb, made in sorted(known.items())]
    called = spelled(noun, face)
    return f"{NOUNS[noun][0]}.\n\n{table(rows)}\n\n`{called} VERB -h` says more about each."


def reference() -> str:
    """Markdown of every command, for the docs."""
    parts = ["# Commands", ""]
    for noun in nouns():
        about, faces = NOUNS[noun]
        names = " · ".join(f"`{spelled(noun, face)}`" for face in faces)
        parts += [f"## {noun}", "", f"{about}. {names}", ""]
        for _, made in sorted(commands(noun).items()):
            face: Face = "cli" if "cli" in made.faces else "magic"
            help_ = build(made, face).format_help().rstrip()
            parts += [f"### {made.called(face)}", "", "```text", help_, "```", ""]
    return "\n".join(parts)


def complete(words: Sequence[str], prefix: str, context: Context) -> list[str]:
    """What may stand for ``prefix`` after ``words``: nouns, verbs, options, values."""
    try:
        offered = _offers(list(words), prefix, context)
    except (AikiError, OSError):
        return []  # Tab has no place for a complaint; running the command will make it
    return [offer for offer in dict.fromkeys(offered) if offer.startswith(prefix)]


def _offers(words: list[str], prefix: str, context: Context) -> list[str]:
    face = context.face
    if not words:
        return nouns(face)
    if words[0] not in nouns(face):
        return []
    known = commands(words[0], face)
    offers: list[str] = []
    if len(words) == 1:
        offers = [verb for verb in known if verb]
    made, rest = known.get(""), words[1:]
    if rest and rest[0] in known:
        made, rest = known[rest[0]], rest[1:]
    if made is None:
        return [*offers, "--help"]
    return offers + _offers_of(made, rest, prefix, context)


def _offers_of(made: Command, rest: list[str], prefix: str, context: Context) -> list[str]:
    options = {p.option: p for p in made.parameters if not p.positional and not p.arg.unknown}
    options |= {p.arg.short: p for p in options.values() if p.arg.short}
    if rest and rest[-1] in options and not options[rest[-1]].is_flag:
        found = _values(options[rest[-1]], prefix, context)
        return [f'"{offer}"' if " " in offer else offer for offer in found]
    if prefix.startswith("-"):
        used = set(rest)
        free = [name for name, p in options.items() if name not in used or p.many]
        return [name for name in [*free, "--json", "--help"] if name.startswith("--")]
    placed, skip = [], False
    for word in rest:
        if skip:
            skip = False
        elif word in options:
            skip = not options[word].is_flag
        elif not word.startswith("-"):
            placed.append(word)
    places = [p for p in made.parameters if p.positional]
    if len(placed) < len(places):
        return _values(places[len(placed)], prefix, context)
    if places and places[-1].many:
        return _values(places[-1], prefix, context)
    if places and places[-1].arg.rest:  # a value of several words goes on
        begun = " ".join([*placed[len(places) - 1 :], ""])
        found = _values(places[-1], prefix, context)
        return [offer[len(begun) :] for offer in found if offer.startswith(begun)]
    return []


def _values(parameter: Parameter, prefix: str, context: Context) -> list[str]:
    if parameter.arg.choices:
        return list(parameter.arg.choices)
    if parameter.arg.complete is not None:
        return list(parameter.arg.complete(context, prefix))
    return []


def _takes_words(made: Command) -> bool:
    return any(p.positional or p.arg.unknown for p in made.parameters)


def _usage(made: Command) -> str:
    places = []
    for p in made.parameters:
        if p.positional:
            name = f"{p.metavar}..." if p.many or p.arg.rest else p.metavar
            places.append(name if p.required else f"[{name}]")
    return " ".join([made.verb, *places]).strip() or "(alone)"


def _no_noun(word: str, face: Face) -> str:
    if word in NOUNS:
        return _elsewhere(word)
    help_ = " See `aiki -h`." if face == "cli" else ""
    return f"There is no {spelled(word, face)!r}{nearest(word, nouns(face))}{help_}"


def _elsewhere(name: str) -> str:
    """Nothing belongs to magics alone, so what a face lacks is in the terminal."""
    return f"{name!r} belongs in a terminal: `{spelled(name, 'cli')} -h`."
