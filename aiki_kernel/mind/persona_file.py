"""A persona as a TOML file, read strictly: an unknown key or a value out of range refuses it.

    name = "kari"                     # as the file is called
    title = "Kari from the archive"
    system = "You are Kari ..."
    language = "en"                   # of title and system; a table [no] (or [en]) has the other
    temperature = 0.3                 # unset: generation.temperature
    context_tokens = 4000             # unset: generation.context_tokens
    models = ["local", "openai/*"]    # tiers and patterns of names; unset: any
    tools = ["memory.list"]           # beside recall and remembering; unset: none
    privileged = false                # true: reads only what the user said (min_trust)
    min_trust = "model"               # import < tool < sensor < model < user
    [traits]                          # 0..1, see traits.py
    formality = 0.6
    [memory]                          # own, shared, all, or names; unset: nothing
    read = ["own", "shared"]
    write = ["own"]

Whoever may write beyond what is its own or shared has to be ``privileged``: text that came
from outside must not steer a hand that reaches everywhere.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from aiki_kernel.errors import ConfigError
from aiki_kernel.mind.language import Language
from aiki_kernel.mind.persona import AllowedModels, Persona, Voice
from aiki_kernel.mind.traits import TRAITS
from aiki_kernel.models.cards import TIERS
from aiki_kernel.safety.permissions import OWN, SCOPES, SHARED, SHARED_WORD, TOOLS, Rights

NAME = re.compile(r"[^\W\d_][\w-]{0,31}")
RESERVED = (*SCOPES, "list", "new", "show", "use", "user")
"""Words that mean something else where a persona's name may stand."""

_LEAST_PRIVILEGED = ("model", "user")
_MOST_TEXT = 8000


def _name(value: str) -> str:
    if not NAME.fullmatch(value) or value != value.lower():
        raise ValueError(f"{value!r} is no name: small letters, digits, - and _, at most 32")
    if value in RESERVED:
        raise ValueError(f"{value!r} means something else: choose another name")
    return value


def _owner(value: str) -> str:
    return value if value in SCOPES else _name(value)


def _tool(value: str) -> str:
    if value not in TOOLS:
        raise ValueError(f"there is no tool {value!r}{_nearest(value, TOOLS)}")
    return value


def _pattern(value: str) -> str:
    if value not in TIERS and "/" not in value and "*" not in value:
        raise ValueError(f"{value!r} is neither a tier nor ENDPOINT/MODEL{_nearest(value, TIERS)}")
    return value


Name = Annotated[str, AfterValidator(_name)]
Owner = Annotated[str, AfterValidator(_owner)]
Tool = Annotated[str, AfterValidator(_tool)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Words = Annotated[str, Field(min_length=1, max_length=_MOST_TEXT)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Voice(_Table):
    title: Annotated[str, Field(min_length=1, max_length=80)]
    system: Words


class _Traits(_Table):
    formality: float | None = Field(None, ge=0, le=1)
    helpfulness: float | None = Field(None, ge=0, le=1)
    detail: float | None = Field(None, ge=0, le=1)
    technical_depth: float | None = Field(None, ge=0, le=1)
    focus: float | None = Field(None, ge=0, le=1)


class _Memory(_Table):
    read: list[Owner] = []
    write: list[Owner] = []


class _File(_Voice):
    name: Name
    language: Literal["en", "no"] = "en"
    temperature: float | None = Field(None, ge=0, le=2)
    context_tokens: int | None = Field(None, ge=200)
    models: list[Pattern] = []
    tools: list[Tool] = []
    privileged: bool = False
    min_trust: Literal["import", "tool", "sensor", "model", "user"] | None = None
    traits: _Traits = _Traits()
    memory: _Memory = _Memory()
    en: _Voice | None = None
    no: _Voice | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> _File:
        if getattr(self, self.language) is not None:
            raise ValueError(
                f"[{self.language}] says again what title and system say: "
                f"remove it, or set language"
            )
        beyond = [one for one in self.memory.write if one not in (OWN, SHARED_WORD, SHARED)]
        others = [one for one in beyond if one != self.name]
        if others and not self.privileged:
            raise ValueError(
                f"memory.write names {', '.join(others)}: only a persona with "
                "privileged = true may write there"
            )
        if self.privileged and self.min_trust not in (None, *_LEAST_PRIVILEGED):
            raise ValueError("a privileged persona needs min_trust model or user")
        return self


def read(text: str, name: str, source: str) -> Persona:
    """The persona in ``text``, which is the file of ``name`` at ``source``.

    Raises :class:`ConfigError`: one line with the file, the key and what to do.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML ({error}): correct that line.") from None
    try:
        file = _File.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_fault(error, data)}") from None
    if file.name != name:
        raise ConfigError(
            f"{source}: name is {file.name!r} but the file is called {name!r}: make them the same."
        )
    return _persona(file, source)


def _persona(file: _File, source: str) -> Persona:
    voices: dict[Language, Voice] = {file.language: Voice(file.title, file.system.strip())}
    for language, other in (("en", file.en), ("no", file.no)):
        if other is not None:
            spoken: Language = "en" if language == "en" else "no"
            voices[spoken] = Voice(other.title, other.system.strip())
    least = file.min_trust or ("user" if file.privileged else "")
    return Persona(
        name=file.name,
        voices=voices,
        temperature=file.temperature,
        context_tokens=file.context_tokens,
        traits={
            trait: value for trait in TRAITS if (value := getattr(file.traits, trait)) is not None
        },
        models=AllowedModels(tuple(file.models)),
        rights=Rights(tuple(file.memory.read), tuple(file.memory.write), tuple(file.tools), least),
        privileged=file.privileged,
        source=source,
    )


_KEYS: Mapping[tuple[str, ...], type[_Table]] = {
    (): _File,
    ("traits",): _Traits,
    ("memory",): _Memory,
    ("en",): _Voice,
    ("no",): _Voice,
}


def _fault(error: ValidationError, data: Any) -> str:
    """The first fault as the rest of a line: the key, what is wrong, what to do."""
    first = error.errors()[0]
    where = tuple(str(part) for part in first["loc"])
    key = ".".join(part for part in where if not part.isdigit())
    if first["type"] == "extra_forbidden":
        known = _KEYS.get(where[:-1], _File).model_fields
        return f"there is no key {key!r}{_nearest(where[-1], known)} Remove or correct it."
    if first["type"] == "missing":
        return f"{key!r} is missing: add it."
    if first["type"] == "value_error":
        told = str(first["ctx"]["error"]).rstrip(".?")
        return f"{key}: {told}." if key else f"{told}."
    told = first["msg"].replace("Input should be", "it should be")
    return f"{key!r} is wrong ({told}): correct it."


def _nearest(word: str, known: Iterable[str]) -> str:
    """``: did you mean that?``, or the words there are."""
    names = list(known)
    close = difflib.get_close_matches(word, names, 1)
    return f": did you mean {close[0]}?" if close else f": known are {', '.join(names)}."


def renamed(text: str, name: str, source: str) -> str:
    """The file ``text`` under another name, comments and all.

    Raises :class:`ConfigError` when ``name`` is no name for a persona.
    """
    fresh, count = re.subn(r"(?m)^name[ \t]*=.*$", lambda _: f'name = "{name}"', text, count=1)
    if not count:
        raise ConfigError(f"{source}: there is no line that names the persona: add one.")
    read(fresh, name, source)
    return fresh
