"""What is known of each model: tier, window, prices, capabilities, and where that is from.

Cards come from the offline price list (OpenAI and OpenRouter), from the models on this
machine, and from ``[models.cards."ENDPOINT/MODEL"]`` in ``aiki.toml``, which wins. What
nobody knows is None: an unknown price is not zero, an unknown capability is not a no.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from aiki_kernel.errors import ConfigError, ModelError
from aiki_kernel.models import prices
from aiki_kernel.models.catalogue import LOCAL, ModelRef, names, resolve
from aiki_kernel.models.prices import PriceCard

if TYPE_CHECKING:
    from aiki_kernel.config import Card, Settings

Tier = Literal["smart", "standard", "cheap", "local"]
TIERS: tuple[Tier, ...] = get_args(Tier)

# A tier by price: USD for a million tokens of answer, up to which a model counts as such.
_CHEAP_UP_TO = 2.5
_STANDARD_BELOW = 10.0

# Current models that stand for a tier while ``[routing]`` says nothing. The families name
# their own tiers; all are in the price list (a test looks).
_BUILT_IN: Mapping[Tier, tuple[str, ...]] = {
    "smart": (
        "openai/gpt-6.1-sol",
        "openrouter/openai/gpt-6.1-sol",
        "openrouter/anthropic/claude-opus-5.5",
    ),
    "standard": (
        "openai/gpt-6.1-terra",
        "openrouter/openai/gpt-6.1-terra",
        "openrouter/google/gemini-3.8-flash",
    ),
    "cheap": (
        "openai/gpt-6-luna",
        "openrouter/openai/gpt-6-luna",
        "openrouter/deepseek/deepseek-v4.1-flash",
    ),
}

_NO_CHAT = re.compile(
    r"embed|whisper|tts|transcribe|moderation|realtime|image|audio|live|davinci|babbage|"
    r"\b(ada|curie)\b|translate|rerank|turbo-instruct|:batch$",
)
# OpenAI's families, the first that fits: (JSON schema, seed, logprobs, vision). From OpenAI's
# model pages; reasoning models give no logprobs.
_FAMILIES: tuple[tuple[str, tuple[bool | None, bool | None, bool | None, bool | None]], ...] = (
    (r"gpt-4o|gpt-4\.1|gpt-4\.5", (True, True, True, True)),
    (r"gpt-4-turbo|gpt-4-vision", (False, True, True, True)),
    (r"gpt-4|gpt-3\.5", (False, True, True, False)),
    (r"o1-mini|o1-preview", (False, None, False, False)),
    (r"o3-mini", (True, None, False, False)),
    (r"o[134]|gpt-5|gpt-6", (True, None, False, True)),
)
# Of other vendors, as OpenRouter names them, those whose own model pages say that they take images
# (True) or text alone (False); whoever stands in neither is unknown.
_SEES: tuple[tuple[str, bool], ...] = (
    (r"anthropic/claude-(?:3|opus|sonnet|haiku|\d)", True),
    (r"google/(?:gemini|gemma-3)", True),
    (r"meta-llama/llama-(?:4|3\.2-(?:11|90)b-vision)", True),
    (r"qwen/.*-vl|mistralai/pixtral|x-ai/grok-(?:4|.*vision)", True),
    (r"deepseek/deepseek-(?:v|r|chat)|meta-llama/llama-(?:2|3)|mistralai/mixtral", False),
)


@dataclass(frozen=True)
class ModelCard:
    """One model. ``window`` counts tokens of prompt and answer together; None is unknown.

    ``installed`` is None for a remote model; ``key_variable`` is "" where no key is needed.
    """

    name: str
    endpoint: str
    model: str
    tier: Tier | None
    window: int | None
    price: PriceCard
    streaming: bool | None = None
    json_schema: bool | None = None
    seed: bool | None = None
    logprobs: bool | None = None
    vision: bool | None = None
    local: bool = False
    key_variable: str = ""

    @property
    def source(self) -> str:
        """Where the price is from, with the date of a list."""
        date = f" (prices of {self.price.snapshot} or later)" if self.price.snapshot else ""
        return f"{self.price.source}{date}"

    def cost_usd(
        self,
        input_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
    ) -> float | None:
        """USD for one call, None where a price that it needs is unknown; a local model 0.0.

        ``input_tokens`` includes those read from the provider's cache and written to it.
        """
        return self.price.cost_usd(input_tokens, output_tokens, cached_tokens, cache_write_tokens)

    @property
    def usual_usd(self) -> float | None:
        """USD for a usual message (1,000 tokens in, 300 out), to compare models by."""
        return self.cost_usd(1000, 300)

    def to_json(self) -> dict[str, Any]:
        """Plain data; prices in USD per million tokens, None is unknown."""
        price = self.price
        return {
            "name": self.name,
            "endpoint": self.endpoint,
            "tier": self.tier,
            "window": self.window,
            "local": self.local,
            "input_usd_per_million": price.input,
            "output_usd_per_million": price.output,
            "cache_read_usd_per_million": price.cached,
            "cache_write_usd_per_million": price.cache_write,
            "long_prompts_from": price.steps[0].above if price.steps else None,
            "price_source": price.source,
            "price_date": price.snapshot or None,
            "capabilities": {
                "streaming": self.streaming,
                "json_schema": self.json_schema,
                "seed": self.seed,
                "logprobs": self.logprobs,
                "vision": self.vision,
            },
        }


def card(settings: Settings, name: str) -> ModelCard:
    """The card of the model called ``name`` (any name that resolves).

    Raises :class:`ModelError` for a name that does not. The first call for a public model
    reads the price list (about a second): call it off the event loop.
    """
    return _card(_Key(settings), name.strip())


def cards(settings: Settings) -> Mapping[str, ModelCard]:
    """Every model that is known: the price lists of the endpoints, this machine's, yours."""
    return _cards(_Key(settings))


