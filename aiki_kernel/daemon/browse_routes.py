"""``/memory/browse``, ``labels``, ``timeline``, ``opened``, ``tag`` and ``gone``: looking through
the memory, a page at a time."""

from __future__ import annotations

from typing import Any

from aiki_kernel.daemon.engine import Engine
from aiki_kernel.daemon.exchange import BadRequestError, take
from aiki_kernel.daemon.memory_routes import Body, _answers, _post, _scope
from aiki_kernel.memory import browsing
from aiki_kernel.memory.browsing import Wanted

_MOST = 100


def _wanted(body: Body) -> Wanted:
    given = take(body, "wanted", dict, {})
    words = ("query", "kind", "tag", "who", "trust", "since", "until")
    held = take(given, "held", bool, None)
    return Wanted(**{name: take(given, name, str, "") for name in words}, held=held)


def _place(body: Body) -> tuple[str, int]:
    limit = take(body, "limit", int, 20)
    if not 1 <= limit <= _MOST:
        raise BadRequestError(f"Field 'limit' must be from 1 to {_MOST}.", param="limit")
    return take(body, "after", str, ""), limit


def _browse(engine: Engine, body: Body) -> Any:
    wanted, scope = _wanted(body), _scope(engine, body)
    view = engine.memory.access.must(scope, "list")
    return browsing.page(engine.memory, view, wanted, *_place(body))


def _labels(engine: Engine, body: Body) -> Any:
    return browsing.labels(engine.memory, engine.memory.access.must(_scope(engine, body), "list"))


def _timeline(engine: Engine, body: Body) -> Any:
    view = engine.memory.access.must(_scope(engine, body), "list")
    return browsing.timeline(engine.memory, view, _wanted(body))


def _opened(engine: Engine, body: Body) -> Any:
    id, scope = take(body, "id", str), _scope(engine, body)
    view = engine.memory.access.must(scope, "get")
    record = engine.memory.get(id, scope)
    rows, note = browsing.history(engine.memory, view, record.id)
    return {**browsing.opened(engine.memory, view, record), "history": rows, "note": note}


def _tag(engine: Engine, body: Body) -> Any:
    id, scope = take(body, "id", str), _scope(engine, body)
    view = engine.memory.access.must(scope, "update")
    tags = [str(word) for word in take(body, "tags", list)]
    record = engine.memory.get(id, scope)
    return browsing.tag(engine.memory, view, record, tags).to_json()


def _gone(engine: Engine, body: Body) -> Any:
    view = engine.memory.access.must(_scope(engine, body), "forget")
    return browsing.gone(engine.memory, view, take(body, "query", str, ""), *_place(body))


ROUTES = [
    _post("browse", _answers(_browse)),
    _post("labels", _answers(_labels)),
    _post("timeline", _answers(_timeline)),
    _post("opened", _answers(_opened)),
    _post("tag", _answers(_tag)),
    _post("gone", _answers(_gone)),
]
