"""``aiki persona``: who answers, what each may see, choosing one, and making one's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands import tomlfile
from aiki_kernel.commands.command import Arg, Context, Result, spelled
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, one_line, pairs, plain
from aiki_kernel.errors import UsageError

if TYPE_CHECKING:
    from aiki_kernel.mind.persona import Persona
    from aiki_kernel.mind.roster import Broken, Roster


def names(context: Context, prefix: str) -> Iterable[str]:
    """Names for Tab."""
    return roster(context).names()


Name = Annotated[str, Arg("a persona", complete=names)]


@command("persona")
def persona(
    context: Context,
    name: Annotated[
        str, Arg("the persona that answers from now on", positional=True, complete=names)
    ] = "",
) -> Result:
    """Show the personas and who answers, or choose another one.

    In a notebook or chat the choice counts for this session; elsewhere it is written to aiki.toml.
    For one message alone begin it with @NAME.
    """
    return use(context, name) if name else list_(context)


@command("persona list")
def list_(context: Context) -> Result:
    """List personas with their models and whose memories each may read and write."""
    current = _current(context)
    language = _language(context)
    found = roster(context).all()
    data = {"current": current, "personas": [_facts(one) for one in found]}
    if context.face == "magic":
        from aiki_kernel.commands.pickers import personas

        return personas(context, data)
    table = Table(
        ["", Column("persona", whole=True), "title", "models", "reads", "writes"],
        [_row(one, current, language) for one in found],
    )
    hint = (
        f"{spelled('persona', context.face)} NAME chooses one, @NAME at the start of a message "
        f"addresses one; {spelled('persona', context.face)} new NAME --from trisha makes one."
    )
    return Result(data, f"{table.text(context)}\n\n{hint}", f"{table.html()}<p>{hint}</p>")


@command("persona show")
def show(
    context: Context,
    name: Annotated[
        str, Arg("a persona (default: the one that answers)", positional=True, complete=names)
    ] = "",
) -> Result:
    """Show one persona: what it is told, its models, and all that it may."""
    one = roster(context).get(name or _current(context))
    facts = _facts(one)
    language = _language(context)
    rows = [
        ("name", one.name),
        ("title", one.title(language)),
        ("languages", ", ".join(one.voices)),
        ("temperature", _or_setting(one.temperature)),
        ("context", _or_setting(one.context_tokens, " tokens")),
        ("models", str(one.models) or "any"),
        ("reads", _scopes(one.rights.read)),
        ("writes", _scopes(one.rights.write)),
        ("tools", ", ".join(one.rights.tools) or "none beside recall"),
        ("trusts", _trusts(one)),
        ("traits", ", ".join(f"{trait} {value:g}" for trait, value in one.traits.items()) or "-"),
        ("file", one.source),
    ]
    told = one.system(language)
    text = "\n".join(f"{label:<12} {plain(value)}" for label, value in rows)
    html = pairs([*rows, ("told", told)]).html()
    return Result({**facts, "told": told}, f"{text}\n\n{plain(told)}", html)


@command("persona use")
def use(
    context: Context,
    name: Name,
    save: Annotated[bool, Arg("write it to aiki.toml, for every new session")] = False,
) -> Result:
    """Let another persona answer from now on."""
    one = roster(context).get(name)
    done = []
    if context.conversation is not None:
        context.conversation.persona = one.name
        done.append("in this session")
    if save or context.conversation is None:
        path = context.paths.toml
        document = tomlfile.read(path)
        tomlfile.put(document, "persona", one.name)
        tomlfile.write(path, document.as_string())
        done.append(f"in new sessions ({path})")
    limits = f" Only {one.models} may answer for it." if one.models else ""
    title = one.title(_language(context))
    text = f"{title} answers from now on {' and '.join(done)}.{limits}"
    return Result({**_facts(one), "counts": done}, text)


@command("persona new")
def new(
    context: Context,
    name: Annotated[str, Arg("what it is called: small letters, digits, - and _")],
    from_: Annotated[str, Arg("the persona to copy", complete=names)] = "default",
) -> Result:
    """Copy a persona into a file of your own, to be edited; prints its path.

    A copy may read and write what the one it is copied from may. Of `default` it is a
    change of its own file, which then counts instead of the built-in one.
    """
    from aiki_kernel.mind.persona_file import renamed

    found = roster(context)
    target = found.folder / f"{name}.toml"
    if target.exists():
        raise UsageError(f"{target} is there already: edit it, or choose another name.")
    if found.has(name) and name != from_:
        raise UsageError(
            f"{name} is a persona already: choose another name, or copy it to change it with "
            f"`{spelled('persona new', context.face)} {name} --from {name}`."
        )
    found.get(from_)
    text = renamed(found.text(from_), name, str(target))
    tomlfile.write(target, text)
    one = roster(context).get(name)
    data = {**_facts(one), "file": str(target), "from": from_}
    return Result(data, f"{target} is a copy of {from_}: edit it, then @{name} answers.")


def roster(context: Context) -> Roster:
    """The personas of this home; those of the running ``Aiki`` where there is one."""
    if context.started:
        return context.aiki.personas
    from aiki_kernel.mind.roster import Roster

    return Roster(context.paths.home)


def _current(context: Context) -> str:
    chosen = getattr(context.conversation, "persona", None)
    return str(chosen or context.settings.persona)


def _language(context: Context) -> Any:
    return "no" if context.settings.persona_language == "no" else "en"


def _facts(one: Persona | Broken) -> dict[str, Any]:
    from aiki_kernel.mind.persona import Persona

    if isinstance(one, Persona):
        return one.to_json()
    return {"name": one.name, "source": one.source, "problem": one.problem}


def _row(one: Persona | Broken, current: str, language: Any) -> list[Any]:
    from aiki_kernel.mind.persona import Persona

    mark = "→" if one.name == current else ""
    if not isinstance(one, Persona):
        return [mark, one.name, f"cannot be used: {one_line(one.problem, 300)}", "", "", ""]
    rights = one.rights
    return [
        mark,
        one.name,
        one.title(language),
        str(one.models) or "any",
        _scopes(rights.read),
        _scopes(rights.write),
    ]


def _scopes(words: Iterable[str]) -> str:
    return ", ".join(words) or "nothing"


def _trusts(one: Persona) -> str:
    trusts = one.grant().trusts
    text = ", ".join(reversed(trusts)) if trusts else "any"
    return f"{text} (privileged)" if one.privileged else text


def _or_setting(value: float | None, unit: str = "") -> str:
    return "as set" if value is None else f"{value:g}{unit}"
