"""``/memory/*``: every method of the memory over HTTP.

Long work (import, export, re-embedding) streams NDJSON. Paths on disk are taken only
from the Unix socket: over TCP they would be a way to read and write this machine's files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aiki_kernel.daemon import quarantine_routes
from aiki_kernel.daemon.engine import Engine
from aiki_kernel.daemon.exchange import (
    BadRequestError,
    in_thread,
    ndjson,
    read_json,
    take,
    with_progress,
)
from aiki_kernel.memory import aside
from aiki_kernel.memory.asking.question import Asked
from aiki_kernel.memory.records import Draft, Recall, Scope, Turn

Body = dict[str, Any]
Progress = Callable[..., None]
Answer = Callable[[Engine, Body], Any]

_MOST = 10_000


def recall_to_json(recall: Recall) -> dict[str, Any]:
    """A recall as plain data; :meth:`Hit.from_json` reads the hits back."""
    return {
        "hits": [hit.to_json() for hit in recall.hits],
        "seconds": dict(recall.seconds),
        "backend": recall.backend.to_json(),
        "note": recall.note,
        "dropped": [one.to_json() for one in recall.dropped],
    }


def plain(value: Any) -> Any:
    """Reports, dataclasses and paths as JSON data."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    return value


def _scope(engine: Engine, body: Body) -> Scope:
    return _read_scope(engine, take(body, "scope", dict, {}))


def _scope_or_none(engine: Engine, body: Body) -> Scope | None:
    data = take(body, "scope", dict, None)
    return None if data is None else _read_scope(engine, data)


def _read_scope(engine: Engine, data: Body) -> Scope:
    user = take(data, "user_id", str, engine.settings.memory.user_id)
    agent, run = take(data, "agent_id", str, None), take(data, "run_id", str, None)
    return Scope(user, agent, run, take(data, "persona", str, ""))


def _limit(body: Body, default: int) -> int:
    limit = take(body, "limit", int, default)
    if not 0 <= limit <= _MOST:
        raise BadRequestError(f"Field 'limit' must be from 0 to {_MOST}.", param="limit")
    return limit


def _recall(engine: Engine, body: Body) -> Any:
    exclude = [str(item) for item in take(body, "exclude", list, [])]
    query, scope = take(body, "query", str), _scope(engine, body)
    return recall_to_json(
        engine.recall(query, scope, _limit(body, 8), exclude, take(body, "backend", str, ""))
    )


def _search(engine: Engine, body: Body) -> Any:
    query, scope = take(body, "query", str), _scope(engine, body)
    backend = take(body, "backend", str, "")
    kinds = [str(kind) for kind in take(body, "kinds", list, [])]
    return recall_to_json(engine.memory.search(query, scope, _limit(body, 8), backend, kinds))


def _asked(body: Body) -> Asked:
    try:
        return Asked.from_json(take(body, "asked", dict))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadRequestError(f"Field 'asked' is incomplete ({error}).", param="asked") from None


def _vocabulary(engine: Engine, body: Body) -> Any:
    return engine.memory.vocabulary(_scope(engine, body)).to_json()


def _sift(engine: Engine, body: Body) -> Any:
    backend, asked = take(body, "backend", str, ""), _asked(body)
    return engine.memory.sift(asked, _scope(engine, body), _limit(body, 8), backend).to_json()


def _backends(engine: Engine, body: Body) -> Any:
    return engine.memory.backends(take(body, "backend", str, ""))


def _compare(engine: Engine, body: Body) -> Any:
    return engine.memory.compare(take(body, "query", str), _scope(engine, body))


def _remember(engine: Engine, body: Body) -> Any:
    data = take(body, "turn", dict)
    try:
        turn = Turn.from_json(data)
    except TypeError as error:
        raise BadRequestError(f"Field 'turn' is incomplete ({error}).", param="turn") from None
    for name in ("id", "user_id", "session_id", "question", "answer", "model", "created_at"):
        take(data, name, str)
    return plain(engine.remember(turn))


_FIELDS = ("kind", "metadata", "role", "provenance", "created_at", "id", "trust")


