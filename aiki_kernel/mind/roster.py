"""The personas there are: yours, the built-in ones, and those of installed packages.

A file in ``AIKI_HOME/personas`` wins over a built-in persona of its name, and that over an
entry point: an installed package can add personas, never replace one. A file that is broken
makes its own name unusable (the wider rights of a built-in namesake do not come back by a
slip of the pen) and leaves all others as they are. What was read is kept until the file's
time or size changes.

An entry point of the group ``aiki_kernel.personas`` carries the persona's name and leads to
the path of its TOML file, or to a function that returns one.
"""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from aiki_kernel.errors import ConfigError, UsageError
from aiki_kernel.mind.persona import DEFAULT, Persona
from aiki_kernel.mind.persona_file import NAME, read
from aiki_kernel.safety.permissions import NOBODY, Grant

GROUP = "aiki_kernel.personas"
_BUILT_IN = files("aiki_kernel.mind") / "personas"

_ADDRESS = re.compile(r"\s*(?P<marks>@{1,2})(?P<name>[^\W\d_][\w-]*)(?:[,:](?=\s)|(?=\s|$))")

Stamp = tuple[int, int]


@dataclass(frozen=True)
class Broken:
    """A persona that cannot be used: its file and the line that says why."""

    name: str
    source: str
    problem: str


@dataclass(frozen=True)
class Address:
    """A message and whom it names. ``persona`` is "" where nobody is named; ``note`` is a
    line for the user about a name that was nearly one."""

    text: str
    persona: str = ""
    note: str = ""

    def checked(self) -> Address:
        """The same. Raises :class:`UsageError` where somebody is named and told nothing."""
        if self.persona and not self.text.strip():
            raise UsageError(
                f"There is no message for {self.persona}: write one behind @{self.persona}; "
                f"%aiki_persona {self.persona} lets {self.persona} answer from now on."
            )
        return self


class Roster:
    """Finds personas by name. Thread-safe; a look-up costs one ``stat`` once it was read."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "personas"
        self._lock = threading.Lock()
        self._read: dict[str, tuple[Stamp | None, Persona | ConfigError]] = {}

    def get(self, name: str) -> Persona:
        """The persona called ``name``.

        Raises :class:`UsageError` for a name that nobody has, and :class:`ConfigError` for a
        file that is broken; each with one line.
        """
        stamp = _stamp(self.folder / f"{name}.toml")
        known = self._read.get(name)
        if known is None or known[0] != stamp:
            known = (stamp, self._load(name, stamp))
            with self._lock:
                self._read[name] = known
        if isinstance(known[1], ConfigError):
            raise known[1]
        return known[1]

    def grant(self, name: str) -> Grant:
        """What ``name`` may do with the memory; nothing, where there is no such persona."""
        try:
            persona = self.get(name)
        except (UsageError, ConfigError):
            return NOBODY
        return persona.grant()

    def names(self) -> list[str]:
        """All names, broken ones too: yours and the built-in ones, then those of packages."""
        own = [path.stem for path in self._own_files()]
        return list(dict.fromkeys([*sorted({*own, *_built_in()}), *sorted(_entry_points())]))

    def all(self) -> list[Persona | Broken]:
        """Every persona, or why it cannot be used; ``default`` first."""
        found: list[Persona | Broken] = []
        for name in sorted(self.names(), key=lambda name: (name != DEFAULT, name)):
            try:
                found.append(self.get(name))
            except ConfigError as error:
                found.append(Broken(name, str(self.folder / f"{name}.toml"), str(error)))
        return found

    def has(self, name: str) -> bool:
        """Whether somebody is called so; packages are looked into only when nobody else is."""
        return bool(NAME.fullmatch(name)) and (
            name in _built_in()
            or _stamp(self.folder / f"{name}.toml") is not None
            or name in _entry_points()
        )

    def addressed(self, text: str) -> Address:
        """Take ``@name`` off the beginning of a message.

        Only the name of a persona counts, in any case, with a comma or colon behind it or not,
        and only when a blank follows: ``@someone@example.com`` and ``@property`` are text.
        ``@@name`` writes ``@name``. A name that is nearly one is left in the text and noted.
        """
        match = _ADDRESS.match(text)
        if match is None:
            return Address(text)
        name = match["name"].lower()
        if match["marks"] == "@@":
            return Address(text.replace("@@", "@", 1) if self.has(name) else text)
        if self.has(name):
            return Address(text[match.end() :].lstrip(" \t").lstrip("\r\n"), name)
        close = difflib.get_close_matches(name, self.names(), 1, cutoff=0.75)
        if not close:
            return Address(text)
        return Address(text, note=f"There is no persona {name!r}: did you mean @{close[0]}?")

    def unknown(self, name: str) -> UsageError:
        """The line for a name that nobody has."""
        close = difflib.get_close_matches(name.lower(), self.names(), 1)
        guess = f"did you mean {close[0]}?" if close else f"there are {', '.join(self.names())}."
        return UsageError(f"There is no persona {name!r}: {guess}")

    def text(self, name: str) -> str:
        """The file of ``name`` as it is. Raises as :meth:`get` does, but for its contents."""
        source, _ = self._source(name)
        return source.read_text("utf-8")

    def _load(self, name: str, stamp: Stamp | None) -> Persona | ConfigError:
        source, label = self._source(name)
        try:
            return read(source.read_text("utf-8"), name, label)
        except ConfigError as error:
            return error
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            return ConfigError(f"{label} cannot be read ({why}): correct it or remove it.")

    def _source(self, name: str) -> tuple[Traversable, str]:
        own = self.folder / f"{name}.toml"
        if not NAME.fullmatch(name):
            raise self.unknown(name)
        if _stamp(own) is not None:
            return own, str(own)
        if name in _built_in():
            return _BUILT_IN / f"{name}.toml", f"built-in {name}.toml"
        if name in _entry_points():
            return _of_package(_entry_points()[name])
        raise self.unknown(name)

    def _own_files(self) -> Iterable[Path]:
        try:
            return sorted(path for path in self.folder.glob("*.toml") if NAME.fullmatch(path.stem))
        except OSError:
            return []


def _stamp(path: Path) -> Stamp | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size


@cache
def _built_in() -> frozenset[str]:
    return frozenset(
        one.name.removesuffix(".toml") for one in _BUILT_IN.iterdir() if one.name.endswith(".toml")
    )


@cache
def _entry_points() -> dict[str, EntryPoint]:
    """Those of packages, read once a process: what is installed does not change meanwhile."""
    return {one.name: one for one in entry_points(group=GROUP) if NAME.fullmatch(one.name)}


def _of_package(one: EntryPoint) -> tuple[Traversable, str]:
    label = f"persona {one.name} of {one.dist.name if one.dist else one.value}"
    try:
        found = one.load()
        made: Callable[[], object] | None = found if callable(found) else None
        found = made() if made is not None else found
    except Exception as error:  # a stranger's package may fail in any way
        raise ConfigError(f"{label} cannot be loaded ({type(error).__name__}: {error}).") from None
    if isinstance(found, str):
        return Path(found), label
    if isinstance(found, Path | Traversable):
        return found, label
    raise ConfigError(f"{label} leads to {type(found).__name__}, not to the path of a TOML file.")
