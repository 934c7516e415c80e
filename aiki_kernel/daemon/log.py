"""The daemon's log: one file, bounded in size, with everything in it.

Native code writes to file descriptors 1 and 2 directly; they follow the file through its
rotations, and are counted in its size.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from pathlib import Path

from aiki_kernel.safety.secrets import redact

MAX_BYTES = 2 << 20
BACKUPS = 2
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _File(logging.handlers.RotatingFileHandler):
    """A rotating file that standard output and standard error follow."""

    def doRollover(self) -> None:  # noqa: N802 - the name is logging's
        super().doRollover()
        self.attach()

    def attach(self) -> None:
        """Point descriptors 1 and 2 at the present file."""
        if self.stream is not None:
            os.dup2(self.stream.fileno(), 1)
            os.dup2(self.stream.fileno(), 2)


class _Discreet(logging.Formatter):
    """Whatever is logged, and the stack below it, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def formatter() -> logging.Formatter:
    """How a line of the log looks."""
    return _Discreet(_FORMAT)


def to_file(path: Path) -> None:
    """Log to ``path``, at most ``MAX_BYTES`` and two older files, mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = _File(path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8")
    path.chmod(0o600)
    _install(handler)
    keep_small()
    handler.attach()


def to_stderr() -> None:
    """Log to the terminal (``aiki daemon run``); systemd keeps that itself."""
    _install(logging.StreamHandler(sys.stderr))


def keep_small() -> None:
    """Rotate when native output alone has filled the file."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _File) and handler.stream is not None:
            if os.fstat(handler.stream.fileno()).st_size < MAX_BYTES:
                continue
            handler.acquire()
            try:
                handler.doRollover()
            finally:
                handler.release()


def _install(handler: logging.Handler) -> None:
    handler.setFormatter(formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # Its start and stop lines say what ours say.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