def by_tier(settings: Settings) -> dict[Tier, list[ModelCard]]:
    """The models of each tier that can be used now: key present, local weights here.

    In the order of ``[routing]`` where it names them; else your own models and the
    built-in ones, cheapest first, unknown prices last.
    """
    key = _Key(settings)
    return {tier: _ordered(key, tier, _usable_names(settings, tier)) for tier in TIERS}


def chain(settings: Settings, tier: Tier) -> list[ModelCard]:
    """The models of a tier in order, whether they can be used now or not."""
    return _ordered(_Key(settings), tier, _tier_names(settings, tier))


def usable(one: ModelCard | ModelRef) -> bool:
    """Whether ``one`` can be called now: its weights are here, or its key is set."""
    if one.local:
        here = _installed()
        return bool(here) if one.model == LOCAL else one.model in here
    if not one.key_variable:
        return True
    from aiki_kernel.config import api_key

    try:
        return api_key(one.key_variable) is not None
    except ConfigError:
        return False  # keys.toml open to others: the call itself says so


def tier_of(price: PriceCard, model: str = "") -> Tier | None:
    """The tier that a price means, for a model that chats; None when it is unknown."""
    if price.input is None or price.output is None or _NO_CHAT.search(model):
        return None
    if price.output <= _CHEAP_UP_TO:
        return "cheap"
    return "standard" if price.output < _STANDARD_BELOW else "smart"


