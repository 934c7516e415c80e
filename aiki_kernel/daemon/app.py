"""The daemon's door: a Starlette application over one :class:`Engine`.

``/health``, ``/memory/*``, ``/v1/*`` (the OpenAI interface), ``/shutdown``. Errors have
OpenAI's shape everywhere: ``{"error": {"message", "type", "code", "kind"}}`` with one
line for the user. The Unix socket needs no key, because its folder belongs to one user;
a request over TCP needs ``Authorization: Bearer TOKEN``.
"""

from __future__ import annotations

import hmac
import logging
import os
import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from aiki_kernel.daemon import browse_routes, memory_routes, openai_routes, wave_routes
from aiki_kernel.daemon.engine import Engine
from aiki_kernel.daemon.exchange import error_response, in_thread, read_json, refusal
from aiki_kernel.daemon.wire import STOPPING
from aiki_kernel.errors import AikiError

logger = logging.getLogger("aiki.daemon")

Stop = Callable[[float], None]


def create_app(engine: Engine, *, stop: Stop | None = None, token: str = "") -> Starlette:
    """The application. ``stop(drain_s)`` ends the process; ``token`` opens TCP.

    Without ``stop`` (in-process) ``/shutdown`` is refused.
    """
    app = Starlette(
        routes=[
            Route("/health", _health, methods=["GET"]),
            Route("/shutdown", _shutdown, methods=["POST"]),
            *memory_routes.ROUTES,
            *wave_routes.ROUTES,
            *browse_routes.ROUTES,
            *openai_routes.ROUTES,
        ],
        exception_handlers={
            AikiError: _refused,
            HTTPException: _http_error,
            Exception: _broken,
        },
    )
    app.state.engine = engine
    app.state.stop = stop
    app.add_middleware(Guard, engine=engine, token=token)
    return app


class Guard:
    """Who may come in: anyone on the Unix socket, bearers of the token over TCP; and when:
    while the daemon stops, only ``/health`` and ``/shutdown`` are answered."""

    def __init__(self, app: ASGIApp, engine: Engine, token: str) -> None:
        self.app = app
        self.engine = engine
        self.token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        engine = self.engine
        engine.active += 1
        try:
            await self.app(scope, receive, send)
        finally:
            engine.active -= 1
            if scope["path"] != "/health":
                engine.last_request = time.monotonic()

    def _refusal(self, scope: Scope) -> Response | None:
        if not is_local(scope) and not self._bears_token(scope):
            return error_response(
                401,
                "This port needs a token: send Authorization: Bearer with the daemon's token.",
                code="invalid_api_key",
                kind="daemon",
            )
        if self.engine.closing and scope["path"] not in ("/health", "/shutdown"):
            return error_response(
                503,
                "The memory daemon is stopping: send the message again.",
                code="stopping",
                kind="daemon",
                headers={"connection": "close", STOPPING: "1"},
            )
        return None

    def _bears_token(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"authorization":
                scheme, _, given = value.partition(b" ")
                return (
                    bool(self.token)
                    and scheme.lower() == b"bearer"
                    and hmac.compare_digest(given.strip(), self.token)
                )
        return False


def is_local(scope: Scope) -> bool:
    """Whether the request came over the Unix socket or in-process: such a server has no port."""
    server = scope.get("server")
    return server is not None and server[1] is None


async def _health(request: Request) -> Response:
    engine: Engine = request.app.state.engine
    if "brief" in request.query_params:
        return JSONResponse(engine.identity())
    return JSONResponse(await in_thread(engine.health))


async def _shutdown(request: Request) -> Response:
    stop: Stop | None = request.app.state.stop
    if stop is None:
        return error_response(
            409, "This engine runs inside its caller: close it there.", code="in_process"
        )
    body = await read_json(request, empty={})
    drain_s = body.get("drain_s", 10.0)
    if not isinstance(drain_s, int | float) or not 0 <= drain_s <= 600:
        return error_response(400, "drain_s must be a number of seconds from 0 to 600.")
    engine: Engine = request.app.state.engine
    engine.refuse()
    stop(float(drain_s))
    return JSONResponse({"status": "stopping", "pid": os.getpid()})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, AikiError)
    return refusal(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    what = {404: "There is no such address here", 405: "This address takes another method"}
    message = f"{what.get(status, error.detail)}: {request.method} {request.url.path}."
    return error_response(status, message, code="not_found" if status == 404 else None)


async def _broken(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return error_response(
        500,
        f"The memory daemon failed ({type(error).__name__}: {text}): see its log.",
        kind="daemon",
    )
