"""What the memory browser shows: a page of memories, one of them whole, what to filter by.

Plain JSON data made of the daemon's answers; the widget, the HTML and the text are renderings of
it. Texts are other people's: control characters and keys are taken out here, and nobody makes
markup of what is left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from aiki_kernel.display.facts import VOUCHED, clean, number, origin
from aiki_kernel.safety.secrets import redact

VERSION = 1
PAGE = 10
STATES = ("", "use", "held", "gone")
"""Everything that is there, without what is held back, what is held back, what is gone."""

# They would turn the order of what stands around them.
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_TEXT, _LABEL, _WHOLE, _HISTORY = 240, 60, 60_000, 40
_NAMES = {"user": "you", "assistant": "the model"}
_HOW = {
    "superseded_by": "its place was taken by",
    "supersedes": "it took the place of",
    "merged": "the same was said in",
}
_DID = {
    "ADD": "remembered",
    "UPDATE": "text changed",
    "DELETE": "left the memory",
    "TAGS": "tags changed",
    "QUARANTINE": "held back",
    "RELEASE": "released",
}

Facts = dict[str, Any]


def page(found: Mapping[str, Any], wanted: Mapping[str, Any], first: int = 0) -> Facts:
    """A page as it is shown; ``first`` memories stand on the pages before."""
    rows = [row(one) for one in found.get("rows") or ()]
    total = int(number(found.get("total")) or 0)
    return {
        "version": VERSION,
        "rows": rows,
        "next": str(found.get("next") or ""),
        "total": total,
        "first": first,
        "said": headline(total, len(rows), first, wanted),
        "note": _line(found.get("note"), 300),
        "filters": chosen(wanted),
    }


def headline(total: int, shown: int, first: int, wanted: Mapping[str, Any]) -> str:
    """``1–10 of 1,204 memories, newest first``, or that there is none and what helps."""
    state, query = str(wanted.get("state") or ""), str(wanted.get("query") or "").strip()
    if not total:
        if query or chosen(wanted):
            return "No memory fits: take a filter away, or look for other words."
        if state == "gone":
            return "Nothing has left the memory."
        if state == "held":
            return "Nothing is in quarantine."
        return "Nothing is remembered yet."
    what = "memory" if total == 1 else "memories"
    order = {"gone": "the last to go first"}.get(state, "best first" if query else "newest first")
    if query and state == "held":
        order = "newest first"
    if total == 1:
        return f"1 {what}"
    span = f"{first + 1:,}–{first + shown:,}" if shown > 1 else f"{first + 1:,}"
    return f"{span} of {total:,} {what}, {order}"


def chosen(wanted: Mapping[str, Any]) -> list[str]:
    """The filters that are set, in words."""
    who = str(wanted.get("who") or "").partition(":")
    named = {
        "kind": wanted.get("kind"),
        "tag": wanted.get("tag"),
        "by or about": _NAMES.get(who[2], who[2]),
        "trust": wanted.get("trust"),
        "since": _day(wanted.get("since")),
        "until": _day(wanted.get("until")),
    }
    return [f"{name} {_line(value, _LABEL)}" for name, value in named.items() if value]


def row(one: Mapping[str, Any]) -> Facts:
    """One memory of a list."""
    role, agent = _line(one.get("role"), _LABEL), _line(one.get("agent_id"), _LABEL)
    text = _line(one.get("text"), _TEXT)
    cut = bool(one.get("cut")) and not text.endswith("…")
    marks = [
        word
        for word, true in (("quarantined", one.get("held")), ("out of date", one.get("ended")))
        if true
    ]
    made = {
        "id": _line(one.get("id"), 64),
        "text": f"{text}…" if cut else text,
        "when": when(one.get("created_at")),
        "who": ", ".join(
            part for part in (_NAMES.get(role, role), "" if agent == "default" else agent) if part
        ),
        "kind": _line(one.get("kind"), _LABEL),
        "trust": VOUCHED.get(str(one.get("trust")), ""),
        "tags": [_line(tag, 40) for tag in (one.get("tags") or ())[:8]],
        "marks": marks,
        "held": bool(one.get("held")),
        "where": _line(origin(one.get("provenance") or {}), _LABEL),
    }
    if "reason" in one:
        made["gone"] = {
            "why": _line(one.get("reason"), 200),
            "when": when(one.get("at")),
            "by": _line(one.get("actor"), _LABEL),
        }
    return made


def opened(found: Mapping[str, Any]) -> Facts:
    """One memory whole: its text, what is known of it, what happened to it, and its relations."""
    record, about = found["record"], found["record"].get("metadata") or {}
    text = redact(_printable(str(record.get("data") or "")))
    held = about.get("quarantine") if isinstance(about.get("quarantine"), Mapping) else {}
    facts = [
        ("remembered", when(record.get("created_at"))),
        ("changed", _changed(record)),
        ("kind", record.get("kind")),
        ("said by", _NAMES.get(str(record.get("role")), record.get("role"))),
        ("persona", record.get("agent_id")),
        ("trust", record.get("trust")),
        ("from", origin(record.get("provenance") or {})),
        ("session", record.get("run_id")),
        ("summary", about.get("summary") if about.get("summary") != record.get("data") else ""),
        ("importance", about.get("importance")),
        ("about", ", ".join(map(str, about.get("entities") or ()))),
        ("said", _times(about.get("times_said"))),
        ("out of date since", when(about.get("valid_to")) if about.get("valid_to") else ""),
        ("in quarantine", f"{held.get('reason', '')} ({held.get('by', '')})" if held else ""),
        ("id", record.get("id")),
    ]
    return {
        **row(found["row"]),
        "whole": text[:_WHOLE],
        "editable": len(text) <= _WHOLE,
        "tags": [_line(tag, 40) for tag in found["row"].get("tags") or ()],
        "facts": [[name, _line(value, 300)] for name, value in facts if value not in (None, "")],
        "related": _related(found.get("related") or {}),
        "history": [_event(one) for one in (found.get("history") or ())[-_HISTORY:]],
        "note": _line(found.get("note"), 300),
    }


def labels(found: Mapping[str, Any]) -> Facts:
    """What there is to filter by: for each filter a list of value, name and count."""

    def named(name: str, prefix: str = "") -> list[list[Any]]:
        return [
            [f"{prefix}{value}", _line(_NAMES.get(value, value), _LABEL), count]
            for value, count in found.get(name) or ()
            if isinstance(value, str) and len(value) <= 200
        ]

    return {
        "kind": named("kinds"),
        "tag": named("tags"),
        "who": [
            *named("roles", "role:"),
            *named("agents", "agent:"),
            *named("entities", "entity:"),
        ],
        "trust": named("trusts"),
        "total": found.get("total") or 0,
        "held": found.get("held") or 0,
    }


def timeline(found: Mapping[str, Any]) -> Facts:
    """Bars with their names: ``3 March 2026``, ``March 2026`` or ``2026``."""
    unit = str(found.get("unit") or "day")
    form = {"day": "%-d %B %Y", "month": "%B %Y", "year": "%Y"}[unit]
    bars = [
        {**bar, "name": datetime.fromisoformat(bar["since"]).astimezone().strftime(form)}
        for bar in found.get("bars") or ()
    ]
    return {"unit": unit, "bars": bars}


def when(stamp: Any) -> str:
    """An ISO-8601 time in the user's own zone, to the minute; unreadable ones as they are."""
    try:
        return datetime.fromisoformat(str(stamp)).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return "" if stamp is None else _line(stamp, 32)


