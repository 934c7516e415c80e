"""A conversation as a document, in three formats.

==========  =====================================================================
markdown    for people: renders on GitHub; fences of an answer stay as they are, an
            open one is closed, HTML and pictures of a model are made harmless
json        everything that is known, ``{"format": "aiki-session", "version": 1, ...}``
openai      ``[{"role": ..., "content": ...}, ...]``, ready for an API
==========  =====================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiki_kernel.commands.tables import usd, when
from aiki_kernel.safety.markdown import harmless
from aiki_kernel.safety.secrets import redact
from aiki_kernel.version import __version__

if TYPE_CHECKING:
    from aiki_kernel.mind.conversation import Exchange
    from aiki_kernel.mind.ledger import Entry

VERSION = 1
"""Of the JSON; what is added later is added, nothing changes its meaning."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")


@dataclass(frozen=True)
class Spent:
    """What one answer cost, all calls together. ``cost_usd`` None is an unknown price."""

    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    estimated: bool
    provider: str
    seconds: float


@dataclass(frozen=True)
class Transcript:
    """A session's facts, its exchanges in order, and by turn what they cost. ``notes`` say
    what is missing."""

    session: Mapping[str, Any]
    exchanges: tuple[Exchange, ...]
    costs: Mapping[str, Spent]
    notes: tuple[str, ...] = ()


def spent(rows: Iterable[Entry]) -> dict[str, Spent]:
    """The ledger's rows, added up by turn."""
    by_turn: dict[str, list[Entry]] = {}
    for row in rows:
        by_turn.setdefault(row.turn_id, []).append(row)
    return {
        turn: Spent(
            sum(row.input_tokens for row in own),
            sum(row.output_tokens for row in own),
            None
            if any(row.cost_usd is None for row in own)
            else sum(row.cost_usd or 0.0 for row in own),
            any(row.estimated for row in own),
            next((row.provider for row in own if row.stage == "generate"), ""),
            sum(row.latency_s for row in own),
        )
        for turn, own in by_turn.items()
    }


def written(made: Transcript, format: str, system: str = "") -> str:
    """The document in ``format`` (markdown, json, openai), ended by a newline."""
    if format == "markdown":
        return _markdown(made)
    return json.dumps(data(made, format, system), ensure_ascii=False, indent=2) + "\n"


def data(made: Transcript, format: str, system: str = "") -> Any:
    """The document as plain data."""
    if format == "openai":
        return _messages(made, system)
    total = [cost.cost_usd for cost in _costs(made)]
    return {
        "format": "aiki-session",
        "version": VERSION,
        "made_by": f"aiki-kernel {__version__}",
        "session": dict(made.session),
        "totals": {
            "exchanges": len(made.exchanges),
            "input_tokens": sum(cost.input_tokens for cost in _costs(made)),
            "output_tokens": sum(cost.output_tokens for cost in _costs(made)),
            "cost_usd": sum(one or 0.0 for one in total),
            "unpriced": sum(one is None for one in total),
        },
        "exchanges": [_exchange(one, made) for one in made.exchanges],
        "notes": list(made.notes),
    }


def _costs(made: Transcript) -> list[Spent]:
    return [made.costs[one.turn_id] for one in made.exchanges if one.turn_id in made.costs]


def _exchange(one: Exchange, made: Transcript) -> dict[str, Any]:
    cost = made.costs.get(one.turn_id)
    return {
        "turn_id": one.turn_id,
        "cell_id": one.cell_id,
        "created_at": one.created_at,
        "question": redact(one.question),
        "answer": redact(one.answer),
        "model": one.model,
        "provider": cost.provider if cost else None,
        "persona": one.persona,
        "interrupted": one.interrupted,
        "stale": one.stale,
        "kept": one.kept,
        "input_tokens": cost.input_tokens if cost else None,
        "output_tokens": cost.output_tokens if cost else None,
        "cost_usd": cost.cost_usd if cost else None,
        "estimated": cost.estimated if cost else None,
        "seconds": round(cost.seconds, 3) if cost else None,
    }


def _messages(made: Transcript, system: str) -> list[dict[str, str]]:
    out = [{"role": "system", "content": redact(system)}] if system else []
    for one in made.exchanges:
        # A side without words is refused by most APIs.
        if one.question and one.answer:
            out.append({"role": "user", "content": redact(one.question)})
            out.append({"role": "assistant", "content": redact(one.answer)})
    return out


def _markdown(made: Transcript) -> str:
    session = made.session
    facts = [f"Session `{session['id']}`"]
    if session["notebook"]:
        facts.append(f"notebook {_literal(str(session['notebook']))}")
    stamps = sorted(one.created_at for one in made.exchanges if one.created_at)
    if stamps:
        first, last = when(stamps[0]), when(stamps[-1])
        facts.append(first if first == last else f"{first} to {last}")
    costs = _costs(made)
    known = [cost.cost_usd for cost in costs if cost.cost_usd is not None]
    unknown = len(made.exchanges) - len(known)
    facts.append(f"{len(made.exchanges)} exchange{'' if len(made.exchanges) == 1 else 's'}")
    money = _literal(usd(sum(known))) if known else "cost unknown"
    facts.append(f"{money}, and {unknown} of unknown price" if known and unknown else money)
    parts = [f"# {_literal(str(session['name'])) or 'A conversation'}", " · ".join(facts)]
    for number, one in enumerate(made.exchanges, 1):
        parts.append(f"## {number}. Question")
        parts.append(_text(one.question) or "*(not in the memory any more)*")
        parts.append(f"### Answer {number}")
        parts.append(_text(one.answer) or "*(no answer)*")
        parts.append(f"<sub>{_facts(one, made.costs.get(one.turn_id))}</sub>")
    if made.notes:
        parts += ["---", "\n".join(f"- {_literal(note)}" for note in made.notes)]
    return "\n\n".join(parts) + "\n"


def _facts(one: Exchange, cost: Spent | None) -> str:
    """Provenance, cost and marks of an answer, on one line."""
    words = [_literal(one.model)] if one.model else []
    if one.persona != "default":
        words.append(f"@{_literal(one.persona)}")
    if one.created_at:
        words.append(when(one.created_at))
    if cost is not None:
        about = "~" if cost.estimated else ""
        words.append(f"{about}{cost.input_tokens:,} + {cost.output_tokens:,} tokens")
    price = cost.cost_usd if cost is not None else None
    words.append(_literal(usd(price)) if price is not None else "cost unknown")
    if one.cell_id:
        words.append(f"cell {_literal(one.cell_id)}")
    marks = (("stopped", one.interrupted), ("stale", one.stale), ("kept", one.kept))
    return " · ".join([*words, *(f"<strong>{word}</strong>" for word, fits in marks if fits)])


def _text(text: str) -> str:
    """Words of people and models, harmless and with every fence closed."""
    return harmless(redact(text)).strip("\n")


def _literal(text: str) -> str:
    """``text`` as it is, wherever Markdown would read more into it."""
    return _SPECIAL.sub(r"\\\1", " ".join(redact(text).split())).replace("\\<", "&lt;")
