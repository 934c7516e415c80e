"""The form that an answer is to have: a JSON schema, and the Python object that comes of it.

A form is made of a pydantic model, a dataclass, a TypedDict or any other annotation (all read by
pydantic, which gives an instance of it), or of a JSON schema as a dict (read by ``jsonschema``,
which gives plain data). What is asked of the model is a little narrower than what is accepted:
no properties beyond those that are named, and always an object, because public endpoints take
nothing else; a list or a number travels as its only property ``value``.
"""

from __future__ import annotations

import json
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiki_kernel.errors import ModelError, UsageError

_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n[ \t]*```", re.DOTALL)
_LOOSE = ("allOf", "if", "not", "dependentSchemas", "unevaluatedProperties", "patternProperties")
_LONGEST = 300
# pydantic reads a function as the form of its arguments; nobody means that.
_CODE = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_NO_FORM = (str, bytes, int, float, list, tuple, set, *_CODE)


class FormError(ModelError):
    """An answer does not have the form that was asked for. ``problem`` says what is wrong."""

    kind = "form"

    def __init__(self, message: str, problem: str = "") -> None:
        super().__init__(message, stage="form", cause="mistake")
        self.problem = problem


@dataclass(frozen=True)
class Form:
    """A named form. ``made`` turns JSON data into the object, raising ValueError with one line."""

    name: str
    schema: Mapping[str, Any]
    made: Callable[[Any], Any]

    @property
    def _wrapped(self) -> bool:
        return self.schema.get("type") != "object" and "properties" not in self.schema

    @property
    def sent(self) -> dict[str, Any]:
        """The schema as it is asked for."""
        schema = dict(self.schema)
        if self._wrapped:
            held = [key for key in schema if key in ("$defs", "definitions")]
            definitions = {key: schema.pop(key) for key in held}
            schema.pop("$schema", None)
            properties = {"value": schema}
            schema = {"type": "object", "properties": properties, "required": ["value"]}
            schema.update(definitions)
        if any(key in _keys(schema) for key in _LOOSE):
            return schema
        closed: dict[str, Any] = _closed(schema)
        return closed

    @property
    def response_format(self) -> dict[str, Any]:
        """OpenAI's field of that name; strict where its rules for that are kept."""
        schema = self.sent
        loose = any(key in _keys(schema) for key in (*_LOOSE, "default"))
        strict = not loose and _all_asked(schema)
        inside = {"name": self.name, "strict": strict, "schema": schema}
        return {"type": "json_schema", "json_schema": inside}

    @property
    def instruction(self) -> str:
        """The same in words, for models that are not held to a schema, and those that are."""
        schema = json.dumps(self.sent, ensure_ascii=False)
        return f"Answer with one JSON object of this JSON schema and with nothing else:\n{schema}"

    def read(self, text: str) -> tuple[Any, Any]:
        """The JSON data of an answer, and the object. Raises ValueError, one line."""
        data = _json_of(text)
        if self._wrapped and isinstance(data, dict) and set(data) == {"value"}:
            data = data["value"]
        return data, self.made(data)


def of(value: Any, name: str = "") -> Form:
    """The form that ``value`` means. Raises :class:`UsageError`, one line."""
    if isinstance(value, Form):
        return value
    name = re.sub(r"[^\w-]+", "_", name or getattr(value, "__name__", "") or "answer")[:64]
    return _of_schema(dict(value), name) if isinstance(value, Mapping) else _of_type(value, name)


def _of_type(value: Any, name: str) -> Form:
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    if isinstance(value, _NO_FORM) or value is None:
        raise UsageError(_no_schema(name, value))
    try:
        adapter: Any = TypeAdapter(_readable(value))
        schema = adapter.json_schema()
    except (PydanticUserError, TypeError, NameError, AttributeError) as error:
        said = str(error).strip().splitlines()
        why = f" ({said[0]})" if said else ""
        raise UsageError(_no_schema(name, value).rstrip(".") + why + ".") from None

    def made(data: Any) -> Any:
        try:
            return adapter.validate_json(json.dumps(data))
        except ValidationError as error:
            raise ValueError(_told(error)) from None
        except Exception as error:  # a validator of the user's own
            raise ValueError(f"{type(error).__name__}: {error}"[:_LONGEST]) from None

    return Form(name, schema, made)


def _readable(value: Any) -> Any:
    """``value`` as pydantic reads it: before Python 3.12 a TypedDict of ``typing`` lacks what it
    needs, and is made anew as one of ``typing_extensions``."""
    if sys.version_info >= (3, 12) or not typing.is_typeddict(value):
        return value
    import typing_extensions as extended

    marks = (extended.Required, extended.NotRequired)
    fields: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(value, include_extras=True).items():
        plain = typing.get_args(hint)[0] if typing.get_origin(hint) in marks else hint
        fields[name] = plain if name in value.__required_keys__ else extended.NotRequired[plain]
    return extended.TypedDict(value.__name__, fields)  # type: ignore[operator]


def _of_schema(schema: dict[str, Any], name: str) -> Form:
    from jsonschema import SchemaError
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = validator_for(schema)
    try:
        json.dumps(schema)
        kind.check_schema(schema)
    except (SchemaError, TypeError, ValueError) as error:
        said = getattr(error, "message", str(error)).splitlines()[0]
        raise UsageError(f"{name} is not a JSON schema ({said[:200]}): correct it.") from None
    # A registry of our own: the usual one would fetch what a reference names.
    checker = kind(schema, registry=Registry())

    def made(data: Any) -> Any:
        try:
            wrong = best_match(checker.iter_errors(data))
        except Unresolvable as error:
            raise ValueError(f"the schema refers to {error.ref}, which it does not hold") from None
        if wrong is not None:
            where = ".".join(str(part) for part in wrong.absolute_path)
            raise ValueError(f"{where}: {wrong.message}"[:_LONGEST] if where else wrong.message)
        return data

    return Form(name, schema, made)


def _no_schema(name: str, value: Any) -> str:
    return (
        f"{name} is {type(value).__name__}, no schema: give a pydantic model, a dataclass, a "
        "TypedDict, or a JSON schema as a dict or a file."
    )


def _told(error: Any) -> str:
    first, *rest = error.errors(include_url=False, include_input=False)
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(rest)} more)" if rest else ""
    return f"{where}: {first['msg']}{more}"[:_LONGEST].lstrip(": ")


def _json_of(text: str) -> Any:
    """The first JSON value of an answer: all of it, within a fence, or after some words."""
    fenced = _FENCED.search(text)
    for candidate in (text.strip(), fenced[1].strip() if fenced else ""):
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    start = min((at for sign in "{[" if (at := text.find(sign)) >= 0), default=-1)
    if start < 0:
        raise ValueError("there is no JSON in it")
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except ValueError as error:
        raise ValueError(f"it is no JSON ({error})") from None


def _keys(schema: Any) -> set[str]:
    """All keywords that occur anywhere, names of properties not among them."""
    if isinstance(schema, list):
        return set().union(*(_keys(one) for one in schema))
    if not isinstance(schema, Mapping):
        return set()
    found = set(schema)
    for key, value in schema.items():
        named = key in ("properties", "$defs", "definitions") and isinstance(value, Mapping)
        found |= _keys(list(value.values())) if named else set()
        found |= _keys(value) if not named and key not in ("enum", "const", "default") else set()
    return found


def _closed(schema: Any) -> Any:
    """The same, every object closed to properties that it does not name."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            out[key] = {name: _closed(one) for name, one in value.items()}
        else:
            out[key] = value if key in ("enum", "const", "default") else _closed(value)
    if out.get("properties") and "additionalProperties" not in out:
        out["additionalProperties"] = False
    return out


def _all_asked(schema: Any) -> bool:
    """Whether every object names all its properties as required and takes no others."""
    if isinstance(schema, list):
        return all(_all_asked(one) for one in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        named = set(schema.get("properties", {}))
        if schema.get("additionalProperties") is not False:
            return False
        if named != set(schema.get("required", ())):
            return False
    inner = [value for key, value in schema.items() if key not in ("enum", "const", "properties")]
    return _all_asked(inner) and _all_asked(list(schema.get("properties", {}).values()))
