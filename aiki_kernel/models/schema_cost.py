"""How long the shortest record of a JSON schema is, and what closing an open one may cost.

Counted in characters of the record, of which a token holds one at least, so the numbers are upper
bounds in tokens. A schema that requires itself has no finite record, which is found here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from aiki_kernel.errors import ModelError

_SOME = 8  # a number, or what is not known
_PATTERN = 32  # a text that must match something
_LARGEST = 4096


def closing_cost(schema: Mapping[str, Any]) -> int:
    """Characters that may be needed from any point to the end, for one level of recursion.

    Raises :class:`ModelError` when no record can ever end.
    """
    try:
        if math.isinf(_shortest(schema, schema, frozenset())):
            raise ModelError(
                "The JSON schema cannot be followed (it requires itself without end): make the "
                "part that refers back optional."
            )
        total = sum(_own(node, schema) for node in _nodes(schema))
    except RecursionError:
        raise ModelError("The JSON schema is nested too deep: make it flatter.") from None
    return min(int(total) + _SOME, _LARGEST)


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object inside a schema; more than its subschemas, which costs only a few tokens."""
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def _own(node: Mapping[str, Any], root: Mapping[str, Any]) -> float:
    """What this node alone may still need once it is open."""
    cost = 0.0
    for choice in _choices(node):
        cost = max(cost, len(json.dumps(choice, ensure_ascii=False)))
    if "pattern" in node or "format" in node:
        cost += _PATTERN
    cost += _length(node, "minLength")
    cost += _required(node, root, frozenset()) + _items(node, root, frozenset())
    kinds = ("properties", "items", "prefixItems", "type", "required")
    cost += 2 if any(name in node for name in kinds) else 0
    return cost if math.isfinite(cost) else _LARGEST


def _shortest(schema: Any, root: Mapping[str, Any], seen: frozenset[str]) -> float:
    """Characters of the shortest record; infinite when there is none that ends."""
    if not isinstance(schema, Mapping):
        return math.inf if schema is False else 1
    choices = _choices(schema)
    if choices:
        return min(len(json.dumps(choice, ensure_ascii=False)) for choice in choices)
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in seen:
            return math.inf
        return _shortest(_at(root, reference), root, seen | {reference})
    best = 0.0
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list) and schema[name]:
            best = max(best, min(_shortest(one, root, seen) for one in schema[name]))
    if isinstance(schema.get("allOf"), list):
        best = max([best, *(_shortest(one, root, seen) for one in schema["allOf"])])
    return max(best, _by_type(schema, root, seen))


def _by_type(schema: Mapping[str, Any], root: Mapping[str, Any], seen: frozenset[str]) -> float:
    stated = schema.get("type")
    kinds = stated if isinstance(stated, list) else [stated]
    costs = {
        "object": 2 + _required(schema, root, seen),
        "array": 2 + _items(schema, root, seen),
        "string": 2 + _length(schema, "minLength"),
        "boolean": 4,
        "null": 4,
    }
    return min((costs.get(kind, 1) for kind in kinds if isinstance(kind, str)), default=1)


def _required(schema: Mapping[str, Any], root: Mapping[str, Any], seen: frozenset[str]) -> float:
    names, known = schema.get("required"), schema.get("properties")
    if not isinstance(names, list):
        return 0
    known = known if isinstance(known, Mapping) else {}
    return sum(len(str(name)) + 6 + _shortest(known.get(name), root, seen) for name in names)


def _items(schema: Mapping[str, Any], root: Mapping[str, Any], seen: frozenset[str]) -> float:
    count = _length(schema, "minItems")
    return count * (2 + _shortest(schema.get("items"), root, seen)) if count else 0


def _length(schema: Mapping[str, Any], name: str) -> int:
    value = schema.get(name, 0)
    return min(value, _LARGEST) if isinstance(value, int) and value > 0 else 0


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    stated = schema.get("enum")
    return stated if isinstance(stated, list) else []


def _at(root: Any, reference: str) -> Any:
    """What a local pointer means; True, which is anything, for one that the engine must judge."""
    if not reference.startswith("#"):
        return True
    found = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return True
    return found
