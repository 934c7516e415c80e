"""What tokens cost, from the offline price list of ``genai-prices`` or from ``aiki.toml``.

An unknown price is None, never zero. A model on this machine costs 0.0: its electricity
is not counted. The list is read once, on first use (about a second): :func:`load_soon`
does that ahead of time on a thread.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from aiki_kernel.models.catalogue import ModelRef
    from aiki_kernel.models.chat import Usage

_MILLION = 1_000_000
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class PriceStep:
    """Prices that hold for every token of a call whose input is longer than ``above`` tokens.
    None means: as without this step."""

    above: int
    input: float | None = None
    output: float | None = None
    cached: float | None = None
    cache_write: float | None = None


@dataclass(frozen=True)
class PriceCard:
    """USD per million tokens; None is unknown. Without prices for the cache its tokens cost
    what other input costs.

    ``source`` is "aiki.toml", "genai-prices VERSION", "this machine" or "unknown";
    ``snapshot`` is :func:`snapshot_date`, or "". ``steps`` are in rising order.
    """

    input: float | None
    output: float | None
    cached: float | None
    source: str
    snapshot: str = ""
    cache_write: float | None = None
    steps: tuple[PriceStep, ...] = ()

    @property
    def tiered(self) -> bool:
        """Whether long prompts cost more a token; the plain figures are a short prompt's."""
        return bool(self.steps)

    def cost_usd(
        self,
        input_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
    ) -> float | None:
        """USD for one call, or None where a price that it needs is unknown.

        ``input_tokens`` includes those read from the cache and those written to it.
        """
        prices = self.at(input_tokens)
        if prices.input is None or (prices.output is None and output_tokens):
            return None
        read = min(cached_tokens, input_tokens)
        written = min(cache_write_tokens, input_tokens - read)
        plain = input_tokens - read - written
        usd = plain * prices.input + output_tokens * (prices.output or 0.0)
        usd += read * (prices.input if prices.cached is None else prices.cached)
        usd += written * (prices.input if prices.cache_write is None else prices.cache_write)
        return usd / _MILLION

    def at(self, input_tokens: int) -> PriceCard | PriceStep:
        """The prices that a call with so long an input pays."""
        over = [step for step in self.steps if input_tokens > step.above]
        if not over:
            return self
        step = over[-1]
        return PriceStep(
            step.above,
            *(
                getattr(self, name) if getattr(step, name) is None else getattr(step, name)
                for name in ("input", "output", "cached", "cache_write")
            ),
        )


FREE = PriceCard(0.0, 0.0, 0.0, "this machine")
UNKNOWN = PriceCard(None, None, None, "unknown")


def cost_usd(ref: ModelRef, usage: Usage) -> float | None:
    """USD for ``usage``, or None when the price is unknown.

    ``usage.input_tokens`` includes the cached ones; those are charged at the price for
    cached reads where there is one. Prices of ``aiki.toml`` win.
    """
    return price_card(ref).cost_usd(
        usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cache_write_tokens
    )


def price_card(ref: ModelRef) -> PriceCard:
    """Prices per million tokens, and where they come from."""
    if ref.local:
        return FREE
    if ref.input_price is not None or ref.output_price is not None:
        if ref.input_price is None or ref.output_price is None:  # half a price is no price
            return PriceCard(ref.input_price, ref.output_price, None, "aiki.toml")
        return PriceCard(
            ref.input_price,
            ref.output_price,
            ref.cache_read_price,
            "aiki.toml",
            cache_write=ref.cache_write_price,
        )
    found = _find(ref)
    return UNKNOWN if found is None else _card_of(found)


def context_window(ref: ModelRef) -> int | None:
    """How many tokens fit, as the list has it; None is unknown."""
    found = None if ref.local else _find(ref)
    return window_of(found) if found is not None else None


def model_names(provider: str) -> tuple[str, ...]:
    """Ids of the models that the list knows for ``provider`` ("openai", "openrouter")."""
    return tuple(sorted(listed(provider)))


def listed(provider: str) -> dict[str, tuple[PriceCard, int | None]]:
    """Model id -> (its prices, its context window), for one provider of the list."""
    for entry in _providers():
        if entry.id == provider:
            return {model.id: (_card_of(model), window_of(model)) for model in entry.models}
    return {}


def window_of(model: Any) -> int | None:
    """The context window of an entry of the list; None is unknown."""
    window = getattr(model, "context_window", None)
    return int(window) if window else None


@functools.cache
def snapshot_date() -> str:
    """How fresh the list is: its newest dated price that is in force today, ISO; or "".

    The list carries no date of its own, so this is a lower bound.
    """
    today = _now().date()
    dates = [
        priced.constraint.start_date
        for entry in _providers()
        for model in entry.models
        for priced in (*_priced(model.prices), *_priced(getattr(model, "price_variants", None)))
        if hasattr(priced.constraint, "start_date")
    ]
    return max((day.isoformat() for day in dates if day <= today), default="")


def load_soon(ref: ModelRef) -> None:
    """Read the price list on a thread, once, so that the first cost is not waited for.

    Nothing is read for a model whose price no public list can know.
    """
    if _may_be_listed(ref):
        _start_loading()


@functools.cache
def _start_loading() -> None:
    threading.Thread(target=_providers, name="prices", daemon=True).start()


def _may_be_listed(ref: ModelRef) -> bool:
    """Whether the list is worth reading: it takes a second, and knows no server of one's own."""
    if ref.local or ref.input_price is not None or ref.output_price is not None:
        return False
    return bool(ref.provider) or urlsplit(ref.base_url).hostname not in _THIS_MACHINE


@functools.cache
def _library() -> Any:
    import genai_prices

    return genai_prices


def _providers() -> list[Any]:
    _library()
    from genai_prices.data_snapshot import get_snapshot

    return list(get_snapshot().providers)


@functools.lru_cache(maxsize=256)
def _find(ref: ModelRef) -> Any | None:
    """The list's entry for ``ref``: by provider id, else by the address."""
    if not _may_be_listed(ref):
        return None
    _library()
    from genai_prices.data_snapshot import get_snapshot

    by_id = ref.provider or None
    try:
        return get_snapshot().find_provider_model(
            ref.model, None, by_id, None if by_id else ref.base_url
        )[1]
    except LookupError:
        return None


def _card_of(model: Any) -> PriceCard:
    """The prices of an entry that are in force now."""
    prices = model.get_prices(_now())
    keys = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")
    parts = [getattr(prices, key, None) for key in keys]
    if parts[0] is None and parts[1] is None:
        return UNKNOWN  # listed, but not by tokens
    starts = sorted({tier.start for part in parts for tier in getattr(part, "tiers", ())})
    steps = tuple(PriceStep(start, *(_above(part, start) for part in parts)) for start in starts)
    per_input, per_output, cached, written = (_base(part) for part in parts)
    source = f"genai-prices {_library().__version__}"
    return PriceCard(per_input, per_output, cached, source, snapshot_date(), written, steps)


def _above(price: Any, start: int) -> float | None:
    """The price a token when the input is longer than ``start``; the whole call pays it."""
    found = [float(tier.price) for tier in getattr(price, "tiers", ()) if tier.start <= start]
    return found[-1] if found else None


def _base(price: Any) -> float | None:
    if price is None:
        return None
    found = float(getattr(price, "base", price))
    return found if found >= 0 else None  # a list that says -1 means "it depends"


def _priced(prices: Any) -> list[Any]:
    return list(prices) if isinstance(prices, list) else []


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)
