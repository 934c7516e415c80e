"""What is said about an answer, in words: one reading of the summary for every face.

The summary is the dict that a notebook stores under ``metadata["aiki"]``. The static
HTML and the text line are both written from :class:`Facts`, so they cannot disagree;
``widgets/answer_card.js`` follows the same rules, and a test in Chromium compares them.

Nothing here trusts its input: memories and model names are other people's text, numbers
may be missing or not finite, dates may not be dates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

Summary = Mapping[str, Any]

STAGES = (
    ("recall", "recall"),
    ("route", "route"),
    ("first_token", "first token"),
    ("generate", "generate"),
    ("remember", "remember"),
)

NOT_USED = "found, not used"
STALE = "An earlier cell was run again after this answer: run this cell to renew it"
KEPT = "Kept by # keep: running the cell again shows this answer and costs nothing"

# Controls would move a terminal's cursor, surrogates cannot be encoded.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_LEAST_USD = 1e-6
_TIE = 1e-9  # halves go up here and in JavaScript alike


@dataclass(frozen=True)
class Segment:
    """One stage of the bar. ``share`` is its part of the whole, 0 to 1."""

    stage: str
    label: str
    seconds: float
    share: float

    @property
    def time(self) -> str:
        return duration(self.seconds)


@dataclass(frozen=True)
class MemoryLine:
    """One recalled memory as it is shown. ``created_at`` is ISO-8601 or empty; ``used`` is
    false when the memory was found but did not fit into what the model was told."""

    text: str
    score: str
    role: str
    when: str
    created_at: str
    where: str
    used: bool = True

    @property
    def about(self) -> tuple[str, ...]:
        """Who said it, when, where, and whether it was used, without the empty ones."""
        unused = "" if self.used else NOT_USED
        return tuple(p for p in (self.role, self.when, self.where, unused) if p)


@dataclass(frozen=True)
class Mark:
    """A word with a light in the line of facts; ``why`` is a sentence for it, or empty."""

    word: str
    state: str
    why: str


@dataclass(frozen=True)
class Facts:
    """Everything a face shows, ready to be escaped and placed. Missing facts are empty."""

    state: str
    label: str
    model: str
    engine: str
    tokens: str
    cost: str
    total: str
    speed: str
    segments: tuple[Segment, ...]
    memories: tuple[MemoryLine, ...]
    memory_count: int
    notes: tuple[str, ...]
    stale: bool
    searched: str = ""
    searched_why: str = ""
    hops: str = ""
    saved: str = ""
    persona: str = ""
    kept: bool = False
    route: str = ""
    insight: str = ""

    @property
    def marks(self) -> tuple[Mark, ...]:
        """How it ended, whether it is out of date, whether it is kept."""
        ended = Mark(self.label, "down" if self.state == "error" else "degraded", "")
        stale, kept = Mark("stale", "degraded", STALE), Mark("kept", "ok", KEPT)
        given = ((ended, self.label), (stale, self.stale), (kept, self.kept))
        return tuple(mark for mark, there in given if there)

    @property
    def headline(self) -> tuple[str, ...]:
        """The parts of the one line under an answer, in order, without the empty ones."""
        who = (self.model, self.persona, self.hops, self.engine)
        parts = (*who, self.tokens, self.cost, self.saved, self.total, self.speed)
        return tuple(part for part in parts if part)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is as it is, a sentence each: the model, the search, and what the marks mean."""
        model = f"Model: {self.route}" if self.route else ""
        search = f"Search: {self.searched_why}" if self.searched_why else ""
        marks = (mark.why for mark in self.marks)
        return tuple(reason for reason in (model, search, *marks) if reason)

    @property
    def memories_label(self) -> str:
        count = self.memory_count
        if not count:
            return "no memories"
        found = f"{count} memor{'y' if count == 1 else 'ies'}"
        return f"{found} · {self.searched}" if self.searched else found

    @classmethod
    def read(cls, summary: Summary) -> Facts:
        """Read ``summary``; whatever is missing or malformed is left out, never invented."""
        state, label = _state(summary)
        segments = _segments(_mapping(summary.get("latency_s")))
        seconds = sum(segment.seconds for segment in segments)
        hits = [hit for hit in _sequence(summary.get("hits")) if isinstance(hit, Mapping)]
        left_out = number(summary.get("hits_left_out")) or 0
        backend = summary.get("backend")
        notes = [n for n in map(clean, _sequence(summary.get("notes"))) if n]
        # The first note of a consultation is the insight that was paid for; a kept answer has
        # notes of its own instead.
        consulted = _mapping(summary.get("consult")).get("insight") and notes
        consulted = consulted and notes[0].startswith("Consulted ")
        return cls(
            state=state,
            label=label,
            model=_model(summary),
            engine=_engine(summary),
            tokens=_tokens(_mapping(summary.get("usage"))),
            cost=_cost(summary.get("cost"), cut=state in ("interrupted", "error")),
            hops=_hops(summary.get("hops")),
            saved=_saved(_mapping(summary.get("compared")), _mapping(summary.get("cost"))),
            total=duration(seconds) if segments else "",
            speed=_speed(number(summary.get("tokens_per_second"))),
            segments=segments,
            memories=tuple(_memory(hit) for hit in hits),
            memory_count=len(hits) + int(left_out),
            insight=notes.pop(0) if consulted else "",
            notes=tuple(notes),
            route=_route(_mapping(summary.get("route"))),
            kept=bool(summary.get("kept")),
            stale=bool(summary.get("stale")),
            searched=_searched(backend),
            persona=_persona(summary),
            searched_why=clean(_mapping(backend).get("reason")),
        )