def _related(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Facts]:
    return [
        {
            "how": _HOW.get(name, name),
            "id": _line(one.get("id"), 64),
            "text": _line(one.get("text"), _TEXT) or "(not to be seen any more)",
            "when": when(one.get("at")) if one.get("at") else "",
            "there": bool(one.get("there")),
        }
        for name, ones in found.items()
        for one in ones
    ]


def _event(one: Mapping[str, Any]) -> Facts:
    event = str(one.get("event") or "")
    old, new = _line(one.get("old_memory"), 160), _line(one.get("new_memory"), 160)
    if event in ("ADD", "DELETE"):
        old = new = ""  # the text stands above
    return {
        "what": _DID.get(event, event.lower()),
        "when": when(one.get("updated_at")),
        "by": _line(one.get("actor_id"), _LABEL),
        "why": _line(one.get("reason"), 200),
        "old": old,
        "new": new,
    }


def _changed(record: Mapping[str, Any]) -> str:
    updated = record.get("updated_at")
    return when(updated) if updated and updated != record.get("created_at") else ""


def _times(count: Any) -> str:
    return f"{count} times" if isinstance(count, int) and count > 1 else ""


def _day(stamp: Any) -> str:
    return when(stamp)[:10] if stamp else ""


def _line(value: Any, limit: int) -> str:
    return _cut(_TURNS.sub("", clean(redact(str(value)))), limit) if value is not None else ""


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _printable(text: str) -> str:
    """Lines and blanks as they are; what cannot be shown is left out."""
    return "".join(char for char in text if char in "\n\t" or char.isprintable())
