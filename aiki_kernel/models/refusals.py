"""Why a call failed, as one line; and whether asking again may help.

The line names the endpoint, the cause and the next step. What a server says of itself is
quoted shortly and with keys blotted out.
"""

from __future__ import annotations

import contextlib
import email.utils
import math
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiki_kernel.errors import AikiError, ModelError
from aiki_kernel.safety.secrets import redact

if TYPE_CHECKING:
    from aiki_kernel.config import Timeouts
    from aiki_kernel.models.catalogue import ModelRef

LONGEST_WAIT_S = 60.0
_AGAIN = "or pick a local model with %aiki_model local"
_SPENT = ("insufficient_quota", "billing_hard_limit_reached")


class BrokenStreamError(Exception):
    """What a server sent within a stream is an error, not a chat at all, or (``lost``) no end."""

    def __init__(self, message: str, *, status: int | None = None, lost: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.lost = lost


class StageTimeoutError(Exception):
    """Nothing came in time; ``stage`` is "first token" or "between tokens"."""

    def __init__(self, stage: str, seconds: float) -> None:
        super().__init__(stage)
        self.stage = stage
        self.seconds = seconds


def causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and all that it was raised from, groups opened."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            pending.extend(one.exceptions)
        pending.extend([one.__cause__, one.__context__])


def status_of(error: BaseException) -> int | None:
    """The HTTP status that ``error`` stands for, if any."""
    status = getattr(error, "status_code", None) or getattr(error, "status", None)
    return status if isinstance(status, int) else None


def code_of(error: BaseException) -> str:
    """The provider's own code of an error, or ""."""
    return str(getattr(error, "code", None) or "")


def may_retry(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later: 408, 429, 5xx, a lost connection."""
    status = status_of(error)
    if status is not None:
        if code_of(error) in _SPENT:
            return False
        return status in (408, 429) or status >= 500
    if isinstance(error, BrokenStreamError):
        return error.lost
    if isinstance(error, StageTimeoutError | AikiError):
        return False
    for one in causes(error):
        if isinstance(one, AikiError | ssl.SSLError) or _is_bad_address(one):
            return False
        if isinstance(one, socket.gaierror) and one.errno != socket.EAI_AGAIN:
            return False
    return _is_transport(error)


def retry_after(headers: Mapping[str, str] | None, now: float | None = None) -> float | None:
    """Seconds that the server asks us to wait, from ``Retry-After`` (seconds or HTTP date).

    Source: RFC 9110, 10.2.3; ``retry-after-ms`` is OpenAI's own finer form.
    """
    if not headers:
        return None
    fine, value = headers.get("retry-after-ms"), headers.get("retry-after")
    for text, unit in ((fine, 0.001), (value, 1.0)):
        with contextlib.suppress(ValueError):
            if text and math.isfinite(seconds := float(text) * unit):
                return max(0.0, seconds)
    with contextlib.suppress(TypeError, ValueError):
        when = email.utils.parsedate_to_datetime(value or "").timestamp()
        return max(0.0, when - (time.time() if now is None else now))
    return None


def explain(
    error: BaseException,
    ref: ModelRef,
    timeouts: Timeouts,
    *,
    stage: str,
    attempts: int = 1,
    key: str = "",
) -> AikiError:
    """The error to raise for ``error``: one line, no key in it."""
    for one in causes(error):
        if isinstance(one, AikiError):
            return one
    status = status_of(error)
    if status is not None:
        line = _status_line(error, status, ref, attempts)
    elif isinstance(error, StageTimeoutError):
        stage = error.stage
        line = _timeout_line(error, ref)
    elif isinstance(error, BrokenStreamError) and not error.lost:
        line = f"{ref.endpoint} {_short(str(error))}: {_stream_step(stage)}."
    else:
        line = _transport_line(error, ref, timeouts, stage, attempts)
        stage = "connect" if stage == "first token" and _is_connect(error) else stage
    line = redact(line, known=[key] if key else ())
    return ModelError(line, stage=stage, status=status, cause=_cause(error, status))


def missing_key(ref: ModelRef) -> ModelError:
    """The refusal when an endpoint needs a key and none is set."""
    return ModelError(
        f"No API key for {ref.endpoint}: set {ref.key_variable}, {_AGAIN}.",
        stage="connect",
        cause="key",
    )


def too_long_a_wait(ref: ModelRef, seconds: float, status: int | None) -> ModelError:
    """The refusal when a server asks for a longer wait than anybody sits through."""
    return ModelError(
        f"{ref.endpoint} asks us to wait {seconds:.0f} s ({status}): try again later, {_AGAIN}.",
        stage="first token",
        status=status,
    )


def cut(ref: ModelRef) -> ModelError:
    """The failure of a stream that ended before its end."""
    return ModelError(
        f"{ref.endpoint} cut the answer off before its end: the part above is all that came; "
        "run the cell again.",
        stage="stream",
    )


def _cause(error: BaseException, status: int | None) -> str:
    """Whose matter a status is, as :class:`ModelError` has it."""
    if status == 402 or code_of(error) in _SPENT:
        return "credit"
    if status == 413 or code_of(error) == "context_length_exceeded":
        return "context"
    if status is None or status >= 500 or status in (408, 429):
        return ""
    return {401: "key", 403: "key", 404: "model"}.get(status, "mistake")


def _status_line(error: BaseException, status: int, ref: ModelRef, attempts: int) -> str:
    said = said_by(error)
    if ref.local and said:
        return said  # the daemon's own errors are already one line with the next step
    quoted = f": {_short(said)}" if said else ""
    where = ref.endpoint
    tries = f" after {attempts} attempts" if attempts > 1 else ""
    if status == 401:
        key = ref.key_variable or "its api_key_env"
        return f"{where} refused the key (401): set {key} to a valid key, {_AGAIN}."
    if status == 403:
        return f"{where} forbids this (403){quoted}: check what the key may use, {_AGAIN}."
    if status == 402 or code_of(error) in _SPENT:
        return f"{where} has no credit left ({status}): check its billing page, {_AGAIN}."
    if status == 404:
        return (
            f"{where} has no model {ref.model!r} at {ref.base_url} (404): "
            "see `aiki model list`, or choose another with %aiki_model."
        )
    if status == 413 or code_of(error) == "context_length_exceeded":
        return (
            f"The message is too long for {ref.name} ({status}): lower generation.context_tokens."
        )
    if status == 429:
        return f"{where} is limiting requests (429){tries}: wait a little, {_AGAIN}."
    if status >= 500:
        return f"{where} is failing ({status}){tries}{quoted}: try again later, {_AGAIN}."
    return f"{where} refused the request ({status}){quoted or ': it gave no reason'}."


def said_by(error: BaseException) -> str:
    """The server's own words, from OpenAI's error shape or FastAPI's ``detail``."""
    body: Any = getattr(error, "body", None)
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if isinstance(inner, Mapping):
            found = inner.get("message") or inner.get("detail")
            return " ".join(str(found).split()) if found else ""
        return " ".join(str(inner).split())
    if status_of(error) and isinstance(error, BrokenStreamError):
        return str(error)
    return ""


def _short(text: str, limit: int = 200) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _timeout_line(error: StageTimeoutError, ref: ModelRef) -> str:
    setting = error.stage.replace(" ", "_")
    what = "no first token" if error.stage == "first token" else "no further token"
    return (
        f"{ref.endpoint} sent {what} within {error.seconds:g} s: try again, "
        f"raise timeouts.{setting}, {_AGAIN}."
    )


def _stream_step(stage: str) -> str:
    if stage == "first token":
        return "check that its base_url is an OpenAI-compatible API"
    return "the part above is all that came; run the cell again"


def _is_transport(error: BaseException) -> bool:
    import httpx2
    import openai

    return isinstance(error, openai.APIConnectionError | httpx2.TransportError | OSError)


def _is_connect(error: BaseException) -> bool:
    import httpx2

    kinds = (
        httpx2.ConnectError
        | httpx2.ConnectTimeout
        | httpx2.PoolTimeout
        | httpx2.UnsupportedProtocol
    )
    return any(isinstance(one, kinds) for one in causes(error))


def _is_bad_address(error: BaseException) -> bool:
    import httpx2

    return isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL | UnicodeError)


def _transport_line(
    error: BaseException, ref: ModelRef, timeouts: Timeouts, stage: str, attempts: int
) -> str:
    import httpx2

    parts = urlsplit(ref.base_url)
    place = parts.netloc.rpartition("@")[2]
    tries = f" after {attempts} attempts" if attempts > 1 else ""
    if stage == "stream":
        return str(cut(ref))
    chain = list(causes(error))
    for one in chain:
        if isinstance(one, httpx2.ConnectTimeout | httpx2.PoolTimeout):
            return (
                f"{ref.endpoint} could not be reached at {place} within {timeouts.connect:g} s"
                f"{tries}: check the network, raise timeouts.connect, {_AGAIN}."
            )
        if isinstance(one, socket.gaierror):
            return (
                f"The name {parts.hostname} of {ref.endpoint} is not known (DNS){tries}: "
                f"check the network and its base_url, {_AGAIN}."
            )
        if isinstance(one, ssl.SSLError):
            reason = getattr(one, "verify_message", "") or one.reason or "handshake failed"
            return (
                f"{ref.endpoint} at {place} has no trusted certificate (TLS: {_short(reason)}): "
                f"check its base_url and this machine's clock and certificates, {_AGAIN}."
            )
    if any(_is_bad_address(one) for one in chain):
        return f"The base_url {ref.base_url!r} of {ref.endpoint} is not an http(s) address."
    if any(isinstance(one, ConnectionRefusedError) for one in chain):
        return f"Nothing listens at {place} for {ref.endpoint}{tries}: start it, {_AGAIN}."
    if _is_connect(error):
        return (
            f"{ref.endpoint} could not be reached at {place}{tries}: "
            f"check the network and its base_url, {_AGAIN}."
        )
    return (
        f"{ref.endpoint} at {place} closed the connection without an answer{tries}: "
        f"try again later, {_AGAIN}."
    )
