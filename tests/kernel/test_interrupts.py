"""Stop means stop: every state, both ways, main shell and subshell, within 250 ms."""

from __future__ import annotations

import statistics
import time

import pytest
from fault_server import FaultServer
from notebook_driver import PYTHON, Notebook, Ran, card_id, stop_by_card

pytestmark = pytest.mark.alone

LIMIT_S = 0.25

STATES = {
    "connecting": "%%aiki --model test/stall-headers\nhello",
    "before the first token": "%%aiki --model test/stall-first\nhello",
    "streaming": "%%aiki --model test/slow\nhello",
    "between tokens": "%%aiki --model test/stall-between\nhello",
    "await in Python": PYTHON + "import asyncio\nawait asyncio.sleep(20)",
}


def interrupted(
    notebook: Notebook, code: str, how: str, subshell: str | None = None, after: float = 0.4
) -> tuple[Ran, Ran, float]:
    """Run ``code`` with another cell queued behind it, interrupt it; seconds until idle."""
    cell = None if code.startswith(PYTHON) else "interrupted"
    first = notebook.send(code, cell=cell, subshell=subshell)
    queued = notebook.send(PYTHON + "print('queued')", subshell=subshell)
    sent = 0.0

    def press(found: dict[str, Ran]) -> None:
        nonlocal sent
        times = found[first].times
        if not sent and times and time.monotonic() - times[0] > after:
            sent = time.monotonic()
            notebook.interrupt(how)

    ran, behind = notebook.collect(first, queued, on=press)
    return ran, behind, ran.idle_at - sent


@pytest.mark.parametrize("how", ["message", "signal"])
@pytest.mark.parametrize("shell", ["main", "subshell"])
@pytest.mark.parametrize("state", STATES)
def test_idle_soon_after_an_interrupt(
    notebook: Notebook, server: FaultServer, state: str, shell: str, how: str
) -> None:
    before = len(server.requests)
    took = []
    subshell = (
        notebook.control("create_subshell_request")["subshell_id"] if shell != "main" else None
    )
    try:
        for _ in range(5):
            ran, queued, seconds = interrupted(notebook, STATES[state], how, subshell)
            took.append(seconds)
            assert ran.status == "error"
            assert ran.reply["ename"] == "Interrupted"
            assert ran.error["traceback"] == [f"Interrupted: {ran.reply['evalue']}"]
            assert queued.status == "aborted"
            assert queued.stdout == ""
            if state in ("streaming", "between tokens"):
                assert ran.answer.endswith("[stopped]")
                assert ran.metadata["finish_reason"] == "interrupted"
            if seconds <= LIMIT_S:
                break  # more runs only against the noise of a busy machine
    finally:
        if subshell:
            notebook.control("delete_subshell_request", {"subshell_id": subshell})
    assert min(took) <= LIMIT_S, took
    for request in server.requests[before:]:
        assert request.wait_closed(2.0)
        assert not request.finished


@pytest.mark.parametrize("how", ["message", "signal"])
def test_python_that_computes_is_interrupted(notebook: Notebook, how: str) -> None:
    for code in (
        "import time\ntime.sleep(20)",
        "import asyncio\nawait asyncio.sleep(0)\nwhile 1: 0",
    ):
        ran, queued, _ = interrupted(notebook, PYTHON + code, how)
        assert ran.reply["ename"] == "KeyboardInterrupt"
        assert queued.status == "aborted"
        assert not any("interrupts.py" in line for line in ran.error["traceback"])


def test_alive_after_twenty_in_a_row(notebook: Notebook) -> None:
    took = []
    for round_ in range(20):
        how = ("message", "signal")[round_ % 2]
        ran, _, seconds = interrupted(notebook, STATES["streaming"], how, after=0.1)
        assert ran.status == "error"
        took.append(seconds)
    assert statistics.median(took) <= LIMIT_S or min(took) <= LIMIT_S / 2, took
    assert max(took) <= 3.0, took
    assert notebook.python("print('alive')") == "alive"


def test_idle_interrupts_are_harmless(notebook: Notebook) -> None:
    for _ in range(5):
        notebook.interrupt("signal")
        notebook.control("interrupt_request")
    assert notebook.python("print('alive')") == "alive"
    assert notebook.run("hello").status == "ok"


