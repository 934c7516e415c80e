"""``aiki config``: what is set and where it was set, and keys, which are never shown."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands import tomlfile
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.parser import nearest
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Table
from aiki_kernel.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from aiki_kernel.config import Settings

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY_WORD = re.compile(r"(^|[_.-])(api[_-]?key|token|secret|password|authorization)$", re.I)
_CARD_FIELDS = ("tier", "window", "input_price", "output_price", "cache_read_price", "logprobs")
_ENDPOINT_FIELDS = ("base_url", "api_key_env", "models", "input_price", "output_price", "provider")


def _names(context: Context, prefix: str) -> Iterable[str]:
    known = list(flat(context.settings))
    for name in context.settings.endpoints:
        known += [f"endpoints.{name}.{field}" for field in _ENDPOINT_FIELDS]
    for name in context.settings.models.cards:
        known += [f'models.cards."{name}".{field}' for field in _CARD_FIELDS]
    return known


def _variables(context: Context, prefix: str) -> Iterable[str]:
    return key_variables(context.settings)


Key = Annotated[str, Arg("dotted name, as `config show` prints it", complete=_names)]


@command("config show")
def show(
    context: Context,
    key: Annotated[str, Arg("only this setting or table", positional=True, complete=_names)] = "",
) -> Result:
    """Show the settings in effect and where each comes from: default, file or environment.

    Keys are shown only as set or not set.
    """
    from aiki_kernel.config import load

    settings = load()  # afresh: the file may have changed since this session began
    sources = _sources(context)
    rows = [
        {"key": name, "value": _masked(name, value), "source": sources(name)}
        for name, value in flat(settings).items()
        if not key or name == key or name.startswith(f"{key}.")
    ]
    if key and not rows:
        raise UsageError(_no_setting(key, _names(context, "")))
    keys = [] if key else [_key_state(variable) for variable in key_variables(settings)]
    data = {"home": str(context.paths.home), "settings": rows, "keys": keys}
    tables = [
        Table(["setting", "value", "from"], [(r["key"], r["value"], r["source"]) for r in rows])
    ]
    if keys:
        tables.append(Table(["key", "state"], [(k["variable"], k["state"]) for k in keys]))
    text = "\n\n".join(table.text(context) for table in tables)
    return Result(data, text, "".join(table.html() for table in tables))


@command("config set")
def set_(
    context: Context,
    key: Key,
    value: Annotated[str, Arg("text, number, or a list as TOML writes it", rest=True)],
) -> Result:
    """Write one setting to aiki.toml, keeping its comments; a wrong value changes nothing."""
    _refuse_secret(key, value)
    key = tomlfile.joined(tomlfile.parts(key))
    path = context.paths.toml
    document = tomlfile.read(path)
    checked = _validated(document.unwrap(), key, value, context)
    tomlfile.put(document, key, checked)
    tomlfile.write(path, document.as_string())
    return _written(context, key, checked, f"{key} = {_shown(checked)} in {path}.")


@command("config unset")
def unset(context: Context, key: Key) -> Result:
    """Take one setting out of aiki.toml, so that its default counts again."""
    path = context.paths.toml
    key = tomlfile.joined(tomlfile.parts(key))
    document = tomlfile.read(path)
    if not tomlfile.take(document, key):
        raise UsageError(f"{key} is not set in {path}; `config show` says where it comes from.")
    _settings_of(document.unwrap(), key)
    tomlfile.write(path, document.as_string())
    return _written(context, key, None, f"{key} is taken out of {path}.")


@command("config path")
def path(context: Context) -> Result:
    """Show where aiki.toml is; --json names the other files and folders too."""
    paths = context.paths
    names = ("home", "toml", "keys", "memory", "ledger", "spool", "models", "log", "socket")
    return Result({name: str(getattr(paths, name)) for name in names}, str(paths.toml))


@command("config key", faces=("cli",))
def key(
    context: Context,
    name: Annotated[str, Arg("the variable, e.g. OPENAI_API_KEY", complete=_variables)],
    remove: Annotated[bool, Arg("forget the key instead")] = False,
) -> Result:
    """Keep a key in keys.toml, which only you can read. It is asked for and never shown.

    A pipe works as well: `pass show openai | aiki config key OPENAI_API_KEY`.
    """
    if _is_secret(name) or not _VARIABLE.fullmatch(name):
        raise UsageError(
            "`aiki config key` wants the name of a variable, e.g. OPENAI_API_KEY; "
            "it asks for the key itself."
        )
    path = context.paths.keys
    document = tomlfile.read(path)
    if remove:
        if not tomlfile.take(document, name):
            raise UsageError(f"There is no {name} in {path}.")
        done = "removed from"
    else:
        tomlfile.put(document, name, _asked(name))
        done = "kept in"
    tomlfile.write(path, document.as_string(), mode=0o600)
    text = f"{name} is {done} {path}."
    if not remove and name not in key_variables(context.settings):
        text += f" No endpoint asks for it yet{nearest(name, key_variables(context.settings))}"
    if os.environ.get(name):
        text += f" The environment's {name} comes first."
    return Result({"variable": name, "file": str(path), "removed": remove}, text)


def flat(model: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Settings as dotted names; a table of named tables (endpoints) is walked as well."""
    from pydantic import BaseModel

    out: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            out |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, Mapping) and all(isinstance(v, BaseModel) for v in value.values()):
            for inner, section in value.items():
                out |= flat(section, f"{prefix}{name}.{tomlfile.joined([inner])}.")
        else:
            out[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return out


def key_variables(settings: Settings) -> list[str]:
    """The variables in which keys are looked for, in the order of the endpoints."""
    named = [settings.endpoint(name).api_key_env for name in settings.endpoint_names()]
    return [
        v
        for v in dict.fromkeys([*named, settings.memory.api_key_env, settings.server.token_env])
        if v
    ]


def _sources(context: Context) -> Any:
    file = tomlfile.read(context.paths.toml).unwrap()
    environment = {name.upper() for name in os.environ}

    def source(key: str) -> str:
        parts = tomlfile.parts(key)
        for depth in range(len(parts), 0, -1):
            variable = "AIKI_" + "__".join(parts[:depth]).upper()
            if variable in environment:
                return f"environment ({variable})"
        return "file" if _lookup(file, parts) else "default"

    return source


def _lookup(tree: Any, parts: list[str]) -> bool:
    for part in parts:
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True


def _masked(key: str, value: Any) -> Any:
    """A value as it may be shown: headers and passwords inside addresses stay hidden."""
    if isinstance(value, Mapping):
        return dict.fromkeys(value, "(hidden)")
    if isinstance(value, str):
        return re.sub(r"(?<=://)[^/@\s]+@", "(hidden)@", value)
    return value


def _key_state(variable: str) -> dict[str, str]:
    from aiki_kernel.config import api_key

    if os.environ.get(variable):
        state = "set in the environment"
    else:
        try:
            state = "set in keys.toml" if api_key(variable) else "not set"
        except ConfigError as error:
            state = str(error)
    return {"variable": variable, "state": state}


def _validated(file: dict[str, Any], key: str, value: str, context: Context) -> Any:
    """The value as its setting wants it. Text is tried first, then what TOML makes of it."""
    import tomllib

    from pydantic import ValidationError

    candidates: list[Any] = [value]
    with contextlib.suppress(tomllib.TOMLDecodeError):  # plain text need not be TOML
        candidates.append(tomllib.loads(f"value = {value}")["value"])
    first: ValidationError | None = None
    for candidate in candidates:
        tomlfile.put(file, key, candidate)
        try:
            settings = _build(file)
        except ValidationError as error:
            first = first or error
        else:
            return _at(settings, key, candidate)
    assert first is not None
    raise _explained(first, key, _names(context, "")) from None


def _settings_of(file: dict[str, Any], key: str) -> Settings:
    from pydantic import ValidationError

    try:
        return _build(file)
    except ValidationError as error:
        raise _explained(error, key, ()) from None


def _build(file: dict[str, Any]) -> Settings:
    """Settings as this file would give them. The environment may add, not overrule: a wrong
    value must not hide behind a variable of the moment."""
    from aiki_kernel.config import Settings

    return Settings(**file)


def _at(settings: Any, key: str, given: Any) -> Any:
    """The validated value at ``key``, in TOML's types."""
    for part in tomlfile.parts(key):
        settings = settings[part] if isinstance(settings, Mapping) else getattr(settings, part)
    if settings is None:
        raise UsageError(f"TOML has no word for nothing: use `config unset {key}`.")
    return list(settings) if isinstance(settings, tuple) else settings


def _explained(error: Any, key: str, known: Iterable[str]) -> ConfigError:
    first = error.errors()[0]
    where = tomlfile.joined([str(part) for part in first["loc"]])
    if first["type"] == "extra_forbidden":
        return ConfigError(_no_setting(key if key.startswith(where) else where, known))
    if where == key:
        return ConfigError(f"{key}: {first['msg']}. Nothing was changed.")
    return ConfigError(f"{key} cannot stand without {where} ({first['msg']}). Nothing was changed.")


def _no_setting(key: str, known: Iterable[str]) -> str:
    return f"There is no setting {key!r}{nearest(key, known)} See `config show`."


def _refuse_secret(key: str, value: str) -> None:
    """Keys are refused before anything could repeat them."""
    if _is_secret(value) or _is_secret(key) or _KEY_WORD.search(key):
        raise ConfigError(
            "That is a key, and keys do not belong in aiki.toml or in a notebook: run "
            "`aiki config key NAME` in a terminal (e.g. OPENAI_API_KEY) or set it in the "
            "environment. Nothing was written."
        )


def _is_secret(text: str) -> bool:
    from aiki_kernel.safety.secrets import find

    return bool(find(text))


def _asked(name: str) -> str:
    import getpass

    given = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not given.strip():
        raise UsageError("No key was given; nothing was written.")
    return given.strip()


def _written(context: Context, key: str, value: Any, text: str) -> Result:
    from aiki_kernel.config import Paths, load

    variable = f"AIKI_{key.upper().replace('.', '__')}"
    if variable in {name.upper() for name in os.environ}:
        text += f" It has no effect while {variable} is set in the environment."
    elif context.started:
        context.aiki.configure(load())
        text += " It counts from the next message on."
    if key.partition(".")[0] in ("memory", "server", "local") and Paths.default().socket.exists():
        text += " The daemon reads it when it starts: `aiki daemon stop`."
    return Result({"key": key, "value": value, "file": str(context.paths.toml)}, text)


def _shown(value: Any) -> str:
    import tomlkit

    return str(tomlkit.item(value).as_string())
