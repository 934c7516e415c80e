"""``aiki session resume`` and ``export``: a conversation of the past, gone on with or written."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from aiki_kernel.commands import transcript
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.cost import ledger
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.session_names import find, known, name_of, named, names, sessions
from aiki_kernel.commands.tables import one_line, plain
from aiki_kernel.errors import AikiError, UsageError

if TYPE_CHECKING:
    from aiki_kernel.mind.conversation import Exchange
    from aiki_kernel.mind.resuming import Resumed

Format = Literal["markdown", "json", "openai"]
_ENDINGS: dict[str, Format] = {".md": "markdown", ".markdown": "markdown", ".json": "json"}
_LOOKED_FOR = 50  # turns whose fate is looked up in the memory's history, at most


def past(context: Context, id: str) -> Resumed:
    """A session as the memory and its notebook have it. Raises :class:`AikiError`."""
    from aiki_kernel.mind import resuming

    aiki = context.aiki
    user = context.settings.memory.user_id
    work = resuming.session(id, sessions(context), aiki.connection.admin, user)
    return aiki.run(work)


@command("session resume")
def resume(
    context: Context,
    session: Annotated[
        str, Arg("its name, the beginning of its id, or last", rest=True, complete=names)
    ] = "",
) -> Result:
    """Go on with a conversation of the past: its exchanges are in context again.

    In a notebook without a name: with that notebook's own conversation, if there is one.
    """
    talk = context.conversation
    if talk is None:
        raise UsageError("There is no conversation here to go on in: `aiki chat --resume`.")
    left = talk.session_id if talk.exchanges else ""
    found = None if session else _own(context)
    if found is None:
        found = past(context, find(context, session).id)
    if not found.past.exchanges:
        raise UsageError(
            f"Nothing of session {found.session_id[:8]} is in the memory any more: "
            "`session list` shows the others."
        )
    talk.restore(found.session_id, found.past.exchanges)
    if talk.path:
        sessions(context).settle(talk.path, found.session_id)
    name, number = name_of(context, found.session_id), len(found.past.exchanges)
    head = f"Session {found.session_id[:8]}{f' ({one_line(name, 120)})' if name else ''} goes on: "
    head += f"{number} exchange{' is' if number == 1 else 's are'} in context."
    lines = [head, *found.lines]
    if left and left != found.session_id:
        lines.append(f"What was said here before stays in session {left[:8]}.")
    data = {
        "session_id": found.session_id,
        "name": name,
        "exchanges": number,
        "previous": left or None,
        "notes": list(found.lines),
    }
    return Result(data, "\n".join(lines))


def _own(context: Context) -> Resumed | None:
    """What this notebook itself shows or began, other than what is in context already."""
    from aiki_kernel.mind import resuming

    talk = context.conversation
    if talk is None or not talk.path:
        return None
    store, user = sessions(context), context.settings.memory.user_id
    admin = context.aiki.connection.admin
    work = resuming.notebook(talk.path, store, admin, user, foreign=True)
    found = context.aiki.run(work)
    if found.past.exchanges:
        return found
    began = store.named()
    for one in known(context):
        here = began.get(one.id)
        if here is not None and here.path == talk.path and one.id != talk.session_id:
            return past(context, one.id)
    return None


@command("session export")
def export(
    context: Context,
    file: Annotated[str, Arg("where to write it; - for standard output")],
    format: Annotated[
        Format | None, Arg("markdown, json or openai (default: by the file's ending)", short="-f")
    ] = None,
    session: Annotated[
        str, Arg("another session: its name, the beginning of its id, or last", complete=names)
    ] = "",
    system: Annotated[bool, Arg("openai: begin with what the persona is told")] = False,
    force: Annotated[bool, Arg("overwrite a file that is there")] = False,
) -> Result:
    """Write a session as a document: questions and answers in the order of their cells.

    openai is a list of messages, ready to be sent. Secrets are left out of every format.
    """
    kind = _format(file, format)
    if system and kind != "openai":
        raise UsageError("--system belongs to --format openai.")
    made = _transcript(context, session)
    if not made.exchanges:
        raise UsageError(f"Session {made.session['id'][:8]} has no exchanges to write.")
    prompt = _prompt(context, made.exchanges) if system else ""
    document = transcript.written(made, kind, prompt)
    data = {"format": kind, "exchanges": len(made.exchanges), "notes": list(made.notes)}
    if file == "-":
        if context.face == "cli":
            for line in made.notes if kind == "openai" else ():
                print(line, file=sys.stderr)  # noqa: T201
        return Result(transcript.data(made, kind, prompt), document.rstrip("\n"))
    path = Path(file).expanduser().absolute()
    _write(path, document, force)
    number = len(made.exchanges)
    head = f"{number} exchange{'' if number == 1 else 's'} written to {path} ({kind})."
    return Result({"file": str(path), **data}, plain("\n".join([head, *made.notes])))


def _format(file: str, format: Format | None) -> Format:
    if format is not None:
        return format
    if file == "-":
        return "markdown"
    ending = Path(file).suffix.lower()
    if ending not in _ENDINGS:
        raise UsageError(
            f"{file} does not say what it is: end it in .md or .json, or give "
            "--format markdown, json or openai."
        )
    return _ENDINGS[ending]


def _write(path: Path, document: str, force: bool) -> None:
    """Whole or not at all; what is there is replaced only when that is asked for."""
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else "would lie in a folder that is not there"
        raise UsageError(f"{path} {what}: name another file.")
    if path.exists() and not force:
        raise UsageError(f"{path} is there already: --force overwrites it.")
    whole = Path(os.path.realpath(path))  # what a link points to, not the link
    taken = False
    try:
        if not force:
            # Taken first: a file that came in the meantime is as much there as one that was.
            whole.open("x").close()
            taken = True
        handle, name = tempfile.mkstemp(dir=whole.parent, prefix=f".{whole.name[:40]}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
                out.write(document)
            if not taken and whole.exists():
                shutil.copymode(whole, name)
            Path(name).replace(whole)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except FileExistsError:
        raise UsageError(f"{path} is there already: --force overwrites it.") from None
    except OSError as error:
        if taken:
            whole.unlink(missing_ok=True)
        raise AikiError(f"{path} could not be written ({error.strerror}): name another.") from None


def _transcript(context: Context, word: str) -> transcript.Transcript:
    """A session with its facts, and lines on what is missing."""
    talk = context.conversation
    if talk is not None and not word:
        id = talk.session_id
        exchanges, lines = _in_order(talk.path, list(talk.exchanges))
    else:
        id = find(context, word).id
        found = past(context, id)
        exchanges = list(found.past.exchanges)
        lines = [*found.lines, *_missing(context, id, exchanges, found.past.left_out)]
    about = next((one for one in known(context) if one.id == id), None)
    lines += named(context)[1]
    session: dict[str, Any] = {"id": id, "name": "", "notebook": "", "began": "", "last": ""}
    if about is not None:
        session |= {name: getattr(about, name) for name in session}
    if talk is not None and talk.session_id == id and talk.notebook:
        session["notebook"] = talk.notebook
    rows = ledger(context).rows(session_id=id)
    there = {row.turn_id for row in rows}
    for one in exchanges:
        if one.turn_id not in there:  # a kept answer of an earlier session
            rows += ledger(context).rows(turn_id=one.turn_id)
    return transcript.Transcript(
        session, tuple(exchanges), transcript.spent(rows), tuple(map(plain, lines))
    )


def _in_order(path: str, exchanges: list[Exchange]) -> tuple[list[Exchange], list[str]]:
    """The exchanges of this notebook in the order in which its cells were saved."""
    from aiki_kernel.mind import notebook_file
    from aiki_kernel.mind.conversation import arranged

    if not path:
        return exchanges, []
    try:
        return arranged(exchanges, notebook_file.read(path).ids), []
    except AikiError as error:
        return exchanges, [f"{error} The exchanges are in the order asked."]


def _missing(
    context: Context, id: str, exchanges: Sequence[Exchange], left_out: Sequence[str]
) -> list[str]:
    """Lines on turns that were answered and are not in the document, and why."""
    from aiki_kernel.memory.turns import side_id

    there = {one.turn_id for one in exchanges} | set(left_out)
    rows = ledger(context).rows(session_id=id)
    gone = [
        row.turn_id
        for row in rows
        if row.stage == "generate" and not row.error and row.turn_id not in there
    ]
    count = {"forgotten": 0, "unknown": 0, "more": max(0, len(gone) - _LOOKED_FOR)}

    async def look() -> None:
        admin = context.aiki.connection.admin
        for turn in gone[:_LOOKED_FOR]:
            try:
                last = (await admin.history(side_id(turn, "user")))[-1:]
            except AikiError:
                last = []
            reason = str(last[0].get("reason") or "") if last else ""
            if reason.startswith("replaced by"):
                continue  # its cell was run again: the newer answer is here
            count["forgotten" if last else "unknown"] += 1

    if gone:
        context.aiki.run(look())
    lines = []
    if left_out:
        lines.append(f"Left out, because their cells were deleted or cleared: {len(left_out)}.")
    if count["forgotten"]:
        lines.append(f"Left out, because the memory of them was removed: {count['forgotten']}.")
    if count["unknown"]:
        lines.append(f"Answered, but not in the memory (yet): {count['unknown']}.")
    if count["more"]:
        lines.append(f"Not in the memory, and not looked for: {count['more']}.")
    return lines


def _prompt(context: Context, exchanges: Sequence[Exchange]) -> str:
    """What the persona that answered last is told."""
    from aiki_kernel.mind import asking

    persona = context.aiki.personas.get(exchanges[-1].persona)
    texts = (one.question for one in reversed(exchanges))
    return asking.system(persona, context.settings, texts)