def _add(engine: Engine, body: Body) -> Any:
    fields = {name: body[name] for name in _FIELDS if body.get(name) is not None}
    return engine.memory.add(take(body, "text", str), _scope(engine, body), **fields).to_json()


def _add_many(engine: Engine, body: Body) -> Any:
    drafts = [_draft(engine, item) for item in take(body, "items", list)]
    return {"records": [record.to_json() for record in engine.memory.add_many(drafts)]}


def _draft(engine: Engine, item: Any) -> Draft:
    if not isinstance(item, dict):
        raise BadRequestError("Each of 'items' must be an object.", param="items")
    fields = {k: item[k] for k in Draft.__dataclass_fields__ if item.get(k) is not None}
    return Draft(**{**fields, "text": take(item, "text", str), "scope": _scope(engine, item)})


def _get(engine: Engine, body: Body) -> Any:
    return engine.memory.get(take(body, "id", str), _scope_or_none(engine, body)).to_json()


def _update(engine: Engine, body: Body) -> Any:
    id, text = take(body, "id", str), take(body, "text", str)
    return engine.memory.update(id, text, _scope_or_none(engine, body)).to_json()


def _forget(engine: Engine, body: Body) -> Any:
    reason = take(body, "reason", str, "")
    engine.memory.forget(take(body, "id", str), _scope_or_none(engine, body), reason=reason)
    return {}


def _choose(engine: Engine, body: Body) -> Any:
    asked, limit = _asked(body), _limit(body, 20)
    return engine.memory.choose(asked, _scope(engine, body), limit).to_json()


def _forget_many(engine: Engine, body: Body) -> Any:
    ids, reason = _ids(body), take(body, "reason", str, "")
    return {"forgotten": engine.memory.forget_many(ids, _scope(engine, body), reason=reason)}


def _forgotten(engine: Engine, body: Body) -> Any:
    return {"forgotten": engine.memory.forgotten(_scope(engine, body), _limit(body, 20))}


def _undo(engine: Engine, body: Body) -> Any:
    records = engine.memory.undo(_ids(body), _scope(engine, body))
    return {"records": [record.to_json() for record in records]}


def _ids(body: Body) -> list[str]:
    return [str(item) for item in take(body, "ids", list, [])]


def _list(engine: Engine, body: Body) -> Any:
    listed = partial(aside.listed, engine.memory)
    found = (listed if take(body, "aside", bool, False) else engine.memory.list)(
        _scope(engine, body),
        limit=_limit(body, 20),
        offset=take(body, "offset", int, 0),
        kind=take(body, "kind", str, None),
    )
    return {"records": [record.to_json() for record in found]}


def _history(engine: Engine, body: Body) -> Any:
    id, scope = take(body, "id", str), _scope_or_none(engine, body)
    return {"history": engine.memory.history(id, scope)}


def _stats(engine: Engine, body: Body) -> Any:
    return engine.memory.stats()


def _snapshot(engine: Engine, body: Body) -> Any:
    return {"path": str(engine.memory.snapshot(_path(body, "target")))}


def _restore(engine: Engine, body: Body) -> Any:
    result = plain(engine.memory.restore(_path(body, "source")))
    engine.rebuilt()
    return {"result": result}


def _export(engine: Engine, body: Body) -> Iterator[Mapping[str, Any]]:
    # The scope is checked, and the store opened, before the answer begins.
    return iter(engine.memory.export(_scope(engine, body)))


def _import(engine: Engine, body: Body) -> Iterator[Mapping[str, Any]]:
    source, scope, memory = take(body, "source", str), _scope(engine, body), engine.memory
    return with_progress(lambda report: plain(memory.import_(source, scope, progress=report)))


def _reembed(engine: Engine, body: Body) -> Iterator[Mapping[str, Any]]:
    memory = engine.memory

    def work(report: Progress) -> Any:
        result = plain(memory.reembed(report))
        engine.rebuilt()
        return result

    return with_progress(work)


