"""The daemon process itself: lock, socket, log, uvicorn, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aiki_kernel.config import Paths, Settings, api_key
from aiki_kernel.daemon import lifecycle, log
from aiki_kernel.daemon.lock import Lock, holder
from aiki_kernel.errors import AikiError, ConfigError, DaemonError
from aiki_kernel.version import __version__

if TYPE_CHECKING:
    import uvicorn

    from aiki_kernel.daemon.engine import Engine

logger = logging.getLogger("aiki.daemon")

_NICE = 5
_KEEP_ALIVE_S = 600
"""Longer than a client keeps an idle connection, so that the client is the one to close it."""


def serve(settings: Settings, paths: Paths, *, lock: Lock | None = None) -> None:
    """Serve until told to stop. ``lock`` is the one that a starting client handed over.

    Raises :class:`DaemonError` when a daemon runs already, :class:`ConfigError` for a
    door that cannot be opened.
    """
    lock = lock or _patiently(paths)
    if lock is None:
        raise DaemonError(
            f"A memory daemon runs already (process {holder(paths.lock).get('pid')}): "
            "stop it with `aiki daemon stop`."
        )
    lock.sign(version=__version__, home=str(paths.home))
    try:
        door = _unix_socket(paths)
        made = _inode(paths.socket)
        try:
            token, tcp = _tcp(settings)
            _run(settings, paths, [door, *tcp], token)
        finally:
            door.close()
            if _inode(paths.socket) == made:
                paths.socket.unlink()
    finally:
        lock.close()


def _patiently(paths: Paths) -> Lock | None:
    """The lock; a client that only looks whether it is free holds it for a moment."""
    for _ in range(10):
        lock = Lock.take(paths.lock)
        if lock is not None:
            return lock
        time.sleep(0.05)
    return None


def main(words: list[str]) -> int:
    """``python -m aiki_kernel.daemon [--lock HANDLE]``: what a client starts."""
    from aiki_kernel.config import load

    paths = Paths.default()
    lock = None
    if words[:1] == ["--lock"]:
        handle = int(words[1])
        os.set_inheritable(handle, False)
        lock = Lock(paths.lock, handle)
        log.to_file(lifecycle.log_file(paths))
    else:
        log.to_stderr()
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    status = 0
    try:
        serve(load(), paths, lock=lock)
    except AikiError as error:
        logger.error("%s", error)
        status = 1
    except Exception:
        logger.exception("the daemon broke")
        status = 1
    logging.shutdown()
    return status


def _run(settings: Settings, paths: Paths, sockets: list[socket.socket], token: str) -> None:
    # Imported only now: clients can already connect, and wait in the socket's backlog.
    import uvicorn

    from aiki_kernel.daemon.app import create_app
    from aiki_kernel.daemon.engine import Engine

    engine = Engine(settings, paths)

    def stop(drain_s: float) -> None:
        engine.refuse()
        server.config.timeout_graceful_shutdown = max(1, round(drain_s))
        server.should_exit = True

    app = create_app(engine, stop=stop, token=token)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=round(lifecycle.DRAIN_S),
        )
    )
    # uvicorn raises a caught SIGTERM again after its shutdown, which would end the
    # process before the store is closed.
    server.capture_signals = _no_signals  # type: ignore[method-assign]

    async def work() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, stop, lifecycle.DRAIN_S)
        loop.call_later(0.05, engine.start)
        engine.on_tick.append(log.keep_small)
        if settings.server.idle_exit_s:
            engine.on_tick.append(lambda: _leave_when_idle(engine, server, loop))
        logger.info("aiki-memory-daemon %s serves %s", __version__, paths.home)
        await server.serve(sockets=sockets)

    try:
        asyncio.run(work())
    finally:
        engine.close()
        logger.info("aiki-memory-daemon stopped")


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    yield


def _leave_when_idle(
    engine: Engine, server: uvicorn.Server, loop: asyncio.AbstractEventLoop
) -> None:
    idle = time.monotonic() - engine.last_request
    busy = engine.active or engine.queue.busy
    if not busy and idle > engine.settings.server.idle_exit_s:
        logger.info("idle for %.0f s", idle)

        def leave() -> None:
            server.should_exit = True

        loop.call_soon_threadsafe(leave)


def _unix_socket(paths: Paths) -> socket.socket:
    """The bound, listening socket (0600). We hold the lock, so a file there is stale."""
    path = paths.socket
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        door.bind(str(path))
    except OSError as error:
        door.close()
        raise ConfigError(
            f"The socket {path} cannot be made ({error.strerror}): set XDG_RUNTIME_DIR to a "
            "short folder of yours."
        ) from None
    finally:
        os.umask(before)
    door.listen(128)
    door.setblocking(False)
    return door


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        there = path.stat()
    except OSError:
        return None
    return there.st_ino, there.st_dev


def _tcp(settings: Settings) -> tuple[str, list[socket.socket]]:
    """The token and the TCP sockets; none unless a port is set."""
    server = settings.server
    if not server.tcp_port:
        return "", []
    key = api_key(server.token_env)
    token = key.get_secret_value() if key else ""
    if len(token) < 16:
        raise ConfigError(
            f"TCP port {server.tcp_port} needs a token of at least 16 characters: "
            f"set {server.token_env}."
        )
    try:
        family = socket.getaddrinfo(server.tcp_host, server.tcp_port, type=socket.SOCK_STREAM)
        door = socket.create_server(
            (server.tcp_host, server.tcp_port), family=family[0][0], backlog=128
        )
    except OSError as error:
        cause = "in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise ConfigError(
            f"TCP {server.tcp_host}:{server.tcp_port} cannot be opened ({cause}): "
            "choose another AIKI_SERVER__TCP_PORT."
        ) from None
    door.setblocking(False)
    return token, [door]
