"""Frames, figures and files in a message, its preview, and answers in a form: a real kernel."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, Scenario, failing
from notebook_driver import Notebook, Ran

from aiki_kernel.models.image import header

pytest.importorskip("pandas")
pytest.importorskip("matplotlib")

SETUP = """
import os
os.chdir({folder!r})
import pandas as pd
import matplotlib
matplotlib.use("Agg")
from matplotlib.figure import Figure
from pydantic import BaseModel, field_validator

df = pd.DataFrame({{"city": ["Oslo", "Bergen"] * 50, "rain": range(100)}})
fig = Figure(figsize=(2, 1), dpi=100)
axes = fig.subplots()
axes.plot([1, 2, 3], label="rain")
axes.set_title("Weather")

class Person(BaseModel):
    name: str
    age: int

shape = {{"type": "object", "properties": {{"n": {{"type": "integer"}}}}, "required": ["n"]}}
"""
PRICES = {"input_price": 10.0, "output_price": 30.0, "window": 100_000}


@pytest.fixture(scope="module")
def notebook(environment: dict[str, str], tmp_path_factory: Any) -> Iterator[Notebook]:
    folder = tmp_path_factory.mktemp("folder")
    (folder / "people.csv").write_text("name,age\nOla,3\nKari,5\n")
    cards = {
        "test/ok": {"vision": True, **PRICES},
        "test/blind": {"vision": False, "json_schema": False, **PRICES, "output_price": 0.1},
    }
    tiers = {"smart": ["test/ok"], "standard": [], "cheap": ["test/blind"], "local": []}
    variables = {
        "AIKI_MODELS": json.dumps({"cards": cards}),
        "AIKI_ROUTING": json.dumps({**tiers, "router": "fixed", "answer_value_usd": 0.0}),
        "HOME": str(folder),
    }
    kernel = Notebook(env={**environment, **variables})
    kernel.python(SETUP.format(folder=str(folder)))
    kernel.run("wake up", cell="warm")
    yield kernel
    kernel.close()


def parts(server: FaultServer) -> tuple[str, list[dict[str, Any]]]:
    """Text and other parts of the newest message that the server got."""
    content = server.requests[-1].body["messages"][-1]["content"]
    if isinstance(content, str):
        return content, []
    return content[0]["text"], content[1:]


def books(environment: dict[str, str]) -> int:
    with sqlite3.connect(Path(environment["AIKI_HOME"]) / "ledger.sqlite") as db:
        return int(db.execute("SELECT count(*) FROM entry").fetchone()[0])


def refused(ran: Ran) -> str:
    assert ran.status == "error"
    return str(ran.error["evalue"])


def test_a_frame_and_a_file_go_as_data_before_the_question(
    notebook: Notebook, server: FaultServer
) -> None:
    ran = notebook.run("Compare {df} with {open:people.csv}, `{df}` aside.", cell="a1")
    assert ran.status == "ok", ran.reply
    text, images = parts(server)
    assert not images
    assert "## df: pandas DataFrame, 100 rows x 2 columns" in text
    assert "rain | int64 | 0 | min 0, mean 49.5" in text
    assert "age | int | 0 | min 3" in text
    assert text.endswith(
        "Question: Compare [df: pandas DataFrame, 100 rows x 2 columns] with "
        "[people.csv: CSV file, 2 rows x 2 columns], `{df}` aside."
    )
    assert [one["name"] for one in ran.metadata["attached"]] == ["df", "people.csv"]
    notebook.run("And Kari?", cell="a2")
    history = json.dumps(server.requests[-1].body["messages"])
    assert "rain | int64" in history
    code = "print(get_ipython().kernel.chatter.conversation.exchanges[1].typed)"
    assert notebook.python(code) == "Compare {df} with {open:people.csv}, `{df}` aside."


def test_a_figure_goes_as_an_image_once(notebook: Notebook, server: FaultServer) -> None:
    ran = notebook.run("What does {fig} show?", cell="f1")
    text, (image,) = parts(server)
    assert text.endswith("What does [fig: figure, 200 x 100 px, " + text.rpartition(", ")[2])
    kind, _, data = image["image_url"]["url"].partition(";base64,")
    assert kind == "data:image/png"
    assert header(base64.b64decode(data)) == ("image/png", 200, 100)
    assert ran.metadata["attached"][0]["kind"] == "image"
    notebook.run("Sure?", cell="f2")
    assert "image_url" not in json.dumps(server.requests[-1].body)
    assert "[fig: figure" in json.dumps(server.requests[-1].body)


def test_who_does_not_see_gets_words_and_the_answer_says_so(
    notebook: Notebook, server: FaultServer
) -> None:
    ran = notebook.run("%%aiki --model test/blind\nWhat does {fig} show?", cell="b1")
    text, images = parts(server)
    assert not images
    assert '"Weather"' in text
    assert 'line "rain" of 3 points' in text
    assert any("test/blind does not see: the image fig" in one for one in ran.metadata["notes"])
    server.script(failing(400, message="image_url is not supported by this model"), Scenario())
    ran = notebook.run("%%aiki --model test/unheard\nWhat does {fig} show?", cell="b2")
    assert ran.status == "ok"
    assert parts(server)[1] == []
    assert any("does not take images" in one for one in ran.metadata["notes"])


def test_a_router_prefers_who_sees(notebook: Notebook) -> None:
    notebook.run("%aiki_model auto")
    try:
        for message, model in (("Hello", "test/blind"), ("Hello {fig}", "test/ok")):
            ran = notebook.run(f'%aiki_session preview --json "{message}"')
            found = json.loads(ran.of("display_data")[0]["data"]["text/plain"])
            assert found["model"] == model, found
    finally:
        notebook.run("%aiki_model test/ok")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("{open:gone.csv}", "There is no file gone.csv"),
        ("{open:/etc/passwd}", "outside of your home"),
        ("{open:.ssh/id_rsa}", "There is no file"),
    ],
)
def test_nobody_pays_for_a_question_whose_file_is_missing(
    message: str, line: str, notebook: Notebook, server: FaultServer
) -> None:
    before = len(server.requests)
    assert line in refused(notebook.run(f"What is in {message}?"))
    assert len(server.requests) == before


def test_a_preview_shows_what_would_be_sent_and_sends_nothing(
    notebook: Notebook, server: FaultServer, environment: dict[str, str]
) -> None:
    notebook.python("budget = 1")
    before, booked = len(server.requests), books(environment)
    turns = "print(len(get_ipython().kernel.chatter.conversation.exchanges))"
    known = notebook.python(turns)
    for code in (
        '%aiki_session preview "Why does {df} and {fig} rise?"',
        "%%aiki --preview --max-tokens 50\nWhy does {df} and {fig} rise?",
    ):
        ran = notebook.run(code, cell="p1")
        assert ran.status == "ok", ran.reply
        (shown,) = ran.of("display_data")
        text = shown["data"]["text/plain"]
        assert text.startswith("test/ok would answer (")
        assert "rain | int64 | 0 | min 0" in text
        assert "+ image fig (200 x 100 px," in text
        assert "Nothing was sent, booked or remembered." in text
        assert "<details open>" in shown["data"]["text/html"]
    assert "(50 at most)" in text
    assert (len(server.requests), books(environment)) == (before, booked)
    assert notebook.python(turns) == known
    ran = notebook.run('%aiki_session preview --json "Why does {df} rise?"')
    found = json.loads(ran.of("display_data")[0]["data"]["text/plain"])
    sent_before = found["messages"][-1]["text"].split("\n", 1)[1]
    notebook.run("Why does {df} rise?", cell="p2")
    really = server.requests[-1].body
    assert len(found["messages"]) == len(really["messages"])
    mark = sent_before.rpartition("(end of ")[2][:8]
    told = parts(server)[0].split("\n", 1)[1]
    assert told.replace(told.rpartition("(end of ")[2][:8], mark) == sent_before
    cost = found["cost"]["most_usd"]
    assert cost == pytest.approx((found["tokens"] * 10 + 1024 * 30) / 1e6)


def test_an_answer_in_a_form_is_an_object(
    notebook: Notebook, server: FaultServer, environment: dict[str, str]
) -> None:
    server.script(Scenario(text='{"name": "Ola", "age": 3}'))
    ran = notebook.run("%%aiki --json Person\nWho is it?", cell="j1")
    assert ran.status == "ok", ran.reply
    asked = server.requests[-1].body["response_format"]["json_schema"]
    assert (asked["name"], asked["strict"]) == ("Person", True)
    assert asked["schema"]["additionalProperties"] is False
    assert notebook.python("print(repr(reply))") == "Person(name='Ola', age=3)"
    assert ran.answers[-1]["data"]["text/markdown"].startswith("```json\n{")
    (count,) = [content["execution_count"] for content in ran.of("execute_input")]
    assert notebook.python(f"print(Out[{count}].model, Out[{count}].object.age)") == "ok 3"

    booked = books(environment)
    server.script(Scenario(text='{"n": "many"}'), Scenario(text='Here: {"n": 4}'))
    ran = notebook.run("%%aiki --json shape\nHow many?", cell="j2")
    assert notebook.python("print(reply)") == "{'n': 4}"
    assert any("asked once more" in note for note in ran.metadata["notes"])
    assert books(environment) == booked + 2
    assert "n: 'many' is not of type 'integer'" in json.dumps(server.requests[-1].body["messages"])

    inline = '{"type": "array", "items": {"type": "integer"}}'
    server.script(Scenario(text='```json\n{"value": [1, 2]}\n```'))
    notebook.run(f"%%aiki --model test/blind --json {inline}\nCount.", cell="j3")
    assert notebook.python("print(reply)") == "[1, 2]"
    assert "response_format" not in server.requests[-1].body
    assert "JSON schema" in parts(server)[0]


def test_what_does_not_fit_is_an_error_and_its_text_is_kept(
    notebook: Notebook, server: FaultServer
) -> None:
    server.script(Scenario(text="no idea"), Scenario(text='{"name": "Ola"}'))
    before = len(server.requests)
    ran = notebook.run("%%aiki --json Person\nWho is it?", cell="j4")
    assert "gave no Person in two tries (age: Field required)" in refused(ran)
    assert len(server.requests) == before + 2
    assert notebook.python("print(reply.text)") == '{"name": "Ola"}'
    for name, line in (("Persn", "did you mean Person?"), ("df", "no schema"), ("{bad", "no JSON")):
        assert line in refused(notebook.run(f"%%aiki --json {name}\nWho?"))
    assert len(server.requests) == before + 2


def test_a_kept_answer_is_asked_anew_when_what_is_attached_changed(
    notebook: Notebook, server: FaultServer
) -> None:
    before = len(server.requests)
    for _ in range(2):
        server.script(Scenario(text='{"n": 100}'))
        notebook.run("%%aiki --keep --json shape\nRows of {df}?", cell="k1")
        assert notebook.python("print(reply)") == "{'n': 100}"
        assert len(server.requests) == before + 1
    notebook.python("df = df.head(7)")
    assert notebook.run("%%aiki --keep --json shape\nRows of {df}?", cell="k1").status == "ok"
    assert len(server.requests) == before + 2


def test_other_magics_still_have_values_in_braces(notebook: Notebook) -> None:
    notebook.python("which = 'nonesuch'")
    assert "'nonesuch'" in refused(notebook.run("%aiki_session show {which}"))


def test_tab_offers_files_variables_and_schemas(notebook: Notebook) -> None:
    def offered(code: str) -> list[str]:
        found: list[str] = notebook.complete(code)["matches"]
        return found

    assert offered("What is in {open:pe") == ["people.csv"]
    assert "open:" in offered("What is in {o")
    assert "df" in offered("What is in {d")
    assert offered("%%aiki --json ") == ["Person", "shape"]
    assert "--preview" in offered("%%aiki --")