def _held(engine: Engine, body: Body) -> Any:
    return quarantine_routes.held(engine, body, _scope(engine, body), _limit(body, 50))


def _screen(engine: Engine, body: Body) -> Any:
    return quarantine_routes.screen(engine, body, _scope(engine, body))


def _held_or_not(action: str) -> Answer:
    return lambda engine, body: quarantine_routes.change(engine, body, _scope(engine, body), action)


def _replay(engine: Engine, body: Body) -> Any:
    engine.spool.hurry()
    return plain(engine.replay())


def _curation(engine: Engine, body: Body) -> Any:
    from aiki_kernel.daemon.curation_model import status_of

    return status_of(engine)


def _curate(engine: Engine, body: Body) -> Iterator[Mapping[str, Any]]:
    again = take(body, "again", bool, False)
    return with_progress(lambda report: engine.curator.finish(report, again=again))


def _path(body: Body, name: str) -> Path:
    path = Path(take(body, name, str))
    if not path.is_absolute():
        raise BadRequestError(f"Field {name!r} must be an absolute path.", param=name)
    return path


def _users_own(engine: Engine, request: Request, body: Body) -> None:
    """Refuse a persona: what concerns the whole memory is the user's own business."""
    name = take(take(body, "scope", dict, {}), "persona", str, "")
    if name:
        what = request.url.path.rpartition("/")[2]
        line = f"{name} may not {what} the memory: only the user may, without a persona."
        raise engine.memory.access.refused(name, what, line)


def _answers(answer: Answer, *, personas: bool = True) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await read_json(request, empty={})
        if not personas:
            _users_own(request.app.state.engine, request, body)
        return JSONResponse(await in_thread(answer, request.app.state.engine, body))

    return endpoint


def _streams(
    answer: Callable[[Engine, Body], Iterator[Mapping[str, Any]]], *, personas: bool = True
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await read_json(request, empty={})
        if not personas:
            _users_own(request.app.state.engine, request, body)
        return ndjson(await in_thread(answer, request.app.state.engine, body))

    return endpoint


def _from_here(
    endpoint: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        server = request.scope.get("server")
        if server is None or server[1] is not None:
            raise BadRequestError(
                "Paths are taken only from this machine's own socket.", status=403
            )
        return await endpoint(request)

    return guarded


def _post(name: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    return Route(f"/memory/{name}", endpoint, methods=["POST"])


ROUTES = [
    _post("recall", _answers(_recall)),
    _post("remember", _answers(_remember)),
    _post("search", _answers(_search)),
    _post("vocabulary", _answers(_vocabulary)),
    _post("sift", _answers(_sift)),
    _post("backends", _answers(_backends, personas=False)),
    _post("compare", _answers(_compare)),
    _post("add", _answers(_add)),
    _post("add_many", _answers(_add_many)),
    _post("get", _answers(_get)),
    _post("update", _answers(_update)),
    _post("forget", _answers(_forget)),
    _post("choose", _answers(_choose)),
    _post("forget_many", _answers(_forget_many)),
    _post("forgotten", _answers(_forgotten)),
    _post("undo", _answers(_undo)),
    _post("list", _answers(_list)),
    _post("history", _answers(_history)),
    _post("held", _answers(_held, personas=False)),
    _post("screen", _answers(_screen, personas=False)),
    _post("quarantine", _answers(_held_or_not("quarantine"), personas=False)),
    _post("release", _answers(_held_or_not("release"), personas=False)),
    _post("revert", _answers(_held_or_not("revert"), personas=False)),
    _post("replay", _answers(_replay, personas=False)),
    Route("/memory/stats", _answers(_stats, personas=False), methods=["GET"]),
    Route("/memory/curation", _answers(_curation, personas=False), methods=["GET"]),
    _post("curate", _streams(_curate, personas=False)),
    _post("export", _streams(_export)),
    _post("import", _from_here(_streams(_import))),
    _post("reembed", _streams(_reembed, personas=False)),
    _post("snapshot", _from_here(_answers(_snapshot, personas=False))),
    _post("restore", _from_here(_answers(_restore, personas=False))),
]
