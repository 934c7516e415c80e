"""``aiki model inspect`` and ``aiki model add``: models of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands import tomlfile
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import one_line, pairs
from aiki_kernel.errors import ModelError

if TYPE_CHECKING:
    from aiki_kernel.models.model_file import EngineView, ModelFile


def files(context: Context, prefix: str) -> Iterable[str]:
    """GGUF files and folders that ``prefix`` may become."""
    typed = Path(prefix).expanduser()
    folder = typed if prefix.endswith("/") or not prefix else typed.parent
    shown = prefix if prefix.endswith("/") else prefix.rpartition("/")[0]
    shown = f"{shown.rstrip('/')}/" if "/" in prefix else ""
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        f"{shown}{path.name}{'/' if path.is_dir() else ''}"
        for path in found
        if path.suffix == ".gguf" or (path.is_dir() and not path.name.startswith("."))
    ]


@command("model inspect")
def inspect(
    context: Context,
    file: Annotated[str, Arg("a GGUF file, or the name of a local model", complete=files)],
    measure: Annotated[bool, Arg("only read the file; time nothing")] = True,
) -> Result:
    """Say what a model file is, what it needs, and whether and how fast it runs here."""
    from aiki_kernel.models.model_file import describe

    found = describe(_path(context, file), measure=measure)
    table = pairs(_rows(found))
    return Result(found.to_json(), table.text(context), table.html(), status=0)


@command("model add")
def add(
    context: Context,
    what: Annotated[str, Arg("a GGUF file, or http://HOST:PORT of a server", complete=files)],
    name: Annotated[str, Arg("what to call it here")] = "",
    key_variable: Annotated[str, Arg("environment variable with the server's key")] = "",
) -> Result:
    """Put a file or a running OpenAI-compatible server into the catalogue."""
    if what.startswith(("http://", "https://")):
        return _add_server(context, what, name, key_variable)
    if key_variable:
        raise ModelError("A file needs no key: leave --key-variable out.")
    called, found = adopt(context, Path(what), name)
    text = f"{called} is in the catalogue ({found.architecture}, {_size(found.nbytes)}): {what}."
    return Result(
        {"model": called, "file": found.path}, f"{text} Choose it: {_use(context, called)}."
    )


def adopt(context: Context, path: Path, name: str = "") -> tuple[str, ModelFile]:
    """Make a file a local model, if it can be run here. Raises :class:`ModelError`."""
    from aiki_kernel.models import additions
    from aiki_kernel.models.model_file import describe

    found = describe(path.expanduser(), measure=False)
    if not found.runs:
        raise ModelError(
            f"{found.obstacles[0]} To use it all the same, serve it: `aiki model serve`."
            if "serve" not in found.obstacles[0]
            else found.obstacles[0]
        )
    return f"local/{additions.link_file(path, context.paths.models, name)}", found


def is_file(name: str) -> bool:
    """Whether somebody who chooses a model means a file."""
    return name.endswith(".gguf") and Path(name).expanduser().is_file()


def _add_server(context: Context, url: str, name: str, key_variable: str) -> Result:
    from aiki_kernel.config import api_key
    from aiki_kernel.models.additions import ask_server

    secret = api_key(key_variable) if key_variable else None
    server = ask_server(url, name, secret.get_secret_value() if secret else "")
    path = context.paths.toml
    document = tomlfile.read(path)
    values: dict[str, Any] = {"base_url": server.base_url, "models": list(server.models)}
    if key_variable:
        values["api_key_env"] = key_variable
    for key_name, value in values.items():
        tomlfile.put(document, f"endpoints.{server.name}.{key_name}", value)
    tomlfile.write(path, document.as_string())
    models = [f"{server.name}/{model}" for model in server.models]
    shown = one_line(", ".join(models), 120) or "models that it does not list"
    first = models[0] if models else f"{server.name}/MODEL"
    text = f"{server.base_url} is the endpoint {server.name} now: {shown}."
    if context.face == "magic":
        text += " Restart the kernel to use it here."
    else:
        text += f" Choose it: {_use(context, first)}."
    return Result({"endpoint": server.name, "models": models, "file": str(path)}, text)


def _path(context: Context, named: str) -> Path:
    """A file by its path, or by the name that it has here."""
    from aiki_kernel.models import weights
    from aiki_kernel.models.cards import default_local

    here = weights.installed(context.paths.models)
    local = named.removeprefix("local/")
    if local == "local" and here:
        local = default_local(here)
    return here[local] if local in here else Path(named).expanduser()


def _rows(found: ModelFile) -> list[tuple[str, Any]]:
    types = "; ".join(f"{part} {names}" for part, names in found.quantisation.items())
    rows: list[tuple[str, Any]] = [
        ("file", _short(found.path)),
        ("name", one_line(found.name, 80)),
        ("architecture", f"{found.architecture}, {found.layers} layers, width {found.width}"),
        ("parameters", f"{_count(found.parameters)}, {found.bits_per_weight} bits each"),
        ("quantisation", types),
        ("context", f"{found.context:,} tokens"),
        ("vocabulary", f"{found.vocabulary:,} tokens ({found.tokenizer or 'none'})"),
        ("chat template", found.chat_template),
        ("file size", _size(found.nbytes)),
    ]
    rows += [("runs here", "yes" if found.runs else "no")]
    rows += [("because", line) for line in found.obstacles]
    rows += [(f"with {name}", _engine(view)) for name, view in found.engines.items()]
    rows.append(
        (
            "memory",
            f"a full context takes {_size(found.state_bytes)} more; "
            f"{_size(found.available_bytes)} are free"
            + (f", read at {found.bandwidth / 1e9:.0f} GB/s" if found.bandwidth else ""),
        )
    )
    return rows


def _engine(view: EngineView) -> str:
    if view.why_not:
        return f"no: {view.why_not}"
    speed = view.tokens_per_second
    about = f", about {_rate(speed)} on one thread" if speed else ""
    return f"{_size(view.nbytes)} of memory{about}"


def _use(context: Context, name: str) -> str:
    return f"`{'aiki model' if context.face == 'cli' else '%aiki_model'} use {name}`"


def _rate(value: float) -> str:
    return f"{value:.2g} tokens/s" if value < 100 else f"{value:.0f} tokens/s"


def _count(value: int) -> str:
    return f"{value / 1e9:.2f} billion" if value >= 1e9 else f"{value / 1e6:.1f} million"


def _size(value: int) -> str:
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.1f} MB"


def _short(path: str) -> str:
    """``path`` from one's own home on: what a cell shows is kept in a notebook."""
    file, home = Path(path), Path.home()
    return f"~/{file.relative_to(home)}" if file.is_relative_to(home) else path
