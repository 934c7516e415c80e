"""Adding to the catalogue: a file of one's own, or a server that speaks OpenAI's interface.

A file stays where it is. The models folder gets a link to it, so that everything that knows local
models knows this one, under its own name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiki_kernel.errors import ModelError
from aiki_kernel.models.weights import KNOWN, installed

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATIENCE_S = 5.0
_MANY = 50
_LARGEST = 4 << 20  # bytes of a list of models


@dataclass(frozen=True)
class Server:
    """An endpoint that answered: its ``base_url`` ends where ``/chat/completions`` begins."""

    name: str
    base_url: str
    models: tuple[str, ...]


def link_file(path: Path, models_dir: Path, name: str = "") -> str:
    """Make the GGUF at ``path`` the local model ``name``; returns the name.

    Once is as good as twice. Raises :class:`ModelError` for a name that is taken or unusable; the
    caller has looked into the file before.
    """
    path = path.expanduser().absolute()
    name = _checked(name or path.stem)
    known = next(
        (k for k, weights in KNOWN.items() if name in (k, Path(weights.file_name).stem)), ""
    )
    if known:
        raise ModelError(
            f"{name} is the name of a model that can be pulled: give this one another --name."
        )
    here = installed(models_dir)
    if name in here:
        if here[name].resolve() == path.resolve():
            return name
        raise ModelError(
            f"There is a local model {name} already ({here[name].resolve()}): "
            "give this one another --name."
        )
    link = models_dir / f"{name}.gguf"
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():  # its file has gone
            link.unlink()
        link.symlink_to(path)
    except OSError as error:
        raise ModelError(
            f"{link} cannot be made ({error.strerror}): check the folder's permissions."
        ) from None
    return name


def ask_server(url: str, name: str = "", key: str = "") -> Server:
    """Who answers at ``url``, with or without its ``/v1``.

    Raises :class:`ModelError` when nobody does, or not in OpenAI's way.
    """
    import httpx2

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ModelError(f"{url} is no address of a server: write http://HOST:PORT.")
    if parts.username or parts.password:
        raise ModelError(
            "An address with a password in it would stand readable in aiki.toml: leave it out and "
            "name the variable that holds the key with --key-variable."
        )
    name = _checked(name or re.sub(r"[^A-Za-z0-9]+", "-", parts.netloc).strip("-"))
    if name == "local":
        raise ModelError("The name 'local' means models of this machine: give another --name.")
    base = url.rstrip("/")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    cause = "no answer"
    with httpx2.Client(timeout=_PATIENCE_S, headers=headers) as client:
        for candidate in dict.fromkeys((base if parts.path.strip("/") else f"{base}/v1", base)):
            try:
                with client.stream("GET", f"{candidate}/models") as answer:
                    if answer.status_code == 200:
                        return Server(name, candidate, _ids(_body(answer)))
                    cause = f"status {answer.status_code}"
            except (httpx2.HTTPError, ValueError) as error:
                cause = str(error) or type(error).__name__
    raise ModelError(
        f"No OpenAI-compatible server answers at {base} ({cause}): start it, or check the address."
    )


def _body(answer: Any) -> Any:
    """The JSON of an answer, which may not go on for ever."""
    data = b""
    for piece in answer.iter_bytes():
        data += piece
        if len(data) > _LARGEST:
            raise ValueError("its list of models has no end")
    return json.loads(data)


def _ids(body: Any) -> tuple[str, ...]:
    """Names of the models that a server lists; a list of another form is none of OpenAI's."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise ValueError("its list of models has another form")
    ids = (entry.get("id") for entry in data if isinstance(entry, dict))
    return tuple(found for found in ids if isinstance(found, str) and len(found) < 300)[:_MANY]


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"{name[:80]!r} cannot be a model's name (letters, digits, '.', '_', '-'): give --name."
        )
    return name
