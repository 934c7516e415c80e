"""TOML files of the user, changed without disturbing what the owner wrote in them."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import ConfigError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_PART = re.compile(r'"([^"]*)"|([^."]+)')
_SETTINGS = ("aiki.toml", "keys.toml")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def read(path: Path) -> TOMLDocument:
    """The document with its comments and order; empty where there is no file."""
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        return tomlkit.parse(path.read_text("utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except (ParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML ({error}): correct that line.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from None


def parts(key: str) -> list[str]:
    """The names of a dotted key. A name with dots stands in quotes, as TOML has it; where a
    shell took those away, a model's name (it has a slash) ends before the last dot."""
    names = [quoted or bare for quoted, bare in _PART.findall(key)]
    if '"' not in key and any("/" in name for name in names[:-1]):
        first = next(place for place, name in enumerate(names) if "/" in name)
        names[first:-1] = [".".join(names[first:-1])]
    return names


def joined(names: Sequence[str]) -> str:
    """A dotted key of these names, quoted where TOML wants it."""
    return ".".join(name if _BARE.fullmatch(name) else f'"{name}"' for name in names)


def put(document: MutableMapping[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, with tables on the way where there are none."""
    import tomlkit

    *tables, last = parts(key)
    for name in tables:
        if name not in document:
            document[name] = tomlkit.table()
        document = document[name]
        if not isinstance(document, MutableMapping):
            raise ConfigError(f"{name!r} of {key!r} is a value, not a table.")
    document[last] = value


def take(document: MutableMapping[str, Any], key: str) -> bool:
    """Remove a dotted key and the tables that it leaves empty; False when it was not there."""
    name, *others = parts(key)
    rest = joined(others)
    if name not in document:
        return False
    if not rest:
        del document[name]
        return True
    inner = document[name]
    if not isinstance(inner, MutableMapping) or not take(inner, rest):
        return False
    if not inner:
        del document[name]
    return True


def write(path: Path, text: str, *, mode: int | None = None) -> None:
    """Replace the file in one step: a reader sees the old text or the new, never half.

    ``mode`` None keeps the file's permissions. A link is followed, not replaced.
    """
    home = path.parent
    path = path.resolve()
    before = _leaves(path) if path.name in _SETTINGS else None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode is None:
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        # mkstemp opens with 0600: a key is at no moment readable by others.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with _removed_on_failure(name):
            with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(mode)
            Path(name).replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}).") from None
    if before is not None:
        _audit(home, path, before)


def _audit(home: Path, path: Path, before: Mapping[str, Any]) -> None:
    """Names of settings, never what they were set to."""
    from aiki_kernel.safety.audit import audit_of

    after = _leaves(path)
    changed = sorted(name for name in after if after[name] != before.get(name))
    removed = sorted(before.keys() - after.keys())
    audit_of(home).record("config.change", file=path.name, set=changed, removed=removed)


def _leaves(path: Path) -> dict[str, Any]:
    import tomllib

    def walk(table: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, value in table.items():
            if isinstance(value, Mapping):
                yield from walk(value, (*names, name))
            else:
                yield joined((*names, name)), value

    try:
        return dict(walk(tomllib.loads(path.read_text("utf-8")), ()))
    except (OSError, ValueError):
        return {}


@contextlib.contextmanager
def _removed_on_failure(name: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
