"""Chains, caps and what was saved, as a notebook shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import TEXT, FaultServer
from notebook_driver import Notebook

TOML = """
[endpoints.cheap]
base_url = "{url}"
api_key_env = "FAULT_API_KEY"
input_price = 1.0
output_price = 2.0
[endpoints.dear]
base_url = "{url}"
api_key_env = "FAULT_API_KEY"
input_price = 10.0
output_price = 20.0
[routing]
smart = ["dear/ok"]
cheap = ["cheap/503", "cheap/ok"]
"""


@pytest.fixture(scope="module")
def notebook(environment: dict[str, str], server: FaultServer) -> Iterator[Notebook]:
    given = {name: value for name, value in environment.items() if "ENDPOINTS" not in name}
    toml = Path(given["AIKI_HOME"]) / "aiki.toml"
    toml.write_text(TOML.format(url=server.base_url), "utf-8")
    kernel = Notebook(env={**given, "AIKI_MODEL": "cheap/503"})
    yield kernel
    kernel.close()


def document(notebook: Notebook, magic: str) -> dict[str, Any]:
    (shown,) = notebook.run(magic).of("display_data", "execute_result")
    return dict(json.loads(shown["data"]["text/plain"]))


def test_a_hop_and_what_was_saved_stand_under_the_answer(notebook: Notebook) -> None:
    ran = notebook.run("hello?", cell="hop")
    assert ran.answer == TEXT
    told = ran.metadata
    assert told["name"] == "cheap/ok"
    assert told["notes"][0] == "cheap/503 is failing (503): cheap/ok was asked instead."
    card = ran.of("update_display_data")[-1]["data"]["text/plain"]
    assert "1 hop" in card
    assert "saved" in card
    assert "cheap/ok was asked instead" in card


def test_cost_and_models_by_magic(notebook: Notebook) -> None:
    notebook.run("hello?")
    data = document(notebook, "%aiki_cost --json")
    assert data["spans"]["this session"]["hops"] >= 1
    assert data["spans"]["in all"]["smart_only_usd"] > data["spans"]["in all"]["cost_usd"]
    models = document(notebook, "%aiki_model list cheap --json")["models"]
    assert {row["name"] for row in models} >= {"cheap/503", "cheap/ok"}


def test_a_cap_set_in_a_cell_refuses_the_next_and_a_higher_one_lets_it_pass(
    notebook: Notebook, server: FaultServer
) -> None:
    notebook.run("%aiki_config set budget.cell_usd 0.0001")
    before = len(server.requests)
    ran = notebook.run("hello?", cell="refused")
    assert ran.status == "error"
    assert ran.error["ename"] == "BudgetError"
    assert "was not asked" in ran.error["evalue"]
    assert len(ran.error["traceback"]) == 1
    assert "\n" not in ran.error["evalue"]
    assert len(server.requests) == before
    notebook.run("%aiki_config set budget.cell_usd 1")
    assert notebook.run("hello?", cell="refused").answer == TEXT
