"""``%load_ext aiki_kernel`` in the stock Python kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_server import TEXT, FaultServer
from notebook_driver import Notebook


@pytest.fixture(scope="module")
def stock(environment: dict[str, str]) -> Iterator[Notebook]:
    kernel = Notebook("python3", env=environment)
    assert kernel.run("%load_ext aiki_kernel").status == "ok"
    kernel.run("%%aiki\nwake up")
    yield kernel
    kernel.close()


def test_a_cell_asks(stock: Notebook, server: FaultServer) -> None:
    stock.run("topic = 'cats'")
    ran = stock.run("%%aiki\nWrite on {topic}?")
    assert ran.status == "ok"
    assert ran.answer == TEXT
    assert server.requests[-1].body["messages"][-1]["content"].endswith("Write on cats?")
    assert stock.run("print(reply.text)").stdout.strip() == TEXT


def test_other_cells_stay_python(stock: Notebook) -> None:
    assert stock.run("print(1 + 1)").stdout == "2\n"
    assert stock.run("so this is prose").reply["ename"] == "SyntaxError"


def test_magics_are_there(stock: Notebook) -> None:
    ran = stock.run("%aiki_model -h")
    assert ran.status == "ok"
    assert "%aiki_model" in str(ran.messages)


def test_an_error_is_one_line(stock: Notebook) -> None:
    ran = stock.run("%%aiki --model test/401\nhello")
    assert ran.status == "error"
    assert len(ran.error["traceback"]) == 1


@pytest.mark.parametrize("how", ["signal", "message"])
@pytest.mark.parametrize("model", ["slow", "stall-first"])
def test_it_can_be_stopped(stock: Notebook, server: FaultServer, model: str, how: str) -> None:
    before = len(server.requests)
    id_ = stock.send(f"%%aiki --model test/{model}\nhello")
    request = server.wait_request(before + 1, 20)
    stock.interrupt(how)
    (ran,) = stock.collect(id_)
    assert ran.reply["ename"] == "Interrupted"
    assert request.wait_closed(5.0)
    assert not request.finished
    assert stock.run("print('alive')").stdout == "alive\n"


def test_unload_takes_all_away(environment: dict[str, str]) -> None:
    kernel = Notebook("python3", env=environment)
    try:
        kernel.run("%load_ext aiki_kernel")
        kernel.run("%load_ext aiki_kernel")
        assert (
            kernel.run(
                "from aiki_kernel.kernel.extension import unload\nunload(get_ipython())"
            ).status
            == "ok"
        )
        assert kernel.run("%aiki_model -h").status == "error" or "not found" in str(
            kernel.run("%aiki_model -h").messages
        )
        assert kernel.run("%%aiki\nhello").status == "error" or "not found" in str(
            kernel.run("%%aiki\nhello").messages
        )
    finally:
        kernel.close()
