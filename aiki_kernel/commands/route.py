"""``aiki route``: which model would answer and why, pins, judgements, training, evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands import route_train as route_train  # registers train and eval
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.parser import nearest
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, one_line, usd
from aiki_kernel.errors import UsageError

if TYPE_CHECKING:
    from aiki_kernel.mind.conversation import Conversation
    from aiki_kernel.mind.events import Decision
    from aiki_kernel.mind.routing.planner import Planner

_PINS = ("smart", "standard", "cheap", "local", "consult", "auto")


def _pins(context: Context, prefix: str) -> Iterable[str]:
    return _PINS


def _routers(context: Context, prefix: str) -> Iterable[str]:
    from aiki_kernel.mind.router import NAMES

    return NAMES


@command("route")
def route(
    context: Context,
    to: Annotated[
        str,
        Arg("pin this session to a tier, or auto: the router", positional=True, complete=_pins),
    ] = "",
) -> Result:
    """Show who decides which model answers, or pin this session to a tier (auto unpins).

    A judgement of the last answer teaches the router: `route good`, `route bad`.
    """
    if to:
        return _pin(context, to)
    from aiki_kernel.mind.conversation import Conversation

    talk = context.conversation or Conversation()
    planner = _planner(context)
    name = planner.router_name(talk)
    known = _known(context)
    counts = _labels(context).counts()
    labels = sum(counts.values())
    pinned = talk.model or talk.route or None
    data = {
        "router": context.settings.routing.router,
        "deciding": name,
        "pinned": pinned,
        "learned": known,
        "labels": counts,
    }
    text = f"{name} decides" if not pinned or pinned == "auto" else f"Pinned to {pinned}"
    text += f"; {labels} {'label' if labels == 1 else 'labels'} of your own"
    text += f"; learned router: {known['state']}." if known else "; no learned router yet."
    return Result(data, text)


@command("route explain")
def explain(
    context: Context,
    text: Annotated[str, Arg("the message, in quotes", rest=True)],
    router: Annotated[str, Arg("as if this router decided", complete=_routers)] = "",
) -> Result:
    """Show the decision for a message as a table; no model is called."""
    from aiki_kernel.mind.conversation import Conversation, Message
    from aiki_kernel.mind.router import NAMES, Fixed, Question
    from aiki_kernel.mind.routing.planner import chosen_model, default

    if not text.strip():
        raise UsageError('There is no message to explain: `route explain "why is the sky blue?"`.')
    if router and router not in NAMES:
        raise UsageError(f"No router called {router!r}{nearest(router, NAMES)}")
    talk = context.conversation or Conversation()
    planner = _planner(context)
    message = Message(text.strip().strip("\"'"))
    name = router or planner.router_name(talk)
    chosen = None if router else chosen_model(message, talk)
    if not router and name == "fixed" and not talk.route:
        # What would be decided is of more use than that nothing is.
        name = planner.router_name(_handed_over())
        chosen = chosen or Fixed(default(context.settings)).decide(Question(message.text, ()))
    pinned = not router and talk.route
    decision = context.aiki.run(planner.weigh(message, talk, None if pinned else name))
    note = f"\n\nBut {chosen.model} answers: {chosen.reason}." if chosen else ""
    table = _table(decision)
    lines = "\n".join(f"- {reason}" for reason in decision.reasons)
    head = f"{decision.model} · {decision.reason}"
    from html import escape

    items = "".join(f"<li>{escape(reason)}</li>" for reason in decision.reasons)
    html = f"<p>{escape(head)}</p>{table.html()}<ul>{items}</ul><p>{escape(note.strip())}</p>"
    data = {**decision.to_json(), "pinned": chosen.model if chosen else None}
    return Result(data, f"{head}\n\n{table.text(context)}\n\n{lines}{note}", html)


@command("route good")
def good(context: Context) -> Result:
    """Say that the last answer was good: a label for the learned router."""
    return _judge(context, good=True)


@command("route bad")
def bad(context: Context) -> Result:
    """Say that the last answer was bad: a label for the learned router."""
    return _judge(context, good=False)


def _pin(context: Context, to: str) -> Result:
    if to not in _PINS:
        verbs = (*_PINS, "explain", "good", "bad", "train", "eval")
        raise UsageError(f"A session cannot be pinned to {to!r}{nearest(to, verbs)}")
    talk = _session(context, "pin")
    talk.model = "auto" if to == "auto" else None
    talk.route = "" if to == "auto" else to
    if to == "auto":
        name = _planner(context).router_name(talk)
        return Result({"pinned": None, "router": name}, f"The {name} router decides from now on.")
    if to == "consult":
        return Result(
            {"pinned": "consult"},
            "Before every answer the smart model is asked for an insight, from now on.",
        )
    from aiki_kernel.models.cards import by_tier

    cards = next((cards for tier, cards in by_tier(context.settings).items() if tier == to), [])
    model = cards[0].name if cards else None
    if model is None:
        talk.route = ""
        raise UsageError(
            f"No {to} model can be used: set a key, or name one under [routing] {to} in aiki.toml."
        )
    return Result({"pinned": to, "model": model}, f"{model} ({to}) answers from now on.")


def _judge(context: Context, *, good: bool) -> Result:
    from aiki_kernel.errors import AikiError
    from aiki_kernel.memory.records import now
    from aiki_kernel.mind.labels import Label
    from aiki_kernel.models.cards import card

    talk = _session(context, "judge")
    if not talk.exchanges:
        raise UsageError("There is no answer to judge in this session yet: ask something first.")
    last = talk.exchanges[-1]
    try:
        tier = card(context.settings, last.model).tier or ""
    except AikiError:
        tier = ""
    word = "good" if good else "bad"
    label = Label(
        when=now(),
        turn_id=last.turn_id,
        session_id=talk.session_id,
        message=last.question,
        model=last.model,
        tier=tier,
        source="good" if good else "bad",
        good=float(good),
    )
    labels = _labels(context)
    labels.put(label)
    count = len(labels.all())
    said = f"The answer of {last.model} to {one_line(last.question, 60)!r} counts as {word}"
    return Result({**label.to_json(), "labels": count}, f"{said} ({count} labels in all).")


def _session(context: Context, what: str) -> Conversation:
    if context.conversation is None:
        raise UsageError(
            f"There is no session to {what} here: use %aiki_route in a notebook or a chat; "
            "for every session: `aiki config set routing.router rules`."
        )
    return context.conversation


def _handed_over() -> Conversation:
    """A conversation in which the router decides."""
    from aiki_kernel.mind.conversation import Conversation

    talk = Conversation()
    talk.route = "auto"
    return talk


def _planner(context: Context) -> Planner:
    return context.aiki.planner


def _labels(context: Context) -> Any:
    from aiki_kernel.mind.labels import Labels

    return Labels(context.paths.ledger)


def _known(context: Context) -> dict[str, Any] | None:
    """What is told of the learned router's file, or why it cannot be used; None without one."""
    from aiki_kernel.mind.routing.learned import RouterError, load, place

    path: Path = place(context.paths.home)
    if not path.exists():
        return None
    try:
        about = load(path).about
    except RouterError as error:
        return {"file": str(path), "state": str(error).rstrip(".")}
    state = f"{about.labels} labels ({about.source}), {about.created_at[:10]}"
    return {
        "file": str(path),
        "state": state,
        "labels": about.labels,
        "paired": about.paired,
        "embedder": about.embedder,
        "created_at": about.created_at,
    }


def _table(decision: Decision) -> Table:
    rows = []
    for one in decision.candidates:
        second = one.model in (decision.then, decision.consult)
        mark = "*" if one.model == decision.model else ">" if second else ""
        quality = None if one.quality is None else f"{100 * one.quality:.0f} %"
        loss = one.cache_loss_usd
        shown = None if not loss and loss is not None else usd(loss)
        rows.append([mark, one.tier, one.model, quality, usd(one.cost_usd), shown, one.note])
    complexity = decision.complexity
    title = "" if complexity is None else f"complexity {complexity:.2f}"
    numbers = [Column(c, right=True, whole=True) for c in ("quality", "cost", "of it cache lost")]
    return Table(["", "tier", "model", *numbers, ""], rows, title)
