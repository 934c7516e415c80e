"""Subshells, widgets and the end of a kernel."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
from fault_server import FaultServer, Scenario
from notebook_driver import PYTHON, Notebook


def test_two_chats_at_once_never_mix(notebook: Notebook, server: FaultServer) -> None:
    with notebook.subshell() as subshell:
        one = notebook.send("%%aiki --model test/echo\n" + "uno " * 40, cell="p1")
        two = notebook.send(
            "%%aiki --model test/echo\n" + "dos " * 40, cell="p2", subshell=subshell
        )
        first, second = notebook.collect(one, two)
    assert first.status == second.status == "ok"
    assert all("dos" not in content["data"]["text/plain"] for content in first.answers)
    assert all("uno" not in content["data"]["text/plain"] for content in second.answers)
    assert first.answer.split().count("uno") == 40
    assert second.answer.split().count("dos") == 40


def test_a_subshell_answers_while_the_main_shell_streams(notebook: Notebook) -> None:
    with notebook.subshell() as subshell:
        slow = notebook.send("%%aiki --model test/slow\nhello", cell="s1")
        quick = notebook.send("hello", cell="s2", subshell=subshell)
        (ran,) = notebook.collect(quick, timeout=4)
        assert ran.status == "ok"
        notebook.interrupt("message")
        time.sleep(0.1)
    assert notebook.reply(slow)["status"] == "error"


def test_many_answers_at_once_in_one_cell(notebook: Notebook) -> None:
    code = (
        "import asyncio\nk = get_ipython().kernel\n"
        "await asyncio.gather(*(k.chat(f'q{n}', options='--model test/echo') for n in range(3)))"
    )
    ran = notebook.run(PYTHON + code)
    assert ran.status == "ok"
    texts = sorted(content["data"]["text/plain"][-2:] for content in ran.answers)
    assert texts == ["q0", "q1", "q2"]


def test_widgets_work_both_ways(notebook: Notebook) -> None:
    ran = notebook.run(PYTHON + "import ipywidgets\ns = ipywidgets.IntSlider(3)\ns")
    comm = ran.of("comm_open")[-1]["comm_id"]
    notebook.comm(comm, {"method": "update", "state": {"value": 7}, "buffer_paths": []})
    deadline = time.monotonic() + 5
    while notebook.python("print(s.value)") != "7" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert notebook.python("print(s.value)") == "7"
    notebook.python("s.close()")


def test_displays_can_be_updated(notebook: Notebook) -> None:
    code = "h = display('a', display_id=True)\nh.update('b')"
    ran = notebook.run(PYTHON + code)
    assert ran.of("display_data")[0]["data"]["text/plain"] == "'a'"
    assert ran.of("update_display_data")[0]["data"]["text/plain"] == "'b'"


def test_comm_info_lists_widgets(notebook: Notebook) -> None:
    notebook.python("import ipywidgets; t = ipywidgets.Text()")
    comms = notebook.ask("comm_info_request", {"target_name": "jupyter.widget"})["comms"]
    assert comms
    notebook.python("t.close()")


def test_shutdown_ends_a_streaming_answer_and_keeps_the_turn(
    environment: dict[str, str], server: FaultServer, tmp_path: Path
) -> None:
    # A home of its own: the file's other kernels hold the memory of theirs.
    environment = {**environment, "AIKI_HOME": str(tmp_path)}
    variables = {**environment, "AIKI_MODEL": "test/slow"}
    kernel = Notebook(env=variables)
    children = psutil.Process(kernel.pid)
    kernel.send("the turn that must not be lost", cell="last")
    server.wait_request(len(server.requests) + 1, 20)
    time.sleep(0.5)
    begun = time.monotonic()
    kernel.close()
    assert time.monotonic() - begun < 10
    assert not children.is_running() or children.status() == psutil.STATUS_ZOMBIE
    assert server.requests[-1].wait_closed(2)
    again = Notebook(env=environment)
    try:
        # If it was spooled it is replayed in the background.
        until = time.monotonic() + 30
        found = ""
        while "the turn that must not be lost" not in found and time.monotonic() < until:
            found = str(again.run("%aiki_memory list --json").messages)
        assert "the turn that must not be lost" in found
    finally:
        again.close()


def test_restart_begins_a_new_conversation(environment: dict[str, str]) -> None:
    kernel = Notebook(env=environment)
    try:
        kernel.run("before the restart", cell="a")
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=30)
        ran = kernel.run("%%aiki --model test/echo\nafter", cell="b")
        assert ran.answer == "after"
    finally:
        kernel.close()


def test_a_scripted_answer_ends_with_its_reason(notebook: Notebook, server: FaultServer) -> None:
    server.script(Scenario(finish_reason="length"))
    assert notebook.run("hello").metadata["finish_reason"] == "length"
