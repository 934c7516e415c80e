"""Errors that a user sees: one line that names the cause and the next step.

Every face prints ``str(error)`` and nothing else. ``_render_traceback_`` is IPython's
hook for that; ``kind`` goes into JSON answers and metadata so that programs need not
read prose.
"""

from __future__ import annotations


class AikiError(Exception):
    """A failure the user can act on. Its text is one line: the cause, then the next step."""

    kind = "error"

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class ConfigError(AikiError):
    """A setting is missing, malformed, or stands where it must not stand."""

    kind = "config"


class UsageError(AikiError):
    """A command was called with words it does not know."""

    kind = "usage"


class StoreError(AikiError):
    """The memory refused or could not do what was asked."""

    kind = "memory"


class DaemonError(AikiError):
    """The memory daemon could not be started or reached."""

    kind = "daemon"


class ModelError(AikiError):
    """A model or its endpoint failed; ``stage`` says where (connect, first token, stream).

    ``cause`` says whose matter it is: "key", "credit" or "model" (this endpoint will not
    serve us), "context" or "mistake" (nor would another), "" for a failure of the endpoint.
    """

    kind = "model"

    def __init__(
        self, message: str, *, stage: str = "", status: int | None = None, cause: str = ""
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.status = status
        self.cause = cause


class RefusedError(AikiError):
    """A persona asked for something that it may not do. Trying again changes nothing."""

    kind = "permission"
