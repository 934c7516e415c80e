"""What a model's name means: ``local``, ``local/NAME`` or ``ENDPOINT/MODEL``.

The part of a name before its first slash is an endpoint; all the rest is the model as
that endpoint calls it, slashes included (``openrouter/meta-llama/llama-3.3-70b``).
"""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiki_kernel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiki_kernel.config import Settings

LOCAL = "local"
AUTO = "auto"  # what a conversation's model is called while the router chooses it
LOCAL_BASE_URL = "http://aiki.local/v1"


@dataclass(frozen=True)
class ModelRef:
    """A resolved name. Prices are USD per million tokens, when ``aiki.toml`` gives them:
    for the model itself, else for its endpoint.

    ``model`` is what is sent to the endpoint; for the bare name ``local`` it is
    ``"local"``, and the daemon chooses. ``provider`` is the id under which public price
    lists know the endpoint, or "".
    """

    name: str
    endpoint: str
    model: str
    base_url: str
    local: bool = False
    key_variable: str = ""
    provider: str = ""
    input_price: float | None = None
    output_price: float | None = None
    cache_read_price: float | None = None
    cache_write_price: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)


def resolve(settings: Settings, name: str) -> ModelRef:
    """The model called ``name``. Raises :class:`ModelError` that suggests the nearest names."""
    name = name.strip()
    endpoint, _, model = name.partition("/")
    if name == AUTO:
        raise ModelError(
            "auto names no model but the router's choice: `%aiki_model auto` hands over to it."
        )
    if endpoint == LOCAL:
        if LOCAL in settings.endpoints:
            raise ModelError(
                "The endpoint name 'local' is taken by the models of this machine: "
                "give [endpoints.local] in aiki.toml another name."
            )
        return ModelRef(name, LOCAL, model or LOCAL, LOCAL_BASE_URL, local=True, provider=LOCAL)
    if endpoint not in settings.endpoint_names():
        raise ModelError(_unknown(settings, name))
    found = settings.endpoint(endpoint)
    if not model and found.models:
        model = found.models[0]
    if not model:
        raise ModelError(
            f"{endpoint} has many models: name one as {endpoint}/MODEL"
            f"{_suggestion(_some(settings, endpoint))}."
        )
    name = f"{endpoint}/{model}"
    card = settings.models.cards.get(name)
    priced = card if card is not None and card.priced else None
    return ModelRef(
        name=name,
        endpoint=endpoint,
        model=model,
        base_url=found.base_url,
        key_variable=found.api_key_env,
        provider=found.provider,
        input_price=priced.input_price if priced else found.input_price,
        output_price=priced.output_price if priced else found.output_price,
        cache_read_price=priced.cache_read_price if priced else None,
        cache_write_price=priced.cache_write_price if priced else None,
        headers=found.headers,
    )


def names(settings: Settings, *, public: bool = True) -> list[str]:
    """Names that :func:`resolve` takes, for completion and suggestions.

    With ``public`` also the models that the offline price list knows for each endpoint;
    the first such call reads that list (about a second), so call it off the event loop.
    """
    out = {LOCAL, *(f"{LOCAL}/{name}" for name in _local_names())}
    for endpoint in settings.endpoint_names():
        found = settings.endpoint(endpoint)
        out.update(f"{endpoint}/{model}" for model in found.models)
        out.update(n for n in settings.models.cards if n.startswith(f"{endpoint}/"))
        if public and found.provider:
            out.update(f"{endpoint}/{model}" for model in _public_names(found.provider))
    routing = settings.routing
    for chain in (routing.smart, routing.standard, routing.cheap, routing.local):
        out.update(chain or ())
    return sorted(out)


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Up to ``count`` names of ``known`` that ``name`` may have meant, best first."""
    wanted = name.lower()
    by_lower = {entry.lower(): entry for entry in known}
    close = difflib.get_close_matches(wanted, by_lower, n=count, cutoff=0.6)
    tail = [entry for entry in by_lower if entry.partition("/")[2] == wanted and entry not in close]
    return [by_lower[entry] for entry in [*tail, *close]][:count]


def _unknown(settings: Settings, name: str) -> str:
    endpoint, slash, model = name.partition("/")
    if slash:
        endpoints = [LOCAL, *settings.endpoint_names()]
        guess = [f"{one}/{model}" for one in nearest(endpoint, endpoints, 1)]
        return (
            f"No endpoint called {endpoint!r}{_suggestion(guess)}; known are "
            f"{', '.join(endpoints)}: add [endpoints.{endpoint}] with a base_url to aiki.toml."
        )
    guess = nearest(name, names(settings))
    return (
        f"No model called {name!r}{_suggestion(guess)}: "
        "names are local, local/NAME or ENDPOINT/MODEL."
    )


def _suggestion(guesses: list[str]) -> str:
    return f" (did you mean {' or '.join(guesses)}?)" if guesses else ""


def _some(settings: Settings, endpoint: str) -> list[str]:
    """Two names of an endpoint that are well known, to show what a name looks like."""
    provider = settings.endpoint(endpoint).provider
    public = _public_names(provider) if provider else ()
    shown = [model for model in public if model in ("gpt-4o-mini", "openai/gpt-4o-mini")]
    return [f"{endpoint}/{model}" for model in (shown or list(public))[:2]]


def _local_names() -> list[str]:
    from aiki_kernel.models.weights import KNOWN

    return list(KNOWN)


@functools.cache
def _public_names(provider: str) -> tuple[str, ...]:
    from aiki_kernel.models.prices import model_names

    return model_names(provider)
