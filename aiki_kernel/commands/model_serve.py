"""``aiki model serve``, ``served`` and ``stop``: a llama.cpp server that is watched."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands import tomlfile
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.model_file import files
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Table
from aiki_kernel.errors import ModelError

if TYPE_CHECKING:
    from aiki_kernel.daemon.model_server import ServerPlan, ServerState

_ROOM = 8 * 10**9  # bytes of address space beside twice the file: context, threads, libraries
_GB = 10**9


def _served(context: Context, prefix: str) -> Iterable[str]:
    from aiki_kernel.daemon import model_serving

    return [state.name for state in model_serving.states(context.paths)]


@command("model serve", faces=("cli",))
def serve(
    context: Context,
    name: Annotated[str, Arg("what the endpoint is called, for example bitnet")],
    model: Annotated[str, Arg("the GGUF file", metavar="FILE", complete=files)] = "",
    binary: Annotated[str, Arg("llama-server of llama.cpp or bitnet.cpp; else from PATH")] = "",
    port: Annotated[int, Arg("port on this machine; 0: the one it had, or a free one")] = 0,
    threads: Annotated[int, Arg("threads of the server; 0: its own choice")] = 0,
    context_size: Annotated[int, Arg("tokens of context; 0: its own choice")] = 0,
    memory_gb: Annotated[float, Arg("most address space; 0: twice the file and 8 GB")] = 0.0,
    nice: Annotated[int, Arg("niceness, 0 to 19")] = 5,
    background: Annotated[bool, Arg("in a process of its own; returns when it is ready")] = False,
    wait: Annotated[float, Arg("seconds that loading may take")] = 600.0,
    words: Annotated[
        tuple[str, ...],
        Arg("options of the server itself, after --", metavar="WORD", unknown=True),
    ] = (),
) -> Result:
    """Start a llama.cpp or bitnet.cpp server, watch it, and make it an endpoint.

    Stays in the foreground until Ctrl-C; the server is started again when it fails, and keeps a
    log. It listens on this machine only.
    """
    from aiki_kernel.daemon import model_serving

    file = Path(model).expanduser().absolute()
    size = _checked(name, model, file)
    plan = _plan(
        context,
        name=name,
        binary=str(_binary(binary)),
        model=str(file),
        port=port,
        threads=max(0, threads),
        context=max(0, context_size),
        memory=int(memory_gb * _GB) or 2 * size + _ROOM,
        nice=min(max(nice, 0), 19),
        start_s=wait,
        options=tuple(word for word in words if word != "--"),
    )
    if background:
        state = model_serving.background(plan, context.paths, wait_s=wait)
        _enter(context, plan)
        text = f"{name} is served at {state.base_url} (process {state.pid}). Use it: "
        return Result(asdict(state), f"{text}`aiki model use {name}/{name}`. Log: {state.log}.")
    _enter(context, plan)
    status = model_serving.foreground(plan, context.paths, _say)
    return Result({"name": name, "status": status}, "", status=status)


@command("model served")
def served(
    context: Context,
    name: Annotated[str, Arg("only this one", positional=True, complete=_served)] = "",
) -> Result:
    """Show the served models and how they are. Exit status 3 when the named one is not healthy."""
    from aiki_kernel.daemon import model_serving

    found = [s for s in model_serving.states(context.paths) if name in ("", s.name)]
    if name and not found:
        raise ModelError(f"{name} was never served here: `aiki model serve {name} --model FILE`.")
    rows = [_row(state) for state in found]
    healthy = all(state.state == "healthy" for state in found)
    data = {"served": [asdict(state) for state in found]}
    if not found:
        return Result(data, "No model is served: `aiki model serve NAME --model FILE`.")
    table = Table(["name", "state", "since", "process", "restarts", "address", "note"], rows)
    return Result(data, table.text(context), table.html(), status=0 if healthy or not name else 3)


@command("model stop")
def stop(
    context: Context,
    name: Annotated[str, Arg("the served model", complete=_served)],
) -> Result:
    """End a served model. Its endpoint stays in aiki.toml, for the next time."""
    from aiki_kernel.daemon import model_serving

    done = model_serving.stop(name, context.paths)
    text = f"{name} is stopped." if done else f"{name} was not being served."
    return Result({"name": name, "stopped": done}, text)


def _checked(name: str, model: str, file: Path) -> int:
    """The file's size in bytes. Raises :class:`ModelError` for what cannot be served."""
    from aiki_kernel.models.memory import refuse_if_too_large

    if not model:
        raise ModelError(f"Which file is {name}? Give it: `aiki model serve {name} --model FILE`.")
    try:
        with file.open("rb") as opened:
            if opened.read(4) != b"GGUF":
                raise ModelError(f"{file.name} is not a GGUF file: fetch the model again.")
            size = os.fstat(opened.fileno()).st_size
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}): check the path.") from None
    refuse_if_too_large(file.name, size)
    return size


def _binary(stated: str) -> Path:
    from aiki_kernel.models import llama_cpp

    if stated:
        path = Path(stated).expanduser().absolute()
        if not os.access(path, os.X_OK) or path.is_dir():
            raise ModelError(f"{path} is no program that can be run: check --binary.")
        return path
    found = llama_cpp.find("llama-server")
    if found is None:
        raise ModelError(
            "There is no llama-server on PATH: install llama.cpp (or build bitnet.cpp), or say "
            "where it is with --binary PATH."
        )
    return found


def _plan(asked: Context, /, **values: Any) -> ServerPlan:
    """With a port: the stated one, the one that the endpoint had, or a free one."""
    from aiki_kernel.config import Settings
    from aiki_kernel.daemon.model_server import HOST, ServerPlan
    from aiki_kernel.daemon.model_serving import free_port

    settings: Settings = asked.settings
    name, before = values["name"], 0
    if name in settings.endpoint_names():
        base = settings.endpoint(name).base_url
        if not base.startswith(f"http://{HOST}:"):
            raise ModelError(f"{name} is the endpoint {base} already: choose another name.")
        stated = base.rpartition(":")[2].partition("/")[0]
        before = int(stated) if stated.isdigit() else 0
    if not values["port"] and before:
        try:
            values["port"] = free_port(before)
        except ModelError:
            values["port"] = 0
    values["port"] = free_port(values["port"])
    return ServerPlan(**values)


def _enter(context: Context, plan: ServerPlan) -> None:
    """Make it an endpoint that costs nothing."""
    path = context.paths.toml
    document = tomlfile.read(path)
    values = {"base_url": plan.base_url, "models": [plan.name]}
    for key, value in {**values, "input_price": 0.0, "output_price": 0.0}.items():
        tomlfile.put(document, f"endpoints.{plan.name}.{key}", value)
    tomlfile.write(path, document.as_string())


def _row(state: ServerState) -> list[Any]:
    minutes = (time.time() - state.since) / 60
    since = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    process = state.server_pid or None
    where = state.base_url if state.pid else None
    return [state.name, state.state, since, process, state.restarts, where, state.note or None]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the foreground is for people
