"""Attachments, previews and forms outside of a notebook: the terminal, Python, this machine."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import TypedDict

import pytest
from fault_server import FaultServer, Scenario

from aiki_kernel.aiki import Aiki
from aiki_kernel.commands import registry
from aiki_kernel.commands.chat import completions
from aiki_kernel.commands.command import Context
from aiki_kernel.config import load
from aiki_kernel.errors import AikiError
from aiki_kernel.mind.form import FormError, of
from aiki_kernel.models.weights import for_tests

TOML = """daemon = "off"
model = "fault/ok"
[endpoints.fault]
base_url = "{url}"
models = ["ok"]
input_price = 1.0
output_price = 2.0
[memory]
user_id = "u"
embedder = "wordllama"
recall_k = 0
[timeouts]
retries = 0
[budget]
session_usd = 0.000001
"""


@dataclasses.dataclass
class Person:
    name: str
    age: int


class Place(TypedDict):
    town: str


def test_the_terminal_previews_and_attaches(
    aiki_home: Path,
    fault_server: FaultServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = TOML.format(url=fault_server.base_url)
    (aiki_home / "aiki.toml").write_text(text, "utf-8")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("a.csv").write_text("n\n1\n2\n")
    context = Context("cli")
    ran = registry.run(["session", "preview", "--json", "What is in {open:a.csv}?"], context)
    found = json.loads(ran.text)
    assert found["attached"][0]["title"] == "CSV file, 2 rows x 1 column"
    assert "n | int | 0 | min 1" in found["messages"][-1]["text"]
    assert found["cost"]["most_usd"] == pytest.approx((found["tokens"] + 2 * 1024) / 1e6)
    assert "budget.session_usd leaves" in found["refused"]
    with pytest.raises(AikiError, match=r"There is no file b\.csv"):
        registry.run(["session", "preview", "{open:b.csv}"], context)
    assert not fault_server.requests
    assert not aiki_home.joinpath("ledger.sqlite").exists()
    context.close()

    (aiki_home / "aiki.toml").write_text(text.partition("[budget]")[0], "utf-8")
    context = Context("cli")
    monkeypatch.setattr("sys.stdin", io.StringIO("see {open:a.csv}"))
    registry.run(["chat", "-"], context)
    assert fault_server.requests[-1].body["messages"][-1]["content"] == "see {open:a.csv}"
    registry.run(["chat", "see {open:a.csv}"], context)
    assert "n | int" in fault_server.requests[-1].body["messages"][-1]["content"]
    assert "The quick brown fox" in capsys.readouterr().out
    assert completions(context, "see {open:a") == (["a.csv"], "a")
    context.close()


def test_python_gets_an_instance(aiki_home: Path, fault_server: FaultServer) -> None:
    text = TOML.format(url=fault_server.base_url).partition("[budget]")[0]
    (aiki_home / "aiki.toml").write_text(text, "utf-8")
    fault_server.script(
        Scenario(text='{"name": "Ola", "age": 3}'),
        Scenario(text='{"town": "Oslo"}'),
        Scenario(text='{"town'),
        Scenario(text="[1"),
        Scenario(text='{"town": "O', finish_reason="length"),
    )
    with Aiki(load()) as mind:
        assert mind.ask("Who?", schema=Person).object == Person("Ola", 3)
        reply = mind.ask("Where?", schema=Place)
        assert reply.object == {"town": "Oslo"}
        assert reply.metadata["form"] == {"name": "Place", "type": "dict"}
        with pytest.raises(FormError, match="gave no Place in two tries"):
            mind.ask("Where now?", schema=Place)
        with pytest.raises(FormError, match="max-tokens"):
            mind.ask("Where then?", schema=Place)
        rows = list(mind.ledger.rows())
        assert [row.stage for row in reversed(rows)] == ["generate", "generate", "form"] + [
            "generate"
        ] * 2
        assert [one.question for one in mind.conversation.exchanges][-1] == "Where then?"


def test_forms_travel_closed_and_strict_where_that_holds() -> None:
    listed = of(list[Person], "people")
    sent = listed.response_format["json_schema"]
    assert sent["strict"] is True
    assert sent["schema"]["properties"]["value"]["items"] == {"$ref": "#/$defs/Person"}
    assert listed.read('{"value": [{"name": "a", "age": 1}]}')[1] == [Person("a", 1)]
    loose = {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]}
    assert of(loose).response_format["json_schema"]["strict"] is False
    assert of(loose).sent["additionalProperties"] is False
    remote = of({"$ref": "http://127.0.0.1:1/schema.json"})
    with pytest.raises(ValueError, match="which it does not hold"):
        remote.read("{}")


@pytest.mark.slow
def test_a_model_of_this_machine_is_held_to_the_form(aiki_home: Path) -> None:
    """The grammar's mask: even a very small model gives a whole object of the form."""
    weights = for_tests()
    (aiki_home / "models").mkdir()
    shutil.copyfile(weights, aiki_home / "models" / weights.name)
    text = 'daemon = "off"\nmodel = "local/smollm2-135m"\n[memory]\nrecall_k = 0\n'
    (aiki_home / "aiki.toml").write_text(text, "utf-8")
    with Aiki(load()) as mind:
        short = {"max_tokens": 60, "temperature": 0.0}
        reply = mind.ask("Ola is 30 years old.", schema=Person, parameters=short)
        assert isinstance(reply.object, Person)
        assert isinstance(reply.object.age, int)
        assert reply.cost_usd == 0.0
