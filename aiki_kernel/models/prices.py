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
class PriceCard:
    """USD per million tokens; None is unknown. ``tiered`` prices rise with the prompt's length,
    and then these are the first tier's.

    ``source`` is "aiki.toml", "genai-prices VERSION", "this machine" or "unknown";
    ``snapshot`` is :func:`snapshot_date`, or "".
    """

    input: float | None
    output: float | None
    cached: float | None
    source: str
    snapshot: str = ""
    tiered: bool = False


def cost_usd(ref: ModelRef, usage: Usage) -> float | None:
    """USD for ``usage``, or None when the price is unknown.

    ``usage.input_tokens`` includes the cached ones; those are charged at the price for
    cached reads where the list has one. Prices of ``aiki.toml`` win, and know no cache.
    """
    if ref.local:
        return 0.0
    if ref.input_price is not None or ref.output_price is not None:
        if ref.input_price is None or ref.output_price is None:
            return None
        return (
            usage.input_tokens * ref.input_price + usage.output_tokens * ref.output_price
        ) / _MILLION
    found = _find(ref)
    if found is None:
        return None
    genai_prices = _library()
    provider, model = found
    prices = model.get_prices(_now())
    if getattr(prices, "input_mtok", None) is None and getattr(prices, "output_mtok", None) is None:
        return None  # listed, but not by tokens
    priced = model.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=min(usage.cached_tokens, usage.input_tokens),
            output_tokens=usage.output_tokens,
        ),
        provider,
        genai_request_timestamp=_now(),
    )
    return float(priced.total_price)


def price_card(ref: ModelRef) -> PriceCard:
    """Prices per million tokens, and where they come from."""
    if ref.local:
        return PriceCard(0.0, 0.0, 0.0, "this machine")
    if ref.input_price is not None or ref.output_price is not None:
        return PriceCard(ref.input_price, ref.output_price, ref.input_price, "aiki.toml")
    found = _find(ref)
    if found is None:
        return PriceCard(None, None, None, "unknown")
    prices = found[1].get_prices(_now())
    keys = ("input_mtok", "output_mtok", "cache_read_mtok")
    parts = [getattr(prices, key, None) for key in keys]
    per_input, per_output, per_cached = (_base(part) for part in parts)
    source = f"genai-prices {_library().__version__}"
    return PriceCard(
        per_input,
        per_output,
        per_cached,
        source,
        snapshot_date(),
        any(hasattr(part, "tiers") for part in parts),
    )


def context_window(ref: ModelRef) -> int | None:
    """How many tokens fit, as the list has it; None is unknown."""
    found = None if ref.local else _find(ref)
    window = getattr(found[1], "context_window", None) if found else None
    return int(window) if window else None


def model_names(provider: str) -> tuple[str, ...]:
    """Ids of the models that the list knows for ``provider`` ("openai", "openrouter")."""
    for entry in _providers():
        if entry.id == provider:
            return tuple(sorted(model.id for model in entry.models))
    return ()


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
        if isinstance(model.prices, list)
        for priced in model.prices
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
def _find(ref: ModelRef) -> tuple[Any, Any] | None:
    """The list's provider and model for ``ref``: by provider id, else by the address."""
    if not _may_be_listed(ref):
        return None
    _library()
    from genai_prices.data_snapshot import get_snapshot

    by_id = ref.provider or None
    try:
        return get_snapshot().find_provider_model(
            ref.model, None, by_id, None if by_id else ref.base_url
        )
    except LookupError:
        return None


def _base(price: Any) -> float | None:
    if price is None:
        return None
    return float(getattr(price, "base", price))


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)
