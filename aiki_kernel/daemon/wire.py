"""What crosses the door: JSON bytes, OpenAI's error object, and the way back from it."""

from __future__ import annotations

import json
from typing import Any

from aiki_kernel.errors import (
    AikiError,
    ConfigError,
    DaemonError,
    ModelError,
    RefusedError,
    StoreError,
    UsageError,
)

STOPPING = "x-aiki-stopping"
"""Header of a refusal by a daemon that goes down: nothing was done, ask its successor."""

STATUS = {"config": 400, "usage": 400, "memory": 409, "permission": 403, "daemon": 503}
"""HTTP status by the kind of an error."""

_KINDS: dict[str, type[AikiError]] = {
    kind.kind: kind
    for kind in (ConfigError, UsageError, StoreError, RefusedError, DaemonError, AikiError)
}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


def encode(data: Any) -> bytes:
    """JSON in UTF-8. Halves of surrogate pairs are joined, lone ones become U+FFFD: text
    that came from elsewhere may hold them, and neither UTF-8 nor the store can."""
    text = json.dumps(data, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def error_body(
    status: int,
    message: str,
    *,
    code: str | None = None,
    kind: str = "usage",
    param: str | None = None,
) -> dict[str, Any]:
    """OpenAI's error object, with ``kind`` of our own."""
    return {
        "error": {
            "message": message,
            "type": _TYPES.get(status, "server_error" if status >= 500 else "api_error"),
            "param": param,
            "code": code,
            "kind": kind,
        }
    }


def error_from(status: int, body: Any) -> AikiError:
    """The exception that an error answer stands for, with its one line."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return DaemonError(f"The memory daemon answered {status} without a reason: see its log.")
    kind = str(error.get("kind", ""))
    if kind == "model":
        return ModelError(error["message"], status=status)
    return _KINDS.get(kind, DaemonError)(error["message"])
