"""What may stand after ``--json``: a name of yours, a schema as JSON, or a file that holds one."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiki_kernel.errors import UsageError
from aiki_kernel.mind.form import Form, of

_MOST = 1_000_000  # bytes of a schema's file


def form(written: str, namespace: Mapping[str, Any], folder: Path | None = None) -> Form:
    """The form that ``written`` means. Raises :class:`UsageError`, one line."""
    written = written.strip()
    if written.startswith("{"):
        return of(_parsed(written, "the schema after --json"), "answer")
    if written in namespace:
        return of(namespace[written], written)
    if written.endswith(".json") or "/" in written:
        path = (folder or Path.cwd()) / Path(written).expanduser()
        try:
            with path.open("rb") as file:
                text = file.read(_MOST).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise UsageError(f"The schema {written} cannot be read ({why}): check it.") from None
        return of(_parsed(text, written), path.stem)
    near = difflib.get_close_matches(written, names(namespace), 1, 0.6)
    guess = f" (did you mean {near[0]}?)" if near else ""
    raise UsageError(
        f"%%aiki: there is no schema called {written}{guess}: define a pydantic model, a "
        "dataclass, a TypedDict or a JSON schema of that name in a %%python cell, or name a "
        ".json file."
    )


def names(namespace: Mapping[str, Any]) -> list[str]:
    """Names that may be schemas, for Tab: classes with fields, and dicts that look like one."""
    return sorted(
        name
        for name, value in list(namespace.items())
        if not name.startswith("_") and _is_schema(value)
    )


def _is_schema(value: Any) -> bool:
    if type(value) is dict:
        return any(key in value for key in ("$schema", "properties", "anyOf", "oneOf", "$ref")) or (
            value.get("type") in ("object", "array")
        )
    if isinstance(value, types.GenericAlias):
        return True
    if not isinstance(value, type):
        return False
    held = set().union(*(vars(base) for base in value.__mro__))
    return bool(
        held & {"__dataclass_fields__", "__pydantic_fields__", "model_fields", "__total__"}
    ) and value.__module__.partition(".")[0] not in ("pydantic", "pydantic_settings")


def _parsed(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{what} is no JSON ({error}): correct it.") from None
    if not isinstance(found, dict):
        raise UsageError(f"{what} is no JSON schema but {type(found).__name__}: give an object.")
    return found
