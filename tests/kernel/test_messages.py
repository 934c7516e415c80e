"""Messages in a real kernel: answers, variables, reruns, history, errors, editing."""

from __future__ import annotations

import time

import pytest
from fault_server import TEXT, FaultServer, Scenario
from notebook_driver import PYTHON, Notebook


def sent(server: FaultServer) -> list[str]:
    """What the last request said, message by message."""
    return [message["content"] for message in server.requests[-1].body["messages"]]


def test_an_answer_without_a_notebook_is_one_display(notebook: Notebook) -> None:
    ran = notebook.run("hello?")
    assert ran.status == "ok"
    (shown,) = ran.of("display_data", "update_display_data", "execute_result")
    assert set(shown["data"]) == {"text/markdown", "text/plain"}
    assert shown["data"]["text/plain"] == TEXT
    metadata = shown["metadata"]["aiki"]
    assert metadata["model"] == "ok"
    assert metadata["usage"]["output_tokens"] > 0
    assert metadata["finish_reason"] == "stop"
    assert metadata["remembered"]["ids"]
    assert {"recall", "route", "generate", "first_token", "remember"} >= set(metadata["latency_s"])
    assert "ok ·" in ran.stdout  # the card, as text


def test_a_live_answer_ends_as_plain_data(notebook: Notebook) -> None:
    ran = notebook.run("hello?", cell="live")
    answer, card = ran.of("display_data")
    assert "application/vnd.jupyter.widget-view+json" in card["data"]
    ids = {answer["transient"]["display_id"]: answer, card["transient"]["display_id"]: card}
    for update in ran.of("update_display_data"):
        ids[update["transient"]["display_id"]] = update
    last_answer, last_card = ids.values()
    assert last_answer["data"] == {"text/markdown": TEXT, "text/plain": TEXT}
    assert last_answer["metadata"]["aiki"]["finish_reason"] == "stop"
    assert set(last_card["data"]) == {"text/html", "text/plain"}
    assert "text/html" not in last_answer["data"]


def test_cards_are_closed_when_they_are_done(notebook: Notebook) -> None:
    notebook.run("hello?", cell="closing")
    count = "import ipywidgets\nprint(sum(1 for w in ipywidgets.Widget.widgets.values()))"
    deadline = time.monotonic() + 5
    while notebook.python(count) != "0" and time.monotonic() < deadline:
        time.sleep(0.3)
    assert notebook.python(count) == "0"


def test_at_most_twelve_messages_a_second(notebook: Notebook, server: FaultServer) -> None:
    server.script(Scenario(text=" ".join("word" for _ in range(400)), delay_s=0.008))
    ran = notebook.run("talk fast", cell="fast")
    times = ran.times
    busiest = max(sum(1 for t in times if begin <= t < begin + 1.0) for begin in times)
    assert busiest <= 12, ran.kinds
    assert len(ran.answers) >= 10
    assert ran.answer == " ".join("word" for _ in range(400))


def test_reply_and_out_hold_the_answer(notebook: Notebook) -> None:
    ran = notebook.run("hello?")
    (count,) = [content["execution_count"] for content in ran.of("execute_input")]
    assert notebook.python(f"print(reply.text == Out[{count}].text == str(reply))") == "True"
    assert notebook.python("print(type(reply).__name__, reply.model)") == "Reply ok"
    (shown,) = notebook.run(PYTHON + "reply").of("execute_result")
    assert shown["data"]["text/markdown"] == TEXT


def test_variables_in_braces_reach_the_model(notebook: Notebook, server: FaultServer) -> None:
    notebook.python("topic = 'cats'; a = 1; items = [3, 4]")
    notebook.run('Write on {topic}, {items[1]} lines, as {"a": 1}, \\frac{a}{b}, {unknown}.')
    assert sent(server)[-1].endswith(
        'Write on cats, 4 lines, as {"a": 1}, \\frac{a}{b}, {unknown}.'
    )


