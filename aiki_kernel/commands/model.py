"""``aiki model``: which models there are, which one answers, and fetching one.

Files and servers of one's own stand in ``model_file.py`` and ``model_serve.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands import model_file, tomlfile
from aiki_kernel.commands import model_serve as model_serve
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.parser import nearest
from aiki_kernel.commands.progress import progress
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, usd
from aiki_kernel.errors import ConfigError, ModelError, UsageError

if TYPE_CHECKING:
    from aiki_kernel.models.catalogue import ModelRef

_VERBS = ("add", "inspect", "list", "pull", "serve", "served", "show", "stop", "use")


def names(context: Context, prefix: str) -> Iterable[str]:
    """Names for Tab: those of an endpoint's price list only once its name is typed."""
    from aiki_kernel.models import catalogue, weights

    known = catalogue.names(context.settings, public="/" in prefix and prefix[:5] != "local")
    return [*known, *(f"local/{name}" for name in weights.installed(context.paths.models))]


def _pullable(context: Context, prefix: str) -> Iterable[str]:
    from aiki_kernel.models.weights import KNOWN

    return KNOWN


Name = Annotated[str, Arg("local, local/NAME, ENDPOINT/MODEL or a GGUF file", complete=names)]


@command("model")
def model(
    context: Context,
    name: Annotated[
        str, Arg("the model that answers from now on", positional=True, complete=names)
    ] = "",
) -> Result:
    """Show the model that answers, or choose another one.

    In a notebook or chat the choice counts for this session; elsewhere it is written to aiki.toml.
    """
    if name:
        return use(context, name)
    from aiki_kernel.models.catalogue import resolve

    current, source = _current(context)
    ref = resolve(context.settings, current)
    data = {**_facts(context, ref), "chosen_by": source}
    missing = f" Not on this machine yet: {data['state']}." if data["state"][0] == "`" else ""
    text = f"{ref.name} ({source}); {_price_text(data)}.{missing}{_key_note(ref)}"
    return Result(data, text)


@command("model use")
def use(
    context: Context,
    name: Name,
    save: Annotated[bool, Arg("write it to aiki.toml, for every new session")] = False,
) -> Result:
    """Let another model answer from now on; a GGUF file is added to the local ones first."""
    if model_file.is_file(name):
        name, _ = model_file.adopt(context, Path(name))
    ref = _resolved(context, name)
    data = _facts(context, ref)
    done = []
    if context.conversation is not None:
        context.conversation.model = ref.name
        done.append("in this session")
    if save or context.conversation is None:
        path = context.paths.toml
        document = tomlfile.read(path)
        tomlfile.put(document, "model", ref.name)
        tomlfile.write(path, document.as_string())
        done.append(f"in new sessions ({path})")
    text = f"{ref.name} answers from now on {' and '.join(done)}; {_price_text(data)}."
    return Result({**data, "counts": done}, text + _key_note(ref))


@command("model list")
def list_(
    context: Context,
    filter: Annotated[
        str, Arg("only names with this in them; looks into price lists too", positional=True)
    ] = "",
    all: Annotated[bool, Arg("every model of the price lists as well")] = False,
) -> Result:
    """List models of this machine and of the endpoints, with price and context window."""
    from aiki_kernel.models import catalogue, weights

    settings = context.settings
    here = weights.installed(context.paths.models)
    found = [f"local/{name}" for name in dict.fromkeys([*here, *weights.KNOWN])]
    if all or filter:
        known = catalogue.names(settings, public=True)
    else:
        known = [
            f"{endpoint}/{model}"
            for endpoint in settings.endpoint_names()
            for model in settings.endpoint(endpoint).models
        ]
    found += [name for name in known if not name.startswith("local")]
    current = _current(context)[0]
    if current not in ("local", *found) and not filter:
        found.append(current)
    rows = [
        _facts(context, catalogue.resolve(settings, name))
        for name in found
        if filter.lower() in name.lower()
    ]
    for row in rows:
        row["current"] = row["name"] == current or (
            current == "local" and row["name"] == f"local/{_default_local(context)}"
        )
    if not rows:
        raise UsageError(f"No model has {filter!r} in its name{nearest(filter, known)}")
    table = Table(
        [
            "",
            "model",
            Column("in $/M", right=True, whole=True),
            Column("out $/M", right=True, whole=True),
            Column("window", right=True, whole=True),
            "state",
        ],
        [_row(row) for row in rows],
    )
    hint = ""
    if not (all or filter):
        ends = ", ".join(f"{name}/" for name in settings.endpoint_names())
        hint = f"\n\nMore at {ends}: `{_called(context)} list --all`."
    return Result({"current": current, "models": rows}, table.text(context) + hint, table.html())


