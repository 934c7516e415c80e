"""``jupyter console --kernel aiki`` as somebody at a terminal sees it, over a real pty."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import FaultServer, Scenario

pexpect = pytest.importorskip("pexpect", reason="pexpect: jupyter console was NOT tested")
pytest.importorskip("jupyter_console", reason="jupyter_console: it was NOT tested")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[=>])")


class Terminal:
    """A console on a pty of 100 columns."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = pexpect.spawn(
            sys.executable,
            [
                *("-m", "jupyter_console", "--kernel", "aiki"),
                # After a second without an answer it would ask this kernel no more.
                "--ZMQTerminalInteractiveShell.kernel_is_complete_timeout=30",
            ],
            env=environment,
            encoding="utf-8",
            dimensions=(50, 100),
            timeout=60,
        )
        self.shown = ""

    def wait(self, wanted: str, seconds: float = 60.0) -> str:
        """What was shown up to ``wanted`` (a pattern), without escapes; later text stays."""
        until = time.monotonic() + seconds
        while not (found := re.search(wanted, self.shown)):
            left = until - time.monotonic()
            assert left > 0, f"no {wanted!r} in:\n{self.shown}"
            try:
                raw = self._process.read_nonblocking(65536, timeout=min(left, 1.0))
            except pexpect.TIMEOUT:
                continue
            self.shown += _ESCAPES.sub("", raw).replace("\r", "")
        before = self.shown[: found.end()]
        self.shown = self.shown[found.end() :]
        return before

    def type(self, keys: str) -> None:
        """Press keys."""
        self._process.send(keys)

    def ask(self, line: str, number: int) -> str:
        """Type a line; what is shown before prompt ``number``."""
        self.type(f"{line}\r")
        return self.wait(rf"In \[{number}\]: ")

    def close(self) -> None:
        self._process.close(force=True)


@pytest.fixture
def terminal(environment: dict[str, str], server: FaultServer) -> Iterator[Terminal]:
    folder = Path(environment["AIKI_HOME"]) / "jupyter"
    shutil.copytree(ROOT / "kernelspec", folder / "kernels" / "aiki", dirs_exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIKI_", "JUPYTER"))}
    shown = Terminal(
        {
            **kept,
            **environment,
            "JUPYTER_PATH": str(folder),
            "IPYTHONDIR": str(folder / "ipython"),
            "TERM": "xterm-256color",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
    )
    yield shown
    shown.close()


def test_a_session_at_a_terminal(terminal: Terminal, server: FaultServer) -> None:
    assert "a cell is a message" in terminal.wait(r"In \[1\]: ")

    # The answer grows, as text; the card follows, as text.
    server.script(Scenario(text=" ".join(f"word{n}" for n in range(20)), delay_s=0.1))
    terminal.type("Tell me a story\r")
    terminal.wait("word3")
    assert "word19" not in terminal.shown
    said = terminal.wait(r"In \[2\]: ")
    assert "word19" in said
    assert " tokens" in said
    assert "generate" in said
    for noise in ("AnswerCard", "<div", "IPython.core", "Traceback", "Debugger warning"):
        assert noise not in said

    # Several lines: a fence that is open, Python that has shown nothing yet.
    server.script(Scenario(text="Seen."))
    terminal.type("Look at this:\\\r```\rx = 1\r```\r")
    assert "Seen." in terminal.wait(r"In \[3\]: ")
    assert server.requests[-1].body["messages"][-1]["content"].endswith("```\nx = 1\n```")
    terminal.type("%%python\rx = 6\rx * 7\r")
    assert "Out[3]: 42" in terminal.wait(r"In \[4\]: ")

    # Tab and help.
    terminal.type("%aiki_mem\t")
    terminal.wait("%aiki_memory")
    terminal.type("\x15")
    assert "Models: which there are" in terminal.ask("%aiki_model?", 5)

    # Ctrl-C stops the answer and not the console.
    server.script(Scenario(text=" ".join(f"late{n}" for n in range(200)), delay_s=0.1))
    terminal.type("And another\r")
    terminal.wait("late2")
    terminal.type("\x03")
    said = terminal.wait(r"In \[6\]: ", 10)
    assert "stopped" in said
    assert "Traceback" not in said
    assert server.requests[-1].wait_closed(5)

    # A mistake is one line; tables are tables.
    said = terminal.ask("%aiki_memory serch honey", 7)
    assert "search" in said
    assert "Traceback" not in said
    said = terminal.ask("%aiki_memory list", 8)
    assert "Tell me a story" in said
    assert "<" not in said