def test_python_and_magics_share_the_namespace(notebook: Notebook) -> None:
    notebook.python("x = 20")
    assert notebook.run("%time y = sum([x, x + 2])").status == "ok"
    assert notebook.python("print(y)") == "42"
    assert notebook.run("%%time\nz = y + 1").status == "ok"
    assert notebook.python("get_ipython().run_cell('w = z + 1')\nprint(w)") == "44"
    assert notebook.run("!echo shell").stdout.strip() == "shell"
    assert notebook.python("import asyncio\nprint(await asyncio.sleep(0, 'awaited'))") == "awaited"


def test_a_conversation_has_turns(notebook: Notebook, server: FaultServer) -> None:
    notebook.run("my first question", cell="t1")
    notebook.run("my second question", cell="t2")
    assert any("my first question" in text for text in sent(server))


def test_rerun_replaces_its_own_turn_only(notebook: Notebook, server: FaultServer) -> None:
    notebook.run("rerun original", cell="r1")
    notebook.run("rerun second", cell="r2")
    notebook.run("rerun changed", cell="r1")
    assert not any("rerun second" in text for text in sent(server))
    notebook.run("rerun third", cell="r3")
    texts = " ".join(sent(server))
    assert "rerun changed" in texts
    assert "rerun second" in texts
    assert "rerun original" not in texts


def test_a_rerun_marks_later_answers_as_stale(notebook: Notebook) -> None:
    notebook.run("stale one", cell="st1")
    later = notebook.run("stale two", cell="st2")
    card = later.of("display_data")[1]["transient"]["display_id"]
    again = notebook.send("stale changed", cell="st1")
    notebook.collect(again)
    notebook.run(PYTHON + "import asyncio\nawait asyncio.sleep(0.6)", on=None)
    updates = [
        message["content"]
        for message in notebook.seen
        if message["msg_type"] == "update_display_data"
        and message["content"]["transient"]["display_id"] == card
    ]
    assert "stale" in updates[-1]["data"]["text/plain"]


def test_history_keeps_the_cell_as_it_was_typed(notebook: Notebook) -> None:
    notebook.run("a line of {history}, in prose?")
    notebook.run(PYTHON + "print('typed')")
    content = {"hist_access_type": "tail", "n": 2, "raw": True, "output": False}
    entries = notebook.ask("history_request", content)["history"]
    assert [entry[2] for entry in entries] == [
        "a line of {history}, in prose?",
        PYTHON + "print('typed')",
    ]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("test/401", "test refused the key"),
        ("test/500", "500"),
        ("nowhere/x", "nowhere"),
        ("test/cut", "test"),
    ],
)
def test_an_error_is_an_error(notebook: Notebook, model: str, said: str) -> None:
    ran = notebook.run(f"%%aiki --model {model}\nhello")
    assert ran.status == "error"
    assert said in ran.reply["evalue"]
    assert "\n" not in ran.reply["evalue"]
    (line,) = ran.error["traceback"]
    assert line == f"{ran.reply['ename']}: {ran.reply['evalue']}"
    assert "Traceback" not in line


def test_a_cut_answer_keeps_what_came(notebook: Notebook) -> None:
    ran = notebook.run("%%aiki --model test/cut\nhello")
    assert ran.answer == "The quick brown\n\n[cut off by an error]"
    assert ran.metadata["finish_reason"] == "error"
    assert notebook.python("print(reply.text)") == "The quick brown"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%%aiki --modle x\nhello", "did you mean --model?"),
        ("%%aiki --temperature warm\nhello", "wants a number"),
        ("%%python -c\nx = 1", "takes no words"),
        ("%aiki_memory serch cats", "did you mean search?"),
    ],
)
def test_a_mistake_is_one_line(notebook: Notebook, cell: str, said: str) -> None:
    ran = notebook.run(cell)
    assert ran.reply["ename"] == "UsageError"
    assert said in ran.reply["evalue"]
    assert len(ran.error["traceback"]) == 1


