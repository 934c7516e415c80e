"""``aiki model``: which one answers, choosing another, and fetching one.

The list stands in ``model_list.py``, files and servers of one's own in ``model_file.py`` and
``model_serve.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands import model_file, tomlfile
from aiki_kernel.commands import model_serve as model_serve
from aiki_kernel.commands.command import Arg, Context, Result, spelled
from aiki_kernel.commands.model_list import called, current_name, facts, key_state, price_text
from aiki_kernel.commands.parser import nearest
from aiki_kernel.commands.progress import progress
from aiki_kernel.commands.registry import command
from aiki_kernel.errors import ModelError

if TYPE_CHECKING:
    from aiki_kernel.models.cards import ModelCard
    from aiki_kernel.models.catalogue import ModelRef

AUTO = "auto"
_VERBS = ("add", "inspect", "list", "pull", "serve", "served", "show", "stop", "use")


def names(context: Context, prefix: str) -> Iterable[str]:
    """Names for Tab: those of an endpoint's price list only once its name is typed."""
    from aiki_kernel.models import catalogue, weights

    known = catalogue.names(context.settings, public="/" in prefix and prefix[:5] != "local")
    return [AUTO, *known, *(f"local/{name}" for name in weights.installed(context.paths.models))]


def _pullable(context: Context, prefix: str) -> Iterable[str]:
    from aiki_kernel.models.weights import KNOWN

    return KNOWN


Name = Annotated[str, Arg("auto, local, local/NAME, ENDPOINT/MODEL or a GGUF file", complete=names)]


@command("model")
def model(
    context: Context,
    name: Annotated[
        str, Arg("the model that answers from now on, or auto", positional=True, complete=names)
    ] = "",
) -> Result:
    """Show the model that answers, or choose another one.

    In a notebook or chat the choice counts for this session; elsewhere it is written to aiki.toml.
    """
    if name:
        return use(context, name)
    from aiki_kernel.models.cards import card

    chosen = getattr(context.conversation, "model", None)
    source = "chosen in this session" if chosen else "from the settings"
    current = current_name(context)
    if current == AUTO:
        text = f"auto ({source}): the router chooses. {called(context)} NAME takes one model."
        return _shown(context, {"name": AUTO, "chosen_by": source}, text)
    one = card(context.settings, current)
    data = {**facts(context, one, current), "chosen_by": source}
    missing = f" Not on this machine yet: {data['state']}." if data["state"][0] == "`" else ""
    tier = f" {one.tier} tier;" if one.tier else ""
    window = f"; {one.window:,} tokens fit" if one.window else ""
    text = f"{one.name} ({source});{tier} {price_text(one)}{window}.{missing}{_key_note(one)}"
    return _shown(context, data, text)


def _shown(context: Context, data: dict[str, Any], text: str) -> Result:
    if context.face != "magic":
        return Result(data, text)
    from aiki_kernel.commands.pickers import models

    return models(context, data, text)


@command("model use")
def use(
    context: Context,
    name: Name,
    save: Annotated[bool, Arg("write it to aiki.toml, for every new session")] = False,
) -> Result:
    """Let another model answer from now on; a GGUF file is added to the local ones first.

    `auto` hands over to the router.
    """
    if model_file.is_file(name):
        name, _ = model_file.adopt(context, Path(name))
    if name.strip() == AUTO:
        return _hand_over(context, save)
    from aiki_kernel.models.cards import card

    one = card(context.settings, _resolved(context, name).name)
    done = _choose(context, one.name, save)
    text = f"{one.name} answers from now on {' and '.join(done)}; {price_text(one)}."
    data = {**facts(context, one, one.name), "counts": done}
    return Result(data, text + _key_note(one))


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


def _resolved(context: Context, name: str) -> ModelRef:
    """A name as a model that can answer. Raises ModelError with the nearest name."""
    from aiki_kernel.models import catalogue, weights
    from aiki_kernel.models.cards import default_local

    try:
        ref = catalogue.resolve(context.settings, name)
    except ModelError as error:
        guess = nearest(name, _VERBS)
        if "/" in name or guess == ".":
            raise
        raise ModelError(f"{error} Or the verb{guess}") from None
    if ref.local:
        folder = context.paths.models
        here = weights.installed(folder)
        wanted = default_local(here) if ref.model == "local" else ref.model
        if wanted not in here:
            near = nearest(wanted, {**weights.KNOWN, **here})
            if wanted not in weights.KNOWN and near != ".":
                raise ModelError(f"There is no local model {wanted!r}{near}")
            weights.find(wanted, folder)
    return ref


def _hand_over(context: Context, save: bool) -> Result:
    """Let the router choose from now on."""
    from aiki_kernel.mind.conversation import Conversation
    from aiki_kernel.mind.routing.planner import Planner

    done = _choose(context, AUTO, save)
    talk = context.conversation or Conversation()
    settings = context.settings.model_copy(update={"model": AUTO})
    router = Planner(settings, context.paths.home).router_name(talk)
    data = {"name": AUTO, "router": router, "counts": done}
    return Result(
        data,
        f"The router ({router}) chooses the model from now on {' and '.join(done)}; "
        f"{spelled('route explain', context.face)} shows its reasons.",
    )


def _choose(context: Context, name: str, save: bool) -> list[str]:
    """Make ``name`` the model of the session, the settings, or both; where it counts now."""
    done = []
    if context.conversation is not None:
        context.conversation.model = name
        if name == AUTO:
            context.conversation.route = ""  # whoever hands over unpins
        done.append("in this session")
    if save or context.conversation is None:
        path = context.paths.toml
        document = tomlfile.read(path)
        tomlfile.put(document, "model", name)
        tomlfile.write(path, document.as_string())
        done.append(f"in new sessions ({path})")
    return done


def _key_note(one: ModelCard) -> str:
    if one.local or key_state(one) in ("no key needed", "key set"):
        return ""
    return f" No key yet: run `aiki config key {one.key_variable}` in a terminal."


def _list(known: Iterable[str]) -> str:
    return ", ".join(sorted(known))