def test_a_burst_of_interrupts_ends_one_cell(notebook: Notebook, server: FaultServer) -> None:
    before = len(server.requests)
    sent = notebook.send(STATES["streaming"], cell="burst")
    server.wait_request(before + 1, 20)
    for _ in range(6):
        notebook.interrupt("signal")
        notebook.interrupt("message")
    (ran,) = notebook.collect(sent)
    assert ran.reply["ename"] == "Interrupted"
    assert notebook.python("print('alive')") == "alive"


def test_interrupt_ends_main_shell_and_subshell_at_once(
    notebook: Notebook, server: FaultServer
) -> None:
    before = len(server.requests)
    with notebook.subshell() as subshell:
        one = notebook.send(STATES["streaming"], cell="one")
        two = notebook.send(STATES["before the first token"], cell="two", subshell=subshell)
        server.wait_request(before + 2, 20)
        notebook.interrupt("message")
        for ran in notebook.collect(one, two):
            assert ran.reply["ename"] == "Interrupted"


def test_user_code_may_clean_up_when_it_is_stopped(notebook: Notebook) -> None:
    code = (
        "import asyncio\ntry:\n    await asyncio.sleep(20)\n"
        "finally:\n    await asyncio.sleep(0.05)\n    print('cleaned')"
    )
    ran, _, _ = interrupted(notebook, PYTHON + code, "message")
    assert ran.stdout == "cleaned\n"
    assert ran.reply["evalue"] == "the cell was stopped at line 3."


def test_chats_in_tasks_of_the_user_can_be_stopped(notebook: Notebook) -> None:
    code = (
        "import asyncio\nk = get_ipython().kernel\n"
        "await asyncio.gather(*(k.chat('hi', options='--model test/slow') for _ in range(2)))"
    )
    ran, _, seconds = interrupted(notebook, PYTHON + code, "signal", after=0.6)
    assert ran.status == "error"
    assert seconds <= 4 * LIMIT_S
    assert notebook.python("print('alive')") == "alive"


@pytest.mark.parametrize("shell", ["main", "subshell"])
def test_stop_on_the_card_ends_the_answer(notebook: Notebook, shell: str) -> None:
    took = []
    for _ in range(3):
        with notebook.subshell() as subshell:
            begun, pressed = time.monotonic(), 0.0

            def press(
                found: dict[str, Ran], subshell: str = subshell, begun: float = begun
            ) -> None:
                nonlocal pressed
                (ran,) = found.values()
                if not pressed and card_id(ran) and time.monotonic() - begun > 0.5:
                    pressed = time.monotonic()
                    stop_by_card(notebook, ran, subshell if shell == "subshell" else None)

            ran = notebook.run(STATES["streaming"], cell="card", on=press)
        assert ran.reply["ename"] == "Interrupted"
        assert ran.answer.endswith("[stopped]")
        took.append(ran.idle_at - pressed)
        if took[-1] <= LIMIT_S:
            break
    assert min(took) <= LIMIT_S, took


def test_first_message_can_be_stopped_while_everything_is_imported(
    environment: dict[str, str],
) -> None:
    took = []
    for _ in range(3):  # a kernel imports only once: each try is a new one
        kernel = Notebook(env=environment)
        try:
            ran, _, seconds = interrupted(kernel, STATES["streaming"], "message", after=0.05)
            assert ran.reply["ename"] == "Interrupted"
            took.append(seconds)
            assert kernel.run("hello").status == "ok"
        finally:
            kernel.close()
        if seconds <= LIMIT_S:
            break
    assert min(took) <= LIMIT_S, took


def test_recall_can_be_stopped(environment: dict[str, str]) -> None:
    took = []
    for _ in range(3):
        kernel = Notebook(env={**environment, "AIKI_MEMORY__RECALL_K": "8"})
        try:
            # The first recall loads the embedder: seconds of work before anything is sent.
            ran, _, seconds = interrupted(kernel, STATES["streaming"], "signal", after=0.9)
            assert ran.reply["ename"] == "Interrupted"
            took.append(seconds)
        finally:
            kernel.close()
        if seconds <= LIMIT_S:
            break
    assert min(took) <= LIMIT_S, took


def test_interrupted_turn_is_part_of_the_conversation(
    notebook: Notebook, server: FaultServer
) -> None:
    interrupted(notebook, "%%aiki --model test/slow\nthe question that was cut", "message")
    notebook.run("and now?")
    contents = [message["content"] for message in server.requests[-1].body["messages"]]
    assert any("the question that was cut" in content for content in contents)
    assert any("word0" in content for content in contents)
