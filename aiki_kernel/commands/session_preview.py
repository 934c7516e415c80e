"""``aiki session preview``: what the next message would send, to whom, for how much.

Memory is searched and the route decided, as for a real message; then it ends: no model is asked,
nothing is booked and nothing is remembered. Secrets of the message itself are blotted out here,
as everywhere on a screen.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import plain, usd
from aiki_kernel.errors import UsageError
from aiki_kernel.safety.secrets import redact

if TYPE_CHECKING:
    from aiki_kernel.mind.budget import Cap
    from aiki_kernel.mind.conversation import Message
    from aiki_kernel.mind.events import Decision
    from aiki_kernel.models.cards import ModelCard
    from aiki_kernel.models.chat import ChatMessage, ChatRequest

_USUAL_ANSWER = 300  # tokens, while the conversation has no answer to go by


@command("session preview")
def preview(
    context: Context,
    text: Annotated[str, Arg("the message, in quotes", rest=True, metavar="TEXT")],
    model: Annotated[str, Arg("as if this model were named", short="-m")] = "",
) -> Result:
    """Show what a message would send and what it would cost; no model is called.

    {name} and {open:FILE} in it are taken up as in a cell. For a whole cell: `%%aiki --preview`.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    if not text:
        raise UsageError('There is no message to preview: `session preview "why is it blue?"`.')
    return shown(context, composed(context, text, model))


def composed(context: Context, text: str, model: str = "", *, attach: bool = True) -> Message:
    """``text`` as a message, its address and (``attach``) its references taken up. Raises
    ``AikiError``, one line."""
    from aiki_kernel.attachments.composer import Composed, Composer
    from aiki_kernel.mind.conversation import Message

    address = context.aiki.personas.addressed(text).checked()
    made = Composed(address.text)
    if attach:
        settings = context.settings.attachments
        made = Composer(settings, context.namespace, context.paths.home).compose(address.text)
    return Message(
        made.text,
        model=model or None,
        persona=address.persona or None,
        note=" ".join(filter(None, (address.note, *made.notes))),
        typed=made.typed,
        attached=made.attached,
    )


def shown(context: Context, message: Message) -> Result:
    """What would be sent for ``message``, for all faces. Blocks: recalls and routes."""
    data = _facts(context, message)
    return Result(data, _text(data), _html(data))


def _facts(context: Context, message: Message) -> dict[str, Any]:
    from aiki_kernel.mind.conversation import Conversation
    from aiki_kernel.models import ability

    aiki = context.aiki
    talk = context.conversation or Conversation()
    run, request, choice = aiki.run(aiki.consciousness.rehearse(message, talk))
    card = choice.card
    sent, notes = ability.fitted(request, card)
    answers = [exchange.answer for exchange in talk.exchanges[-5:] if exchange.answer]
    expected = min(_expected(answers), sent.max_tokens)
    decision = run.decision
    likely = card.cost_usd(sent.prompt_tokens, expected)
    most = card.cost_usd(sent.prompt_tokens, sent.max_tokens)
    if decision.then or decision.consult:
        more, line = _second(context, decision, sent, most)
        notes.append(line)
        likely, most = (
            None if one is None or other is None else one + other
            for one, other in zip((likely, most), more, strict=True)
        )
    caps, refusal = _budget(context, card, sent, talk.session_id)
    return {
        "model": card.name,
        "tier": card.tier,
        "reason": decision.reason,
        "router": decision.router,
        "fallbacks": list(choice.fallbacks),
        "persona": run.persona.name,
        "messages": [_message(one) for one in sent.messages],
        "attached": [one.to_json() for one in message.attached],
        "recalled": [
            {"id": hit.id, "text": redact(hit.text), "score": round(hit.score, 4)}
            for hit in run.used
        ],
        "recalled_not_given": len(run.recall.hits) - len(run.used),
        "form": message.form.name if message.form else None,
        "tokens": sent.prompt_tokens,
        "window": card.window,
        "answer_tokens": {"expected": expected, "most": sent.max_tokens},
        "cost": {"expected_usd": likely, "most_usd": most, "price_source": card.source},
        "budget": [cap.to_json() for cap in caps],
        "refused": refusal or None,
        "notes": [redact(note) for note in [*run.notes, *notes]],
    }


def _second(
    context: Context, decision: Decision, sent: ChatRequest, first_usd: float | None
) -> tuple[tuple[float | None, float | None], str]:
    """What another model's calls would add in USD, expected and at most, and a line on them.

    A cascade asks its second model where the first answer is poor, which a second sample of that
    may have to show. A consultant is asked at most twice, and does the work itself at worst.
    """
    from aiki_kernel.models.cards import card

    consult = context.settings.consult
    other = card(context.settings, decision.then or decision.consult)
    whole = other.cost_usd(sent.prompt_tokens, sent.max_tokens)
    if decision.then:
        most = None if whole is None or first_usd is None else whole + first_usd
        told = "at a cost that is unknown" if most is None else f"for {usd(most)} more at most"
        line = f"{other.name} answers where the signs of the first answer are poor, {told}."
        return (0.0, most), line
    asked = min(sent.prompt_tokens, consult.problem_tokens)
    insight = other.cost_usd(asked, consult.insight_tokens)
    if insight is None or whole is None:
        line = f"{other.name} gives an insight first, at a cost that is unknown."
        return (None, None), line
    most = 2 * insight + whole
    line = f"{other.name} gives an insight first: {usd(insight)} of what is expected, at most "
    return (insight, most), f"{line}{usd(most)}."


