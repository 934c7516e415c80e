"""``aiki model list``: every model that is known, by words, tier and endpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.parser import nearest
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from aiki_kernel.models.cards import ModelCard

Tier = Literal["smart", "standard", "cheap", "local"]
_ORDER = {"smart": 0, "standard": 1, "cheap": 2, "local": 3, None: 4}


def _endpoints(context: Context, prefix: str) -> Iterable[str]:
    return ["local", *context.settings.endpoint_names()]


@command("model list")
def list_(
    context: Context,
    words: Annotated[
        tuple[str, ...],
        Arg("only names with all these words; looks into price lists too", positional=True),
    ] = (),
    tier: Annotated[Tier | None, Arg("only smart, standard, cheap or local models")] = None,
    endpoint: Annotated[str, Arg("only models of this endpoint", complete=_endpoints)] = "",
    all: Annotated[bool, Arg("every model of the price lists as well")] = False,
) -> Result:
    """List models with their tier, price, context window, and whether they can be used now.

    Without words or options: this machine's models, yours, and those that stand for a tier.
    """
    from aiki_kernel.models.cards import cards

    if endpoint and endpoint not in (known := list(_endpoints(context, ""))):
        raise UsageError(f"No endpoint is called {endpoint!r}{nearest(endpoint, known)}")
    wide = bool(all or words or tier or endpoint)
    found = list(cards(context.settings).values()) if wide else _usual(context)
    found = [one for one in found if one.name != "local" and _fits(one, words, tier, endpoint)]
    if not found:
        raise UsageError(_nothing(context, words, tier, endpoint))
    found.sort(key=lambda one: (_ORDER[one.tier], _price_order(one), one.name))
    current = current_name(context)
    rows = [facts(context, one, current) for one in found]
    data = {"current": current, "models": rows}
    table = Table(
        [
            "",
            "model",
            "tier",
            Column("in $/M", right=True, whole=True),
            Column("cached", right=True, whole=True),
            Column("out $/M", right=True, whole=True),
            Column("window", right=True, whole=True),
            "state",
        ],
        [_row(row) for row in rows],
    )
    sources = sorted({one.source for one in found if one.price.snapshot})
    lines = [f"Prices: {', '.join(sources)}; ? is unknown."] if sources else []
    if not wide:
        ends = ", ".join(f"{name}/" for name in context.settings.endpoint_names())
        lines.append(f"More at {ends}: `{called(context)} list --all`, or with words to look for.")
    hint = "\n".join(lines)
    html = table.html() + "".join(f"<div>{_escaped(line)}</div>" for line in lines)
    return Result(data, f"{table.text(context)}\n\n{hint}".rstrip(), html)


def rows(
    context: Context, words: tuple[str, ...], tier: Any, current: str, most: int
) -> list[dict[str, Any]]:
    """What :func:`list_` lists, as plain data; those after the first ``most`` only by name.

    With neither words nor a tier whoever answers now comes first.
    """
    from aiki_kernel.models.cards import cards

    wide = bool(words or tier)
    found = list(cards(context.settings).values()) if wide else _usual(context)
    found = [one for one in found if one.name != "local" and _fits(one, words, tier, "")]
    found.sort(key=lambda one: (_ORDER[one.tier], _price_order(one), one.name))
    listed = [facts(context, one, current) for one in found[:most]]
    listed += [{"name": one.name} for one in found[most:]]
    if not wide:
        listed.sort(key=lambda row: not row.get("current"))
    return listed


def needed(context: Context, row: dict[str, Any]) -> dict[str, Any]:
    """For a row of :func:`rows`: ``size`` of local weights in bytes, ``todo`` before it answers."""
    from aiki_kernel.models import weights

    if row.get("local"):
        name = row["name"].removeprefix("local/")
        here = weights.installed(context.paths.models).get(name)
        known = weights.KNOWN.get(name)
        size = here.stat().st_size if here else known.size if known else None
        return {"size": size, "todo": ""}
    variable = str(row.get("state", "")).partition(" ")[0]
    missing = str(row.get("state", "")).startswith(f"{variable} not set")
    return {"size": None, "todo": f"aiki config key {variable}" if missing else ""}


def current_name(context: Context) -> str:
    """The name of the model that answers in this session; "auto" while the router chooses."""
    chosen = getattr(context.conversation, "model", None)
    return str(chosen or context.settings.model)


def facts(context: Context, one: ModelCard, current: str = "") -> dict[str, Any]:
    """The card as plain data, with its state here."""
    from aiki_kernel.models.breaker import BREAKER
    from aiki_kernel.models.cards import default_local, usable

    is_current = one.name == current
    state = key_state(one)
    if one.local:
        here = _installed(context)
        name = default_local(here) if one.model == "local" else one.model
        state = "here" if name in here else f"`aiki model pull {name}`"
        is_current = is_current or (current == "local" and one.name == f"local/{name}")
    rests = BREAKER.wait_s(one.name)
    if rests > 0:
        state += f"; failed repeatedly, rests for {rests:.0f} s"
    return {**one.to_json(), "state": state, "usable": usable(one), "current": is_current}


def key_state(one: ModelCard) -> str:
    """Whether the key that a model needs is there, in words."""
    from aiki_kernel.config import api_key

    if not one.key_variable:
        return "no key needed"
    try:
        return "key set" if api_key(one.key_variable) else f"{one.key_variable} not set"
    except ConfigError as error:
        return str(error)


def price_text(one: ModelCard) -> str:
    """The price of a model in a few words."""
    if one.local:
        return "costs nothing, runs on this machine"
    if one.price.input is None or one.price.output is None:
        return "its price is unknown"
    return f"${one.price.input:g} in, ${one.price.output:g} out per million tokens"


def called(context: Context) -> str:
    """How this face writes the noun."""
    return "aiki model" if context.face == "cli" else "%aiki_model"


def _usual(context: Context) -> list[ModelCard]:
    from aiki_kernel.models import weights
    from aiki_kernel.models.cards import TIERS, card, chain

    settings = context.settings
    names = [f"local/{n}" for n in dict.fromkeys([*_installed(context), *weights.KNOWN])]
    for name in settings.endpoint_names():
        names += [f"{name}/{model}" for model in settings.endpoint(name).models]
    names += list(settings.models.cards)
    found = {name: card(settings, name) for name in names}
    for tier in TIERS:
        found |= {one.name: one for one in chain(settings, tier)}
    current = current_name(context)
    if current not in ("local", "auto"):
        found.setdefault(current, card(settings, current))
    return list(found.values())


def _fits(one: ModelCard, words: tuple[str, ...], tier: str | None, endpoint: str) -> bool:
    if tier and one.tier != tier:
        return False
    if endpoint and one.endpoint != endpoint:
        return False
    return all(word.lower() in one.name.lower() for word in words)


def _nothing(context: Context, words: tuple[str, ...], tier: str | None, endpoint: str) -> str:
    from aiki_kernel.models.cards import cards

    limits = [f"of tier {tier}"] if tier else []
    limits += [f"at {endpoint}"] if endpoint else []
    what = " ".join(["No model", *limits])
    if not words:
        return f"{what} is known: give one a tier in [models.cards] of aiki.toml."
    names = cards(context.settings)
    tails = [name.rpartition("/")[2] for name in names]
    guess = nearest(" ".join(words), [*names, *tails])
    return f"{what} has {' and '.join(map(repr, words))} in its name{guess}"


def _installed(context: Context) -> Iterable[str]:
    from aiki_kernel.models import weights

    return weights.installed(context.paths.models)


def _price_order(one: ModelCard) -> float:
    return float("inf") if one.usual_usd is None else one.usual_usd


def _row(data: dict[str, Any]) -> list[Any]:
    keys = ("input_usd_per_million", "cache_read_usd_per_million", "output_usd_per_million")
    known = data["input_usd_per_million"] is not None and data["output_usd_per_million"] is not None
    shown = ["" if known else "?"] * 3
    for place, key in enumerate(keys):
        if data[key] is not None:
            shown[place] = _dollars(data[key])
    mark = "*" if data["current"] else ""
    return [mark, data["name"], data["tier"] or "?", *shown, data["window"], data["state"]]


def _dollars(price: float) -> str:
    return f"{price:.2f}" if price >= 0.1 or price == 0 else f"{price:.3g}"


def _escaped(line: str) -> str:
    from html import escape

    return escape(line)