def clean(value: Any) -> str:
    """``value`` as one printable line: no control characters, runs of space made one."""
    if value is None:
        return ""
    return " ".join(_UNPRINTABLE.sub(" ", str(value)).split())


def number(value: Any) -> float | None:
    """A number from zero to 1e15, or None: beyond that it is not a figure of an answer."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if 0 <= found <= 1e15 else None


def duration(seconds: float) -> str:
    """``<1 ms``, ``480 ms``, ``2.4 s``, ``1 min 12 s``."""
    if seconds < 0.001:
        return "<1 ms"
    if seconds < 0.9995:
        return f"{math.floor(seconds * 1000 + 0.5)} ms"
    if seconds < 59.95:
        return f"{seconds + _TIE:.1f} s"
    whole = math.floor(seconds + 0.5)
    return f"{whole // 60} min {whole % 60} s"


def milliseconds(ms: float) -> str:
    """``0.21 ms``, ``3.4 ms``, ``120 ms``: a search is too short for :func:`duration`."""
    if ms < 9.95:
        return f"{ms + _TIE:.{2 if ms < 0.995 else 1}f} ms"
    return f"{math.floor(ms + 0.5)} ms"


def _searched(backend: Any) -> str:
    """Who searched the memory and how long, e.g. ``mojo 0.21 ms``; older answers know neither."""
    known = _mapping(backend)
    ms = number(known.get("ms"))
    name = clean(known.get("name"))
    return f"{name} {milliseconds(ms)}" if name and ms is not None else name


def _state(summary: Summary) -> tuple[str, str]:
    reason = summary.get("finish_reason")
    if reason in ("interrupted", "cancelled"):
        return "interrupted", "stopped"
    if reason == "error":
        return "error", "failed"
    if reason == "length":
        return "done", "cut at the token limit"
    return ("done", "") if reason else ("streaming", "")


def _model(summary: Summary) -> str:
    model, provider = clean(summary.get("model")), clean(summary.get("provider"))
    if not model or not provider or model == provider or model.startswith(f"{provider}/"):
        return model
    return f"{provider}/{model}"


def _route(route: Mapping[str, Any]) -> str:
    """Which model and why, in the router's own words."""
    reason, router = clean(route.get("reason")), clean(route.get("router"))
    own = router in ("", "fixed") or reason.startswith(f"{router}:")
    return reason if own or not reason else f"{router}: {reason}"


def _persona(summary: Summary) -> str:
    """Who answered, as one addresses them; ``default`` goes without saying."""
    name = clean(summary.get("persona"))
    return "" if name in ("", "default") else f"@{name}"


def _engine(summary: Summary) -> str:
    """What computed it on this machine, e.g. ``mojo Q4_1``; remote models tell nothing."""
    parts = (clean(summary.get("engine")), clean(summary.get("quantisation")))
    return " ".join(part for part in parts if part)