def _expected(answers: list[str]) -> int:
    from aiki_kernel.models.tokens import estimate

    return round(sum(map(estimate, answers)) / len(answers)) if answers else _USUAL_ANSWER


def _budget(
    context: Context, card: ModelCard, request: ChatRequest, session_id: str
) -> tuple[list[Cap], str]:
    """The caps, and why the call would be refused under one; "" when it would not."""
    from aiki_kernel.mind import forecast
    from aiki_kernel.mind.budget import Budget, Call

    file = context.aiki.ledger.file
    caps = Budget(file, context.settings).state(session_id=session_id)
    call = Call(card, "generate", session_id, "", request.prompt_tokens, request.max_tokens)
    if card.local or not caps or call.most_usd == 0:
        return caps, ""
    if call.most_usd is None:
        allowed = context.settings.budget.unknown_prices == "allow"
        return caps, "" if allowed else f"the price of {card.name} is unknown"
    likely = call.output_tokens
    if file.path.exists():
        likely = file.use(
            lambda db: forecast.of_past(db, card.name, "generate", call.output_tokens).tokens,
            verb="read",
        )
    for cap in caps:
        if call.affordable(cap.left) < likely:
            return caps, f"budget.{cap.setting} leaves {usd(cap.left)} {cap.what}"
    return caps, ""


def _message(message: ChatMessage) -> dict[str, Any]:
    from aiki_kernel.models.tokens import estimate

    return {
        "role": message.role,
        "text": redact(message.content),
        "tokens": estimate(message.content) + message.image_tokens,
        "images": [
            {"name": one.name, "mime": one.mime, "size": one.size, "tokens": one.tokens}
            for one in message.images
        ],
    }


# -- faces ------------------------------------------------------------------------------------


def _head(data: dict[str, Any]) -> list[str]:
    """The lines above the messages."""
    cost = data["cost"]
    answer = data["answer_tokens"]
    lines = [
        f"{data['model']} would answer ({data['reason']})"
        + (f", as {data['persona']}" if data["persona"] != "default" else "")
        + ".",
        f"About {data['tokens']:,} tokens would be sent, and some {answer['expected']:,} come back "
        f"({answer['most']:,} at most): {_price(cost)}.",
    ]
    if data["attached"]:
        told = "; ".join(
            f"{one['name']} ({one['title']}) {one['tokens']:,} tokens" for one in data["attached"]
        )
        lines.append(f"Attached: {told}.")
    given, not_given = len(data["recalled"]), data["recalled_not_given"]
    if given or not_given:
        more = f", {not_given} more found and not given" if not_given else ""
        lines.append(f"Recalled: {given} {'memory' if given == 1 else 'memories'}{more}.")
    if data["form"]:
        lines.append(f"The answer has to be a {data['form']}.")
    lines += [
        f"{cap['setting']}: {usd(cap['left_usd'])} left of {usd(cap['limit_usd'])}."
        for cap in data["budget"]
    ]
    if data["refused"]:
        lines.append(f"It would be REFUSED: {data['refused']}.")
    lines += [f"Note: {note}" for note in data["notes"]]
    return [*lines, "Nothing was sent, booked or remembered."]


def _price(cost: dict[str, Any]) -> str:
    if cost["most_usd"] is None:
        return "what that costs is unknown"
    if not cost["most_usd"]:
        return "$0"
    return f"{usd(cost['expected_usd'])} expected, {usd(cost['most_usd'])} at most"


def _label(message: dict[str, Any]) -> str:
    pictures = "".join(
        f" + image {one['name']} ({one['size']}, {one['tokens']:,} tokens)"
        for one in message["images"]
    )
    return f"{message['role']} · {message['tokens']:,} tokens{pictures}"


def _text(data: dict[str, Any]) -> str:
    parts = ["\n".join(_head(data))]
    parts += [f"--- {_label(one)}\n{one['text']}" for one in data["messages"]]
    return plain("\n\n".join(parts))


def _html(data: dict[str, Any]) -> str:
    head = "".join(f"<li>{escape(plain(line))}</li>" for line in _head(data))
    last = len(data["messages"]) - 1
    parts = [f'<ul style="list-style:none;padding-left:0">{head}</ul>']
    for place, one in enumerate(data["messages"]):
        opened = " open" if place == last else ""
        parts.append(
            f"<details{opened}><summary>{escape(plain(_label(one)))}</summary>"
            f'<pre style="white-space:pre-wrap">{escape(plain(one["text"]))}</pre></details>'
        )
    return "".join(parts)
