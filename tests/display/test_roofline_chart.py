"""The drawing of speeds under the memory's roof: told apart, and no number on another."""

from __future__ import annotations

import re
from typing import Any

from aiki_kernel.display.roofline_chart import roofline_chart

READ = 96.4e6


def row(engine: str, threads: int, work: str, speed: float, **more: float) -> dict[str, Any]:
    return {"engine": engine, "threads": threads, "work": work, "tokens_s": speed, **more}


def found() -> dict[str, Any]:
    places = {"prefill 128": READ / 128, "prefill 512": READ * 3 / 512, "decode after 64": READ}
    rows = []
    for threads in (1, 2):
        for work, size in places.items():
            rows.append(row("mojo", threads, work, 1e9 * threads / size, token_bytes=size))
            rows.append(row("llama.cpp", threads, work, 4e8 * threads / size))
    speeds = {"bandwidth_1_bytes_s": 3e10, "bandwidth_2_bytes_s": 5.8e10}
    return {"model": "some.gguf", "rows": rows, **speeds}


def test_every_measured_line_has_a_color_of_its_own() -> None:
    lines = [line for line in roofline_chart(found()).lines if not line.quiet]
    assert len(lines) == 4
    assert len({line.color for line in lines}) == 4


def test_numbers_of_the_axis_do_not_lie_on_each_other() -> None:
    svg = roofline_chart(found()).svg()
    texts = re.findall(r"<text x='([\d.]+)' y='([\d.]+)'[^>]*'middle' >([\d.]+)</text>", svg)
    assert [text for *_, text in texts] == ["0.565", "0.753", "96.4"]
    for index, (x, y, text) in enumerate(texts):
        for other_x, other_y, other in texts[:index]:
            apart = abs(float(x) - float(other_x)) > 3.5 * (len(text) + len(other))
            assert apart or y != other_y
