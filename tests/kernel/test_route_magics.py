"""``%aiki_route`` in a real kernel: the table, pins, judgements, a consulted answer, Tab."""

from __future__ import annotations

import json
from pathlib import Path

from fault_server import FaultServer, Scenario
from notebook_driver import Notebook

CARDS = """
[routing]
smart = ["test/smart"]
cheap = ["test/cheap"]
standard = []
local = []
[models.cards."test/smart"]
tier = "smart"
input_price = 10.0
output_price = 50.0
[models.cards."test/cheap"]
tier = "cheap"
input_price = 1.0
output_price = 5.0
"""
INSIGHT = {
    "insight": "Copy the keys first.",
    "reasoning": "The iterator checks the size.",
    "confidence": 0.9,
    "plan": ["copy", "delete"],
    "applies_when": "a dict is changed in its own loop",
}


def test_routing_by_magics(environment: dict[str, str], server: FaultServer) -> None:
    home = Path(environment["AIKI_HOME"])
    toml = home / "aiki.toml"
    before = toml.read_text("utf-8") if toml.exists() else ""
    toml.write_text(before + CARDS, "utf-8")
    kernel = Notebook(env=environment)
    try:
        shown = kernel.run('%aiki_route explain "Prove it, and analyse the design"')
        (table,) = shown.of("display_data")
        assert "test/smart" in table["data"]["text/html"]
        assert not server.requests, "no model is called"
        assert "did you mean smart" in kernel.run("%aiki_route smrt").error["evalue"]
        assert {"smart", "consult", "explain"} <= set(kernel.complete("%aiki_route ")["matches"])
        kernel.run("%aiki_route cheap")
        assert kernel.run("hello there").metadata["model"] == "cheap"
        judged = kernel.run("%aiki_route bad").of("display_data")[0]["data"]["text/plain"]
        assert "counts as bad" in judged
        kernel.run("%aiki_route consult")
        ask = "Why may a dict not shrink in its own loop?"
        (seen,) = kernel.run(f'%aiki_session preview --json "{ask}"').of("display_data")
        preview = json.loads(seen["data"]["text/plain"])
        assert "test/smart gives an insight first: $" in preview["notes"][-1]
        server.script(Scenario(text=json.dumps(INSIGHT)), Scenario(text="Use list(d)."))
        ran = kernel.run(ask)
        assert ran.answer == "Use list(d)."
        assert ran.metadata["consult"]["insight"] == "Copy the keys first."
        assert "Consulted test/smart" in ran.metadata["notes"][0]
        assert 0 < ran.metadata["cost"]["usd"] <= preview["cost"]["most_usd"]
        assert preview["cost"]["expected_usd"] > preview["cost"]["most_usd"] / 20
        kernel.run("%aiki_route auto")
        assert kernel.run("hello").metadata["route"]["router"] == "rules"
    finally:
        kernel.close()
        toml.write_text(before, "utf-8")