def _segments(latency: Mapping[str, Any]) -> tuple[Segment, ...]:
    seconds = {stage: number(latency.get(stage)) for stage, _ in STAGES}
    generate, first = seconds["generate"], seconds["first_token"]
    if generate is not None and first is not None:
        # The span of generation holds the wait for its first token: show the two apart.
        seconds["generate"] = max(0.0, generate - first)
    known = [(stage, label, s) for stage, label in STAGES if (s := seconds[stage]) is not None]
    whole = sum(s for _, _, s in known)
    return tuple(
        Segment(stage, label, s, s / whole if whole > 0 else 0.0) for stage, label, s in known
    )


def _tokens(usage: Mapping[str, Any]) -> str:
    given = number(usage.get("input_tokens"))
    made = number(usage.get("output_tokens"))
    if given is None and made is None:
        return ""
    mark = "~" if usage.get("estimated") else ""
    if given is None:  # an answer that was cut: only what came is known
        return f"{mark}{int(made or 0):,} tokens" if made else ""
    sides = [f"{mark}{int(side):,}" if side is not None else "?" for side in (given, made)]
    cached = number(usage.get("cached_tokens"))
    tail = f" ({int(cached):,} cached)" if cached and cached >= 1 else ""
    return f"{sides[0]} → {sides[1]} tokens{tail}"


def _cost(cost: Any, *, cut: bool) -> str:
    """What it cost. An answer that was cut is reckoned in the books, after this was written."""
    if not isinstance(cost, Mapping):
        return ""
    usd = number(cost.get("usd"))
    if usd is None:
        return "" if cut else "price unknown"
    if usd == 0:
        return "free"
    return _dollars(usd, "~" if cost.get("estimated") else "")


def _dollars(usd: float, mark: str) -> str:
    if usd < _LEAST_USD:
        return f"{mark}<$0.000001"
    digits = max(2, 1 - math.floor(math.log10(usd)))
    return f"{mark}${usd * (1 + _TIE):.{digits}f}"


def _hops(hops: Any) -> str:
    """How many models failed before this one: a list of hops, or their count."""
    count = len(hops) if isinstance(hops, list | tuple) else int(number(hops) or 0)
    return f"{count} hop{'' if count == 1 else 's'}" if count else ""


def _saved(compared: Mapping[str, Any], cost: Mapping[str, Any]) -> str:
    """The estimate of what the smart tier's model would have cost more, or less."""
    could, was = number(compared.get("smart_only_usd")), number(cost.get("usd"))
    if could is None or was is None or abs(could - was) < _LEAST_USD:
        return ""
    if could > was:
        return f"{_dollars(could - was, '~')} saved"
    return f"{_dollars(was - could, '~')} over smart-only"


def _speed(rate: float | None) -> str:
    if not rate:
        return ""
    return f"{math.floor(rate + 0.5):,} tok/s" if rate >= 9.95 else f"{rate + _TIE:.1f} tok/s"


VOUCHED = {"import": "imported", "sensor": "sensor", "tool": "tool"}
"""What a card says of a memory for which neither the user nor a model in talk vouches."""


def _memory(hit: Mapping[str, Any]) -> MemoryLine:
    created = clean(hit.get("created_at"))
    score = hit.get("score")
    # A fused score may be negative: it is a sum of z-scores.
    shown = isinstance(score, int | float) and math.isfinite(score)
    role = clean(hit.get("role")) or clean(hit.get("kind"))
    role = {"user": "you", "assistant": "answer"}.get(role, role)
    trust = VOUCHED.get(clean(hit.get("trust")), "")
    return MemoryLine(
        text=clean(hit.get("text")),
        score=f"{score:.2f}" if shown else "",
        role=", ".join(part for part in (role, trust) if part),
        when=when(created),
        created_at=created,
        where=origin(_mapping(hit.get("provenance"))),
        used=hit.get("used") is not False,
    )


def when(created: str) -> str:
    """``2026-11-18 09:30`` of an ISO date, in the user's own zone; anything else as it is."""
    try:
        moment = datetime.fromisoformat(created)
        # Absolute: what is saved in a notebook must still be true next year.
        return moment.astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return created[:32]


def origin(provenance: Mapping[str, Any]) -> str:
    """Where a memory came from: a notebook's name, an import's file, or a session."""
    for key in ("notebook", "source", "import"):
        path = clean(provenance.get(key))
        if path:
            return PureWindowsPath(PurePosixPath(path).name).name or path
    session = clean(provenance.get("session_id"))
    return f"session {session[:8]}" if session else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
