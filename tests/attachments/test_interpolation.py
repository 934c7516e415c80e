"""Braces in prose: what becomes a value, and everything that must pass untouched."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

from aiki_kernel.attachments.interpolation import LIMIT, interpolate


@dataclasses.dataclass
class Cat:
    name: str = "Mio"

    @property
    def bomb(self) -> str:
        raise AssertionError("a property of an unknown class was run")

    def meow(self) -> str:
        raise AssertionError("a method was run")


class Trap:
    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")

    def __getitem__(self, key: object) -> object:
        raise AssertionError("an unknown class was indexed")


class Frame:
    """Stands where a DataFrame stands: a property of a class that is plain data."""

    __module__ = "pandas.core"

    @property
    def shape(self) -> tuple[int, int]:
        return (3, 2)


Point = namedtuple("Point", "x y")

NAMES: dict[str, Any] = {
    "topic": "cats",
    "n": 3,
    "a": 1,
    "b": 2,
    "i": 9,
    "x": [10, 20],
    "d": {"key": "value", "in": {"deep": [7]}},
    "cat": Cat(),
    "trap": Trap(),
    "point": Point(1, 2),
    "array": np.zeros((2, 5)),
    "df": Frame(),
    "path": pathlib.PurePosixPath("/a/b.txt"),
    "day": datetime.date(2026, 1, 2),
    "f": len,
    "cls": Cat,
    "mod": np,
    "nothing": None,
    "braces": "{topic}",
}

VALUES = [
    ("Tell me about {topic}.", "Tell me about cats."),
    ("{topic} and {n}", "cats and 3"),
    ("{x[0]} {x[-1]}", "10 20"),
    ("{d[\"key\"]} {d['key']}", "value value"),
    ('{d["in"]["deep"][0]}', "7"),
    ("{cat.name}", "Mio"),
    ("{point.x}", "1"),
    ("{array.shape} {array.ndim}", "(2, 5) 2"),
    ("{df.shape}", "(3, 2)"),
    ("{path.name} {day.year}", "b.txt 2026"),
    ("{nothing}", "None"),
    ("{braces}", "{topic}"),
    ("it costs $5 for {topic} and $7 for {n}", "it costs $5 for cats and $7 for 3"),
    ("({topic})", "(cats)"),
    ("{unknown {topic}", "{unknown cats"),
    ("æøå {topic} 🐈", "æøå cats 🐈"),
]

UNTOUCHED = [
    "{unknown}",
    "{topic.upper}",
    "{topic.upper()}",
    "{x.shape}",
    "{x[9]}",
    '{d["no"]}',
    "{cat.bomb}",
    "{cat.meow}",
    "{cat.__class__}",
    "{cat.__dict__}",
    "{trap.anything}",
    '{trap["x"]}',
    "{f}",
    "{cls}",
    "{mod}",
    "{mod.pi}x"[:0] or "{f.__name__}",
    "{n!r}",
    "{n:.2f}",
    "{n + 1}",
    "{}",
    "{0}",
    "{ topic }",
    '{"a": 1}',
    '{"a": {n}}',
    "{'a': [1, 2]}",
    "{1, 2}",
    "{{topic}}",
    "{{ topic }}",
    "{% if n %}",
    "${topic}",
    "body { color: {n}; }",
    'print(f"{topic}")',
    "f'{n}'",
    'rf"{n}"',
    "`{topic}`",
    "``{topic} ` {n}``",
    "```python\nprint({topic})\n```",
    "~~~\n{topic}\n~~~",
    "```\n{topic}",
    r"\frac{a}{b}",
    r"\frac{a} {b}"[:8],
    r"\sqrt[3]{n}",
    r"\sum_{i}^{n}",
    r"x_{i} + y^{n}",
    r"$\frac{a}{b} + {n}$",
    r"$${n}$$",
    r"\[ {n} \]",
    r"\( {n} \)",
    r"\begin{cases}{n}\end{cases}",
    r"\mathbb{E}[{a}]"[:10],
    "lone { and lone }",
    "} {",
]


@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_values(text: str, expected: str) -> None:
    assert interpolate(text, NAMES) == expected


@pytest.mark.parametrize("text", UNTOUCHED)
def test_untouched(text: str) -> None:
    assert interpolate(text, NAMES) == text


def test_untouched_beside_values() -> None:
    text = 'Given {"a": 1} and $x_{i}$ and\n```\n{n}\n```\nsay {topic}'
    assert interpolate(text, NAMES) == text.replace("{topic}", "cats")


def test_a_long_value_is_cut_and_says_so() -> None:
    shown = interpolate("{big}", {"big": "y" * (LIMIT + 5)})
    assert shown == "y" * LIMIT + f"… ({LIMIT + 5:,} characters in all)"


def test_a_value_that_cannot_be_written_stays_as_typed() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError

    assert interpolate("{mute}", {"mute": Mute()}) == "{mute}"


def test_time_grows_with_the_text_only() -> None:
    text = "{" * 3000 + "}" * 2999
    assert interpolate(text, NAMES) == text
