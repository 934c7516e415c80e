"""How requests are read and answers are written: JSON in, JSON or NDJSON out, errors as
one line in OpenAI's shape; and the way back from such a body to our own exception."""

from __future__ import annotations

import functools
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from aiki_kernel.daemon.wire import STATUS, error_body
from aiki_kernel.errors import AikiError, ModelError, UsageError

logger = logging.getLogger("aiki.daemon")

MAX_BODY = 16 << 20
"""Largest request body, bytes."""

_CODES = {404: "model_not_found", 429: "queue_full", 503: "stopping"}

P = ParamSpec("P")
T = TypeVar("T")


class BadRequestError(UsageError):
    """The body is not what this address takes."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a worker thread; it is never abandoned half-way."""
    return await anyio.to_thread.run_sync(functools.partial(call, *args, **kwargs))


async def read_json(request: Request, *, empty: Any = None) -> dict[str, Any]:
    """The body as a JSON object. Raises :class:`BadRequestError`; ``empty`` stands for no body."""
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > MAX_BODY:
                raise BadRequestError(
                    f"The body is larger than {MAX_BODY >> 20} MiB: send less at once.", status=413
                )
            pieces.append(piece)
    except ClientDisconnect:
        raise BadRequestError("The request was cut off before its end.") from None
    if not size and empty is not None:
        return dict(empty)
    try:
        data = json.loads(b"".join(pieces))
    except (ValueError, RecursionError) as error:
        cause = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise BadRequestError(f"The body is not valid JSON ({cause}).") from None
    if not isinstance(data, dict):
        raise BadRequestError("The body must be a JSON object.")
    return data


def take(
    data: Mapping[str, Any], name: str, kind: type[T] | tuple[type[T], ...], default: Any = ...
) -> T:
    """Field ``name`` of a body, checked. Without ``default`` it must be there."""
    value = data.get(name)
    if value is None:
        if default is ...:
            raise BadRequestError(f"Field {name!r} is missing.", param=name)
        return default  # type: ignore[no-any-return]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, bool) and bool not in kinds:
        raise BadRequestError(f"Field {name!r} must not be true or false.", param=name)
    if not isinstance(value, kinds):
        named = kinds[-1:] if float in kinds else kinds
        names = " or ".join(_NAMES.get(k, k.__name__) for k in named)
        raise BadRequestError(f"Field {name!r} must be {names}.", param=name)
    return value


_NAMES: dict[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
    bool: "true or false",
}


def error_response(
    status: int,
    message: str,
    *,
    code: str | None = None,
    kind: str = "usage",
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A JSON answer with :func:`error_body`."""
    body = error_body(status, message, code=code, kind=kind, param=param)
    return JSONResponse(body, status, dict(headers) if headers else None)


def refusal(error: AikiError) -> Response:
    """The answer for one of our own errors."""
    status, code, headers = STATUS.get(error.kind, 500), None, {}
    if isinstance(error, BadRequestError):
        status = error.status
    elif isinstance(error, ModelError):
        status = error.status or 500
        code = getattr(error, "code", None) or _CODES.get(status)
        retry_after = getattr(error, "retry_after", None)
        if retry_after is not None:
            headers["retry-after"] = str(retry_after)
    elif getattr(error, "missing", False):
        status, code = 404, "memory_not_found"
    return error_response(
        status,
        str(error),
        code=code,
        kind=error.kind,
        param=getattr(error, "param", None),
        headers=headers,
    )


def ndjson(items: Iterator[Mapping[str, Any]]) -> Response:
    """Stream a blocking iterator as one JSON object a line.

    An error after the first line becomes a last line ``{"error": {...}}``. The iterator
    runs in a worker thread and is closed when the client goes.
    """

    async def lines() -> AsyncIterator[bytes]:
        end = object()
        try:
            while True:
                try:
                    item: Any = await in_thread(next, items, end)
                except AikiError as error:
                    yield _line(
                        error_body(STATUS.get(error.kind, 500), str(error), kind=error.kind)
                    )
                    return
                except Exception as error:
                    logger.exception("stream failed")
                    text = f"The memory daemon failed ({type(error).__name__}: {error})."
                    yield _line(error_body(500, text.splitlines()[0], kind="daemon"))
                    return
                if item is end:
                    return
                yield _line(item)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                with anyio.CancelScope(shield=True):
                    await in_thread(close)

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def with_progress(work: Callable[[Callable[..., None]], Mapping[str, Any]]) -> Iterator[Any]:
    """Run ``work(progress)`` in a thread of its own and yield its progress, then its result.

    Lines are ``{"progress": [done, total]}``, at most ten a second and always the last,
    then ``{"result": ...}``. The work runs to its end even when nobody listens any more:
    a half import is worse than a whole one.
    """
    changed = threading.Condition()
    latest: list[Any] = []
    outcome: list[Any] = []

    def progress(done: int, total: int = 0, *_: Any) -> None:
        with changed:
            latest[:] = [done, total]
            changed.notify()

    def run() -> None:
        try:
            result: Any = ("result", work(progress))
        except BaseException as error:
            result = ("error", error)
        with changed:
            outcome.append(result)
            changed.notify()

    threading.Thread(target=run, name="aiki-long-work", daemon=True).start()
    while True:
        with changed:
            while not latest and not outcome:
                changed.wait()
            point, latest[:] = list(latest), []
            done = outcome[0] if outcome else None
        if point:
            yield {"progress": point}
        if done is not None:
            kind, value = done
            if kind == "error":
                raise value
            yield {"result": value}
            return
        threading.Event().wait(0.1)


def _line(item: Mapping[str, Any]) -> bytes:
    return json.dumps(item, ensure_ascii=False, default=str).encode() + b"\n"