class _Key:
    """Settings as a key of a cache: equal when they say the same of models."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        today = datetime.now(UTC).date()  # prices have dates
        self._said = repr((settings.endpoints, settings.models, settings.routing, today))

    def __hash__(self) -> int:
        return hash(self._said)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._said == other._said


def _card(key: _Key, name: str) -> ModelCard:
    if name.partition("/")[0] == LOCAL:
        return _local_card(key.settings, resolve(key.settings, name))
    return _remote_card(key, name)


@functools.lru_cache(maxsize=512)
def _remote_card(key: _Key, name: str) -> ModelCard:
    ref = resolve(key.settings, name)
    return _made(key.settings, ref, prices.price_card(ref), prices.context_window(ref))


@functools.lru_cache(maxsize=4)
def _cards(key: _Key) -> Mapping[str, ModelCard]:
    settings, out = key.settings, dict[str, ModelCard]()
    for endpoint in settings.endpoint_names():
        provider = settings.endpoint(endpoint).provider
        for model, (price, window) in (prices.listed(provider) if provider else {}).items():
            ref = resolve(settings, f"{endpoint}/{model}")
            own = ref.input_price is not None or ref.output_price is not None
            out[ref.name] = _made(settings, ref, prices.price_card(ref) if own else price, window)
    for name in [*names(settings, public=False), *(f"{LOCAL}/{n}" for n in _installed())]:
        out.setdefault(name, _card(key, name))
    return dict(sorted(out.items()))


def _tier_names(settings: Settings, tier: Tier) -> list[str]:
    """Names that may belong to a tier: those of ``[routing]``, else yours and the built-in."""
    chosen: Iterable[str] | None = getattr(settings.routing, tier)
    if chosen is not None:
        return list(dict.fromkeys(chosen))
    if tier == LOCAL:
        return _local_names()
    own = [name for name, one in settings.models.cards.items() if one.tier == tier]
    for endpoint in settings.endpoint_names():
        own += [f"{endpoint}/{model}" for model in settings.endpoint(endpoint).models]
    return list(dict.fromkeys([*own, *_BUILT_IN[tier]]))


def _usable_names(settings: Settings, tier: Tier) -> list[str]:
    # Before any card is made: without a key there is no reason to read a price list.
    return [name for name in _tier_names(settings, tier) if usable(resolve(settings, name))]


def _ordered(key: _Key, tier: Tier, found: list[str]) -> list[ModelCard]:
    """Cards in the order of ``[routing]``; else those that are of this tier, cheapest first."""
    known = [_card(key, name) for name in found]
    if tier == LOCAL or getattr(key.settings.routing, tier) is not None:
        return known
    return sorted((one for one in known if one.tier == tier), key=_by_price)


def _by_price(one: ModelCard) -> float:
    return float("inf") if one.usual_usd is None else one.usual_usd


def _made(settings: Settings, ref: ModelRef, price: PriceCard, window: int | None) -> ModelCard:
    own = settings.models.cards.get(ref.name)
    named = next((tier for tier, chain in _BUILT_IN.items() if ref.name in chain), None)
    known = _family(ref.model)
    return ModelCard(
        name=ref.name,
        endpoint=ref.endpoint,
        model=ref.model,
        tier=(own and own.tier)
        or _configured_tier(settings, ref.name)
        or named
        or tier_of(price, ref.model),
        window=(own and own.window) or window,
        price=price,
        streaming=_first(own, "streaming", True),
        json_schema=_first(own, "json_schema", known[0]),
        seed=_first(own, "seed", known[1]),
        logprobs=_first(own, "logprobs", known[2]),
        vision=_first(own, "vision", known[3]),
        key_variable=ref.key_variable,
    )


def _local_card(settings: Settings, ref: ModelRef) -> ModelCard:
    own = settings.models.cards.get(ref.name)
    here = _installed()
    path = here.get(default_local(here) if ref.model == LOCAL else ref.model)
    return ModelCard(
        name=ref.name,
        endpoint=LOCAL,
        model=ref.model,
        tier="local",
        window=(own and own.window) or (local_window(path) if path else None),
        price=prices.FREE,
        streaming=True,
        json_schema=_first(own, "json_schema", True),
        seed=_first(own, "seed", True),
        logprobs=_first(own, "logprobs", True),
        vision=_first(own, "vision", False),
        local=True,
    )


def _configured_tier(settings: Settings, name: str) -> Tier | None:
    """The tier under which ``[routing]`` names a model."""
    for tier in TIERS:
        if name in (getattr(settings.routing, tier) or ()):
            return tier
    return None


def _family(model: str) -> tuple[bool | None, bool | None, bool | None, bool | None]:
    vendor, slash, rest = model.partition("/")
    if slash and vendor != "openai":
        sees = next((sees for pattern, sees in _SEES if re.match(pattern, model)), None)
        return (None, None, None, sees)
    for pattern, known in _FAMILIES:
        if re.match(pattern, rest or vendor):
            return known
    return (None, None, None, None)


def _first(own: Card | None, name: str, known: bool | None) -> bool | None:
    said: bool | None = getattr(own, name) if own is not None else None
    return known if said is None else said


# -- this machine ---------------------------------------------------------------------------


def default_local(here: Iterable[str]) -> str:
    """Which model the bare name ``local`` means, of those that are here."""
    from aiki_kernel.models import weights

    known = list(here)
    return weights.DEFAULT if weights.DEFAULT in known or not known else min(known)


def local_window(path: Path) -> int | None:
    """The context length that a GGUF file states; None when it cannot be read."""
    try:
        return _window_at(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=32)
def _window_at(path: Path, _changed: int) -> int | None:
    from aiki_kernel.models.gguf import GGUF

    try:
        with GGUF(path) as file:
            kind = file.get("general.architecture", str)
            return file.get(f"{kind}.context_length", int)
    except ModelError:
        return None


def _installed() -> dict[str, Path]:
    from aiki_kernel.config import Paths
    from aiki_kernel.models import weights

    return weights.installed(Paths.default().models)


def _local_names() -> list[str]:
    """``local`` first, then the others that are here."""
    here = _installed()
    return [LOCAL, *(f"{LOCAL}/{name}" for name in sorted(here) if name != default_local(here))]
