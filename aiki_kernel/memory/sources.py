"""Where imported memories come from, and what in them is a memory.

JSON is read generously: any object with a text under one of the usual names is a memory, a
pair of question and answer is two, and lists and objects are searched all the way down.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.foreign import find_storages, read_storage
from aiki_kernel.memory.payload import derived_id, from_payload, point_id
from aiki_kernel.memory.records import Draft, Scope

TEXT_KEYS = ("data", "text", "memory", "content", "message", "summary", "note")
PAIRS = (
    ("user", "assistant"),
    ("question", "answer"),
    ("prompt", "response"),
    ("input", "output"),
    ("human", "ai"),
    ("user_message", "assistant_message"),
    ("user_message", "ai_response"),
    ("user_input", "response"),
)
TIME_KEYS = ("created_at", "timestamp", "createdAt", "created", "datetime", "date", "time", "ts")
_ROLE_KEYS = ("role", "speaker", "sender", "author")
_RECORD_KEYS = {
    "id",
    "hash",
    "user_id",
    "agent_id",
    "run_id",
    "kind",
    "updated_at",
    "embedder",
    "provenance",
    "metadata",
    "turn_id",
    "trust",
    "previous",
    "text_lemmatized",
    "score",
    "session_id",
}
_LONGEST = 1_000_000
_DEEPEST = 60


@dataclass(frozen=True)
class Found:
    """A memory, or a place where there should have been one and why there is none."""

    where: str
    draft: Draft | None = None
    problem: str = ""


def read_source(
    source: str | Path, scope: Scope, open_server: Callable[[str], Iterator[tuple[str, Any]]]
) -> tuple[list[Found], list[Path]]:
    """Everything in ``source``, and mem0 history files that belong to it.

    ``source``: a ``.jsonl`` or ``.json`` file, a folder of such, a folder of mem0 or one of
    its ``storage.sqlite``, or ``http(s)://host:port/collection`` (``open_server`` yields id
    and payload). Raises :class:`StoreError` when there is nothing to read at all.
    """
    if str(source).startswith(("http://", "https://")):
        return [
            found
            for name, payload in open_server(str(source))
            for found in _from_point(f"{source}#{name}", name, payload, scope)
        ], []
    path = Path(source).expanduser()
    if not path.exists():
        raise StoreError(f"{path} is not there: give a file, a folder or a Qdrant URL.")
    storages = find_storages(path) if path.is_dir() or path.name == "storage.sqlite" else []
    if storages:
        out: list[Found] = []
        for storage in storages:
            for point in read_storage(storage):
                if point.payload is None:
                    out.append(Found(point.where, problem=point.refused))
                else:
                    out += _from_point(point.where, point.id, point.payload, scope)
        nearby = (parent for storage in storages for parent in list(storage.parents)[2:4])
        histories = {parent / "history.db" for parent in nearby}
        return out, sorted(one for one in histories if one.is_file())
    files = [path]
    if path.is_dir():
        files = sorted(
            one
            for one in path.rglob("*")
            if one.suffix.lower() in (".json", ".jsonl", ".ndjson")
            and one.is_file()
            and not any(part.startswith(".") for part in one.relative_to(path).parts)
        )
        if not files:
            raise StoreError(f"{path} holds no .json or .jsonl file: nothing was imported.")
    base = path if path.is_dir() else path.parent
    return [found for file in files for found in _from_file(file, base, scope)], []


def _from_point(where: str, name: str, payload: Mapping[str, Any], scope: Scope) -> list[Found]:
    record = from_payload(name, payload)
    if not record.data.strip():
        return [Found(where, problem="it has no text")]
    return [
        _found(
            where,
            Draft(
                record.data,
                scope,
                kind=record.kind,
                role=record.role,
                metadata=record.metadata,
                provenance=record.provenance or {"imported_from": "mem0"},
                created_at=_iso(record.created_at),
                updated_at=_iso(record.updated_at),
                id=point_id(name),
                turn_id=record.turn_id,
                previous=record.previous,
            ),
            record.user_id,
            record.agent_id,
            record.run_id,
        )
    ]


def _from_file(path: Path, base: Path, scope: Scope) -> Iterator[Found]:
    where = str(path.relative_to(base))
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        yield Found(where, problem="it is not UTF-8 text")
        return
    except OSError as error:
        yield Found(where, problem=f"it cannot be read ({error.strerror})")
        return
    if path.suffix.lower() == ".json":
        yield from _from_json(where, where, text, scope)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield from _from_json(f"{where}:{number}", where, line, scope)


def _from_json(where: str, origin: str, text: str, scope: Scope) -> Iterator[Found]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield Found(where, problem=f"it is not JSON ({str(error) or type(error).__name__})")
        return
    count = 0
    for count, found in enumerate(_walk(document, where, origin, scope, 0), 1):  # noqa: B007
        yield found
    if not count:
        yield Found(where, problem=f"no text under any of {', '.join(TEXT_KEYS)}")


def _walk(node: Any, where: str, origin: str, scope: Scope, depth: int) -> Iterator[Found]:
    if depth > _DEEPEST:
        yield Found(where, problem=f"it is nested more than {_DEEPEST} deep")
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from _walk(child, f"{where}[{number}]", origin, scope, depth + 1)
    elif isinstance(node, dict):
        items = list(_memories(node, where, origin, scope))
        if items:
            yield from items
            return
        for key, child in node.items():
            if isinstance(child, list | dict):
                yield from _walk(child, f"{where}.{key}", origin, scope, depth + 1)


def _memories(node: dict[str, Any], where: str, origin: str, scope: Scope) -> Iterator[Found]:
    for asked, answered in PAIRS:
        question, answer = _text(node.get(asked)), _text(node.get(answered))
        if question and answer:
            used = {asked, answered}
            turn = str(node.get("turn_id") or node.get("id") or "") or derived_id(question, answer)
            yield _draft(node, where, origin, scope, question, used, "user", turn)
            yield _draft(node, where, origin, scope, answer, used, "assistant", turn, question)
            return
    for key in TEXT_KEYS:
        text = _text(node.get(key))
        if text:
            role = next((str(node[k]) for k in _ROLE_KEYS if isinstance(node.get(k), str)), None)
            yield _draft(node, where, origin, scope, text, {key}, role)
            return


def _draft(
    node: dict[str, Any],
    where: str,
    origin: str,
    scope: Scope,
    text: str,
    used: set[str],
    role: str | None,
    pair: str = "",
    previous: str = "",
) -> Found:
    if len(text) > _LONGEST:
        return Found(where, problem=f"its text has more than {_LONGEST} characters")
    clock = next((key for key in TIME_KEYS if _iso(node.get(key))), None)
    created = _iso(node[clock]) if clock else None
    if created and pair and role == "assistant":
        created = _iso(datetime.fromisoformat(created).timestamp() + 1e-6)
    skip = used | _RECORD_KEYS | set(_ROLE_KEYS) | ({clock} if clock else set())
    extra = {key: _plain(value) for key, value in node.items() if key not in skip}
    given = node.get("metadata")
    if isinstance(given, dict):
        extra.update({str(key): _plain(value) for key, value in given.items()})
    provenance = node.get("provenance")
    name = point_id(node.get("id"))
    if pair:
        name = derived_id("turn", pair, str(role))
    draft = Draft(
        text,
        scope,
        kind=str(node.get("kind") or ("message" if role else "fact")),
        role=role,
        metadata=extra,
        provenance=_plain(provenance)
        if isinstance(provenance, dict)
        else {}
        if "hash" in node and "data" in node  # a memory of our own export: nothing is added
        else {"imported_from": origin},
        created_at=created,
        updated_at=_iso(node.get("updated_at")),
        id=name,
        turn_id=_word(node.get("turn_id")) or (pair or None),
        previous=_word(node.get("previous")) or previous,
    )
    run = _word(node.get("run_id")) or _word(node.get("session_id")) or None
    return _found(
        where, draft, _word(node.get("user_id")), _word(node.get("agent_id")) or None, run
    )


def _found(where: str, draft: Draft, user: str, agent: str | None, run: str | None) -> Found:
    """Give the memory to whoever imports it; whose it was stays in its provenance."""
    scope = draft.scope
    provenance = dict(draft.provenance)
    if user and user != scope.user_id:
        provenance.setdefault("imported_user_id", user)
    given = Scope(scope.user_id, agent or scope.agent_id, run or scope.run_id)
    key = (scope.user_id, draft.text, draft.created_at or "", draft.role or "", run or "")
    return Found(
        where,
        replace(
            draft,
            scope=given,
            provenance=provenance,
            trust="import",
            id=draft.id or derived_id("import", *key),
        ),
    )


def _text(value: Any) -> str:
    """A text, also as the list of parts that chat APIs write."""
    if isinstance(value, str):
        return value.strip() and value
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        parts = [part.get("text") for part in value if part.get("type") == "text"]
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _iso(value: Any) -> str | None:
    """A time as ISO-8601 with a zone (UTC where none is given); seconds or ms since 1970 too."""
    try:
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, int | float):
            seconds = value / 1000 if abs(value) > 1e11 else value
            return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
        when = datetime.fromisoformat(str(value).strip())
    except (ValueError, OverflowError, OSError):
        return None
    if when.tzinfo is None:
        return when.replace(tzinfo=UTC).isoformat(timespec="microseconds")
    return str(value).strip()


def _plain(value: Any, depth: int = 0) -> Any:
    """JSON data that every store takes: no NaN, no deep nests, no integers beyond 64 bits."""
    if depth > 16:
        return str(value)[:1000]
    if isinstance(value, dict):
        return {str(key): _plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, depth + 1) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return str(value)
    return value