def test_model_text_is_harmless(notebook: Notebook, server: FaultServer) -> None:
    server.script(Scenario(text="<script>x</script> ![a](http://e.org/a.png) `code`"))
    ran = notebook.run("be nasty", cell="nasty")
    for content in ran.answers:
        markdown = content["data"]["text/markdown"]
        assert "<script" not in markdown
        assert "![" not in markdown
    assert ran.answer == "<script>x</script> ![a](http://e.org/a.png) `code`"


def test_empty_cells_do_nothing(notebook: Notebook, server: FaultServer) -> None:
    before = len(server.requests)
    for code in ("", "  \n", "papermill_description=nothing", PYTHON):
        assert notebook.run(code).status == "ok"
    assert len(server.requests) == before


def test_kernel_info_speaks_of_prose(notebook: Notebook) -> None:
    info = notebook.ask("kernel_info_request", {})
    assert info["language_info"]["name"] == "aiki"
    mode = info["language_info"]["codemirror_mode"]
    assert mode == {"name": "aiki", "mime": "text/x-markdown"}  # the second without our extension
    assert "debugger" not in info["supported_features"]
    assert "kernel subshells" in info["supported_features"]


@pytest.mark.parametrize(
    ("code", "matches"),
    [
        ("%aiki_memory se", ["search"]),
        ("%%aiki --mo", ["--model"]),
        ("%%aiki --model test/", []),
        ("say {colo", ["colour"]),
        ("say {spot.re", ["real"]),
        ("prose without", []),
        (PYTHON + "colour.upp", [".upper"]),
    ],
)
def test_tab(notebook: Notebook, code: str, matches: list[str]) -> None:
    notebook.python("colour = 'red'; spot = 1 + 2j")
    found = notebook.complete(code)
    assert found["status"] == "ok"
    wanted = [match.lstrip(".") for match in matches]
    assert [match.rpartition(".")[2] for match in found["matches"]] == wanted
    if matches:
        assert code[: found["cursor_start"]] + found["matches"][0] >= code


def test_tab_knows_models(notebook: Notebook) -> None:
    assert "local" in notebook.complete("%%aiki --model lo")["matches"]
    assert "local" in notebook.complete("%aiki_model use lo")["matches"]


def test_shift_tab(notebook: Notebook) -> None:
    notebook.python("colour = 'red'")
    assert "search" in notebook.inspect("%aiki_memory search x", 15)["data"]["text/plain"]
    assert "red" in notebook.inspect("say {colour} now", 7)["data"]["text/plain"]
    assert "zip" in notebook.inspect(PYTHON + "zip", len(PYTHON) + 2)["data"]["text/plain"]
    assert not notebook.inspect("some qwertyuiop prose", 8)["found"]


@pytest.mark.alone
def test_tab_and_shift_tab_answer_while_a_cell_streams(notebook: Notebook) -> None:
    notebook.complete("%aiki_memory se")
    id_ = notebook.send("%%aiki --model test/slow\nhello", cell="busy")
    time.sleep(0.4)
    took = []
    for _ in range(3):
        begun = time.monotonic()
        assert notebook.complete("%aiki_memory se")["matches"] == ["search"]
        assert notebook.inspect(PYTHON + "zip", len(PYTHON) + 2)["found"]
        assert notebook.ask("is_complete_request", {"code": "hi"})["status"] == "complete"
        took.append((time.monotonic() - begun) / 3)
    notebook.interrupt("message")
    (ran,) = notebook.collect(id_)
    assert ran.status == "error"  # it was still streaming
    assert min(took) <= 0.3


def test_stdout_streaming_by_setting(environment: dict[str, str]) -> None:
    kernel = Notebook(env={**environment, "AIKI_STREAM": "stdout"})
    try:
        ran = kernel.run("hello?", cell="x")
        assert ran.stdout.startswith(TEXT)
        (card,) = ran.of("display_data")
        assert card["metadata"]["aiki"]["model"] == "ok"
    finally:
        kernel.close()
