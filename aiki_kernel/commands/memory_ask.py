"""``aiki memory ask``: a question in plain words, its filters shown, its answer cited."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.memory_door import Limit, User, call, positive, row, scope
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, plain
from aiki_kernel.errors import AikiError, UsageError

if TYPE_CHECKING:
    from aiki_kernel.memory.asking.question import Asked, Vocabulary
    from aiki_kernel.memory.asking.sift import Sifted
    from aiki_kernel.mind.inquiry import Answer, Inquiry

FILTERS = ("time", "person", "kind", "tag", "category")


def _labels(name: str) -> Any:
    def offer(context: Context, prefix: str) -> list[str]:
        if not context.started and not context.paths.socket.exists():
            return []
        known: Vocabulary = call(context, lambda m: m.vocabulary(scope(context)))
        there = {
            "who": ("me", *known.roles, *known.agents, *known.entities),
            "kind": (*known.kinds, *known.categories),
            "tag": tuple(known.tags),
        }
        return sorted(there[name])

    return offer


@command("memory ask")
def ask(
    context: Context,
    question: Annotated[str, Arg("a question, English or Norwegian", rest=True)],
    since: Annotated[str, Arg("from when: yesterday, 'last week', 2026-03-01, 7d")] = "",
    until: Annotated[str, Arg("until when, in the same words; its end is included")] = "",
    who: Annotated[str, Arg("by or about whom; me is you", complete=_labels("who"))] = "",
    kind: Annotated[str, Arg("decision, fact, insight, ...", complete=_labels("kind"))] = "",
    tag: Annotated[tuple[str, ...], Arg("with this tag", complete=_labels("tag"))] = (),
    without: Annotated[
        tuple[str, ...], Arg("drop a filter of the question; may be repeated", choices=FILTERS)
    ] = (),
    model: Annotated[str, Arg("who writes the answer (default: this session's model)")] = "",
    answer: Annotated[bool, Arg("only list the memories; no model is asked")] = True,
    limit: Limit = 8,
    user: User = "",
) -> Result:
    """Ask the memory: time, person, kind and tags of the question become filters.

    What was understood is shown, and the answer cites the ids of memories. Examples:
    "what did we decide about the budget last week?", "hva sa Kari om hytta i mars?".
    """
    positive(limit)
    if not question.strip():
        raise UsageError("There is no question: `memory ask what did we decide yesterday?`.")
    from aiki_kernel.memory.asking.question import understand

    now = datetime.now().astimezone()
    known: Vocabulary = call(context, lambda m: m.vocabulary(scope(context, user)))
    asked = understand(question, known, now)
    asked = _with_options(asked, known, now, since, until, who, kind, tag).without(without)
    inquiry = _inquiry(context, model) if answer else None
    wanted = [name for name in asked.unclear if name not in without]
    if inquiry is not None and wanted:
        asked = context.aiki.run(inquiry.read(asked, known, now))
    found = _sift(context, asked, limit, user)
    read = [part.name for part in asked.parts if part.by == "model"]
    if not found.matching and read:
        fewer = asked.without(read)
        again = _sift(context, fewer, limit, user)
        if again.matching:
            asked, found = _noted(fewer, f"Without what the model read: {', '.join(read)}."), again
    told, note = _answered(context, inquiry, asked, found)
    return _result(context, asked, found, told, note)


def _with_options(
    asked: Asked,
    known: Vocabulary,
    now: datetime,
    since: str,
    until: str,
    who: str,
    kind: str,
    tags: tuple[str, ...],
) -> Asked:
    """What the user says by options counts for more than what the question says."""
    from aiki_kernel.memory.asking.period import bound
    from aiki_kernel.memory.asking.question import kind_part, person_part, tag_part, time_part

    if since or until:
        first = bound(since, now) if since else None
        last = bound(until, now, end=True) if until else None
        if first and last and first > last:
            raise UsageError("--since is later than --until.")
        words = " ".join(
            part for part in (since and f"since {since}", until and f"until {until}") if part
        )
        asked = asked.adding(time_part(first, last, words, now, "option"))
    if who:
        asked = asked.adding(person_part(who, known))
    if kind:
        asked = asked.adding(kind_part(kind, known))
    return asked.adding(*(tag_part(tag) for tag in tags)) if tags else asked


def _inquiry(context: Context, model: str) -> Inquiry:
    from aiki_kernel.mind.inquiry import Inquiry

    own = context.conversation.model if context.conversation is not None else None
    mind = context.aiki.consciousness
    name = model or own or context.settings.model
    return Inquiry(mind.model, mind.writer.ledger, context.settings, name, context.conversation)


def _sift(context: Context, asked: Asked, limit: int, user: str) -> Sifted:
    found: Sifted = call(
        context, lambda m: m.sift(asked, scope(context, user), limit, context.backend)
    )
    return found


def _noted(asked: Asked, note: str) -> Asked:
    from dataclasses import replace

    return replace(asked, notes=(*asked.notes, note))


def _answered(
    context: Context, inquiry: Inquiry | None, asked: Asked, found: Sifted
) -> tuple[Answer | None, str]:
    """The answer, or why there is none; an interrupt passes through."""
    if inquiry is None or not found.recall.hits:
        return None, ""
    try:
        return context.aiki.run(inquiry.answer(asked, found.recall.hits)), ""
    except AikiError as error:
        return None, f"No answer was written, so here are the memories. {error}"


def _result(
    context: Context, asked: Asked, found: Sifted, told: Answer | None, note: str
) -> Result:
    hits = found.recall.hits
    notes = [*asked.notes, *(told.notes if told else ()), note, found.recall.note]
    notes = [line for line in notes if line]
    data = {
        "asked": asked.to_json(),
        "memories": found.memories,
        "matching": found.matching,
        "filters": [left.to_json() for left in found.filters],
        "answer": told.to_json() if told else None,
        "hits": [hit.to_json() for hit in hits],
        "reason": found.reason,
        "notes": notes,
    }
    shown = Table(
        ["understood", "as", "from the words", "by"],
        [(part.name, part.meaning, part.words, part.by) for part in asked.parts]
        + [("search", asked.query or "everything, newest first", "", "")],
    )
    cited = set(told.cited) if told else set()
    table = Table(
        [Column("id", whole=True), Column("when", whole=True), "what", "text", "cited"],
        [[*row(hit.record), "yes" if hit.id in cited else ""] for hit in hits],
    )
    fit = f"{found.matching:,} of {found.memories:,} memories fit."
    answer = plain(told.text) if told else ""
    by = _by(told) if told else ""
    texts = [shown.text(context), answer, by, table.text(context) if hits else "", found.reason]
    texts += [fit if found.memories else "", *map(plain, notes)]
    parts = [shown.html()]
    if told:
        lines = "".join(f"<p>{escape(line)}</p>" for line in answer.splitlines() if line.strip())
        parts.append(f"<blockquote>{lines}</blockquote><p><small>{escape(by)}</small></p>")
    if hits:
        parts.append(table.html())
    if found.reason:
        parts.append(f"<pre>{escape(found.reason)}</pre>")
    parts += [f"<p>{escape(plain(line))}</p>" for line in (fit, *notes)]
    return Result(data, "\n\n".join(text for text in texts if text), "".join(parts))


def _by(told: Answer) -> str:
    from aiki_kernel.commands.tables import usd

    return f"written by {told.model}, {told.seconds:.1f} s, {usd(told.cost_usd)}"
