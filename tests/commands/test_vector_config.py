"""``vector.toml``: its programs run in VRL's own compiler, its parts fit together."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from aiki_kernel.commands.deployment import vector
from aiki_kernel.commands.deployment.place import Place

pyvrl = pytest.importorskip("pyvrl", reason="VRL HAS NO WHEEL HERE")

SAMPLE = {
    "schema_version": 1,
    "at": "2026-11-21T10:00:00+00:00",
    "status": "down",
    "probes": [
        {
            "probe": "disk",
            "title": "Disk",
            "state": "ok",
            "reason": "120 GB are free.",
            "value": 1.2e11,
            "unit": "bytes",
            "seconds": 0.001,
            "facts": {"path": "/"},
        },
        {
            "probe": "memory_daemon",
            "title": "Memory daemon",
            "state": "down",
            "reason": 'Nobody answers: "aiki daemon start".',
            "value": None,
            "unit": "",
            "seconds": 1.5,
            "facts": {},
        },
        {"probe": "mine"},
    ],
}


def config(home: Path) -> dict[str, Any]:
    place = Place(("/opt/my programs/aiki",), home)
    return tomllib.loads(vector.files(place)[0].text)


def said() -> list[dict[str, Any]]:
    events = pyvrl.Transform(vector.SPLIT).remap(SAMPLE)
    return [pyvrl.Transform(vector.SAY).remap(event) for event in events]


def test_each_probe_becomes_a_sentence_and_a_figure() -> None:
    disk, daemon, mine = said()
    assert disk["message"] == "Disk is ok: 120 GB are free."
    assert (disk["up"], disk["value"], disk["seconds"]) == (1, 1.2e11, 0.001)
    assert daemon["message"] == 'Memory daemon is down: Nobody answers: "aiki daemon start".'
    assert (daemon["service"], daemon["up"]) == ("memory_daemon", 0)
    assert mine["message"] == "mine is unknown"


def test_only_what_is_wrong_goes_to_the_address() -> None:
    wrong = pyvrl.Transform(f'. = {{"wrong": {vector.WRONG}}}')
    assert [wrong.remap(event)["wrong"] for event in said()] == [False, True, True]


def test_a_line_of_the_journal_has_the_same_shape() -> None:
    line = {"timestamp": "t", "message": "memory open", "_SYSTEMD_USER_UNIT": "aiki.service"}
    event = pyvrl.Transform(vector.JOURNAL).remap(line)
    assert (event["message"], event["service"]) == ("memory open", "aiki.service")


@pytest.mark.parametrize("name", ["home", 'a home of $mine "and" yours'])
def test_what_comes_in_goes_out_and_nothing_hangs_loose(tmp_path: Path, name: str) -> None:
    read = config(tmp_path / name)
    parts = {**read["sources"], **read["transforms"], **read["sinks"]}
    fed = {one for part in parts.values() for one in part.get("inputs", ())}
    assert fed == {*read["sources"], *read["transforms"]}
    assert {part["type"] for part in read["sinks"].values()} == {
        "file",
        "prometheus_exporter",
        "http",
    }
    assert {part["type"] for part in read["sources"].values()} == {"journald", "exec"}
    for part in read["transforms"].values():
        if part["type"] == "remap":
            pyvrl.Transform(part["source"])
    source = read["sources"]["aiki_samples"]
    assert source["command"] == ["/opt/my programs/aiki", "health", "--json", "--follow"]
    assert source["environment"]["AIKI_HOME"] == str(tmp_path / name).replace("$", "$$")


def test_the_figures_are_fields_of_the_events() -> None:
    metrics = config(Path("/home"))["transforms"]["aiki_figures"]["metrics"]
    for metric in metrics:
        assert all(isinstance(event[metric["field"]], int | float) for event in said()[:2])
        assert metric["tags"] == {"probe": "{{service}}"}
