"""The reference of all commands, from the same functions that make their parsers.

argparse's own help is not used: its layout changes between versions of Python, and this page
is kept in the repository.
"""

from __future__ import annotations

from markdown import code, row

from aiki_kernel.commands.command import Command, Parameter, spelled
from aiki_kernel.commands.registry import NOUNS, commands, nouns

INTRO = """\
# Commands and magics

Every command has the same words in three places: `aiki memory search` in a terminal,
`%aiki_memory search` in a cell, `/memory search` in `aiki chat`. Each answers `-h`, completes
with Tab, and takes `--json`, which prints one JSON document. Commands that belong to the terminal
alone are marked. In a terminal the exit status is 0 on success, 1 when something failed, 2 when the
words were not understood; a command that differs says so.
"""


def page() -> str:
    """Markdown of every command."""
    parts = [INTRO, "| noun | about |\n|---|---|"]
    parts[-1] += "".join(f"\n| [{noun}](#{noun}) | {NOUNS[noun][0]} |" for noun in nouns())
    for noun in nouns():
        about, faces = NOUNS[noun]
        where = "" if "magic" in faces else " In the terminal only."
        parts.append(f"## {noun}\n\n{about}.{where}")
        parts += [_section(made) for _, made in sorted(commands(noun).items())]
    return "\n\n".join(parts) + "\n"


def _section(made: Command) -> str:
    face = "cli" if "cli" in made.faces else "magic"
    parts = [f"### {spelled(made.name, face)}", f"`{_usage(made, face)}`"]
    if "cli" in made.faces and "magic" in made.faces:
        parts[-1] += f" · `{spelled(made.name, 'magic')}`"
    elif "magic" in NOUNS[made.noun][1]:
        parts[-1] += " · in the terminal only"
    parts.append(made.description)
    places = [p for p in made.parameters if p.positional]
    options = [p for p in made.parameters if not p.positional and not p.arg.unknown]
    rows = [row(code(p.metavar), _meaning(p)) for p in places]
    rows += [row(code(_written(p)), _meaning(p)) for p in options]
    rows += [row("others", p.arg.help) for p in made.parameters if p.arg.unknown]
    if rows:
        parts.append("\n".join(["| | |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def _usage(made: Command, face: str) -> str:
    words = [spelled(made.name, "cli" if face == "cli" else "magic")]
    if any(not p.positional and not p.arg.unknown for p in made.parameters):
        words.append("[OPTIONS]")
    for p in made.parameters:
        if p.positional:
            name = f"{p.metavar}..." if p.many or p.arg.rest else p.metavar
            words.append(name if p.required else f"[{name}]")
        elif p.arg.unknown:
            words.append(f"[{p.metavar}...]")
    return " ".join(words)


def _written(p: Parameter) -> str:
    name = p.option if p.is_flag else f"{p.option} {p.metavar}"
    return f"{p.arg.short}, {name}" if p.arg.short else name


def _meaning(p: Parameter) -> str:
    parts = [p.arg.help]
    if p.arg.choices:
        parts.append("one of " + ", ".join(code(str(choice)) for choice in p.arg.choices))
    if p.many and not p.positional:
        parts.append("may be repeated")
    if not p.required and not p.is_flag and p.default not in (None, "", ()):
        parts.append(f"default {code(str(p.default))}")
    return "; ".join(dict.fromkeys(part for part in parts if part))