@command("model pull")
def pull(
    context: Context,
    name: Annotated[str, Arg("the model to fetch", positional=True, complete=_pullable)] = "",
) -> Result:
    """Fetch a model to this machine, once; a broken fetch is taken up again."""
    from aiki_kernel.models import weights

    name = (name or weights.DEFAULT).removeprefix("local/")
    if name not in weights.KNOWN:
        near = nearest(name, weights.KNOWN)
        raise ModelError(f"{name!r} cannot be fetched by name{near} Known: {_list(weights.KNOWN)}.")
    before = weights.installed(context.paths.models).get(name)
    with progress(context, f"Fetching {name}", bytes_=True) as step:
        path = weights.pull(name, context.paths.models, step)
    known = weights.KNOWN[name]
    data = {"model": f"local/{name}", "file": str(path), "licence": known.licence}
    state = "is here already" if before else f"is here now ({known.licence})"
    return Result({**data, "fetched": before is None}, f"{known.title} {state}: {path}.")


def _current(context: Context) -> tuple[str, str]:
    """The name of the model that answers, and who chose it."""
    chosen = getattr(context.conversation, "model", None)
    if chosen:
        return str(chosen), "chosen in this session"
    return context.settings.model, "from the settings"


def _resolved(context: Context, name: str) -> ModelRef:
    """A name as a model that can answer. Raises ModelError with the nearest name."""
    from aiki_kernel.models import catalogue, weights

    try:
        ref = catalogue.resolve(context.settings, name)
    except ModelError as error:
        guess = nearest(name, _VERBS)
        if "/" in name or guess == ".":
            raise
        raise ModelError(f"{error} Or the verb{guess}") from None
    if ref.local:
        folder = context.paths.models
        wanted = _default_local(context) if ref.model == "local" else ref.model
        if wanted not in weights.installed(folder):
            near = nearest(wanted, {**weights.KNOWN, **weights.installed(folder)})
            if wanted not in weights.KNOWN and near != ".":
                raise ModelError(f"There is no local model {wanted!r}{near}")
            weights.find(wanted, folder)
    return ref


def _default_local(context: Context) -> str:
    """Which model the bare name ``local`` means on this machine."""
    from aiki_kernel.models import weights

    here = weights.installed(context.paths.models)
    return weights.DEFAULT if weights.DEFAULT in here or not here else min(here)


def _facts(context: Context, ref: ModelRef) -> dict[str, Any]:
    """Name, price (USD per million tokens, None is unknown), window and state."""
    from aiki_kernel.models import weights
    from aiki_kernel.models.prices import context_window, price_card

    card = price_card(ref)
    window, state = None, _key_state(ref)
    if ref.local:
        name = _default_local(context) if ref.model == "local" else ref.model
        path = weights.installed(context.paths.models).get(name)
        state = "here" if path else f"`aiki model pull {name}`"
        window = _window_of(path) if path else None
    else:
        window = context_window(ref)
    return {
        "name": ref.name,
        "endpoint": ref.endpoint,
        "local": ref.local,
        "input_usd_per_million": card.input,
        "output_usd_per_million": card.output,
        "price_source": card.source,
        "window": window,
        "state": state,
    }


def _window_of(path: Path) -> int | None:
    from aiki_kernel.models.gguf import GGUF

    try:
        with GGUF(path) as file:
            kind = file.get("general.architecture", str)
            return file.get(f"{kind}.context_length", int)
    except ModelError:
        return None


def _key_state(ref: ModelRef) -> str:
    from aiki_kernel.config import api_key

    if not ref.key_variable:
        return "no key needed"
    try:
        return "key set" if api_key(ref.key_variable) else f"{ref.key_variable} not set"
    except ConfigError as error:
        return str(error)


def _key_note(ref: ModelRef) -> str:
    if ref.local or _key_state(ref) in ("no key needed", "key set"):
        return ""
    return f" No key yet: run `aiki config key {ref.key_variable}` in a terminal."


def _price_text(data: dict[str, Any]) -> str:
    price_in, price_out = data["input_usd_per_million"], data["output_usd_per_million"]
    if data["local"]:
        return "costs nothing, runs on this machine"
    if price_in is None or price_out is None:
        return "its price is unknown"
    return f"{usd(price_in)} in, {usd(price_out)} out per million tokens"


def _row(data: dict[str, Any]) -> list[Any]:
    prices = [
        "?" if data[k] is None else f"{data[k]:.2f}"
        for k in ("input_usd_per_million", "output_usd_per_million")
    ]
    mark = "*" if data["current"] else ""
    return [mark, data["name"], *prices, data["window"], data["state"]]


def _called(context: Context) -> str:
    return "aiki model" if context.face == "cli" else "%aiki_model"


def _list(known: Iterable[str]) -> str:
    return ", ".join(sorted(known))
