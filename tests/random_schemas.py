"""Twenty JSON schemas, made at random from what people write, and always the same twenty."""

from __future__ import annotations

import random
from typing import Any

WORDS = ["name", "år", "city", "e-mail", "größe", "size", "note", "kind", "ok", "日付"]


def schemas(count: int = 20, seed: int = 4) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    made = [_object(chance, 0) for _ in range(count - 3)]
    tree = {
        "type": "object",
        "properties": {
            "value": {"type": "integer", "minimum": 0, "maximum": 9},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        },
        "required": ["value", "next"],
        "additionalProperties": False,
    }
    made.append({"$defs": {"node": tree}, "$ref": "#/$defs/node"})
    made.append({"type": "array", "items": _scalar(chance), "minItems": 2, "maxItems": 4})
    made.append(
        {
            "type": "object",
            "properties": {"story": {"type": "string"}, "list": {"type": "array"}},
            "required": ["story", "list"],
            "additionalProperties": False,
        }
    )
    return made


def _scalar(chance: random.Random) -> dict[str, Any]:
    low = chance.randrange(-50, 50)
    return chance.choice(
        [
            {"type": "string", "maxLength": chance.randrange(1, 12)},
            {"type": "string", "minLength": 2, "maxLength": 9},
            {"type": "integer", "minimum": low, "maximum": low + chance.randrange(1, 500)},
            {"type": "number", "minimum": 0, "maximum": 1},
            {"type": "boolean"},
            {"enum": ["rød", "grün", "青", 7, None, True]},
            {"const": {"kind": "fast", "n": [1, 2]}},
            {"type": ["string", "null"], "maxLength": 5},
            {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"const": "none"}]},
            {"type": "string", "pattern": "^[A-Z]{2}[0-9]{3}$"},
        ]
    )


def _object(chance: random.Random, depth: int) -> dict[str, Any]:
    names = chance.sample(WORDS, chance.randrange(1, 4))
    properties: dict[str, Any] = {}
    for name in names:
        pick = chance.random()
        if pick < 0.2 and depth < 2:
            properties[name] = _object(chance, depth + 1)
        elif pick < 0.45:
            low = chance.randrange(0, 2)
            properties[name] = {
                "type": "array",
                "items": _scalar(chance),
                "minItems": low,
                "maxItems": low + chance.randrange(1, 3),
            }
        else:
            properties[name] = _scalar(chance)
    return {
        "type": "object",
        "properties": properties,
        "required": chance.sample(names, chance.randrange(0, len(names) + 1)),
        "additionalProperties": False,
    }
