"""``aiki`` as a user runs it: a process, a home of its own, real parts behind it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

AIKI = [sys.executable, "-m", "aiki_kernel.cli"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def aiki(aiki_home: Path, fault_server: FaultServer) -> Run:
    """Runs ``aiki WORDS`` with the engine in-process and the scripted endpoint ``fault``."""
    (aiki_home / "aiki.toml").write_text(
        'daemon = "off"\nmodel = "fault/ok"\n'
        f'[endpoints.fault]\nbase_url = "{fault_server.base_url}"\nmodels = ["ok"]\n'
        '[memory]\nuser_id = "u"\nembedder = "wordllama"\n[timeouts]\nretries = 0\n',
        "utf-8",
    )

    def run(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        return subprocess.run(
            [*AIKI, *words], capture_output=True, text=True, timeout=100, check=False, **given
        )

    return run


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        (["--version"], 0, "aiki ", ""),
        (["-h"], 0, "memory", ""),
        (["memory", "-h"], 0, "search QUERY...", ""),
        (["memory"], 2, "search QUERY...", ""),
        (["memroy"], 2, "", "did you mean memory?"),
        (["memory", "search"], 2, "", "QUERY"),
        (["config", "path"], 0, "aiki.toml", ""),
        (["config", "set", "memory.recall_k", "many"], 1, "", "Nothing was changed"),
        (["daemon", "status"], 3, "No daemon runs", ""),
        (["session", "new"], 2, "", "no session to renew"),
        (["model"], 0, "fault/ok", ""),
        (["completion", "bash"], 0, "complete -o default", ""),
        (["_complete", "memory", "sea"], 0, "search\n", ""),
    ],
)
def test_status_and_streams(aiki: Run, words: list[str], status: int, out: str, err: str) -> None:
    done = aiki(*words)
    assert done.returncode == status
    assert out in done.stdout
    assert err in done.stderr
    assert "Traceback" not in done.stderr
    if status in (1, 2) and err:
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_memory_through_processes(aiki: Run, tmp_path: Path) -> None:
    born = json.loads(aiki("memory", "add", "-", "--json", stdin="Kari likes blåbær.\n").stdout)
    found = json.loads(aiki("memory", "search", "what berries?", "--json").stdout)
    assert found["hits"][0]["id"] == born["id"]
    assert [json.loads(line)["id"] for line in aiki("memory", "export").stdout.splitlines()]
    refused = aiki("memory", "forget", born["id"][:8])
    assert refused.returncode == 2
    assert "--yes" in refused.stderr


@pytest.mark.slow
def test_one_question_is_answered_remembered_and_booked(
    aiki: Run, fault_server: FaultServer
) -> None:
    done = aiki("chat", "What does the fox do?")
    assert done.returncode == 0
    assert done.stdout == "The quick brown fox jumps over the lazy dog and runs home.\n"
    assert "recalled 0" in done.stderr
    reply = json.loads(aiki("chat", "--json", "-", stdin="And the dog?").stdout)
    assert reply["model"]
    assert [hit["text"] for hit in reply["hits"]]
    assert reply["remembered"]["ids"]
    book = json.loads(aiki("cost", "--json").stdout)
    assert book["spans"]["in all"]["calls"] == 2
    assert book["spans"]["in all"]["unpriced"] == 2
    assert "unknown" in aiki("cost").stdout
    assert aiki("cost", "--by", "model", "--csv").stdout.splitlines()[0].startswith("model,calls,")
    sessions = json.loads(aiki("session", "list", "--json").stdout)["sessions"]
    assert len(sessions) == 2
    assert json.loads(aiki("session", "show", "--json").stdout)["totals"]["calls"] == 1


@pytest.mark.parametrize("model", ["fault/401", "fault/503", "fault/cut"])
def test_a_failed_answer_is_one_line_and_status_1(aiki: Run, model: str) -> None:
    done = aiki("chat", "-m", model, "--json", "hello")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert json.loads(done.stdout)["error"]["kind"] == "model"


def test_model_use_is_written_and_a_wrong_name_is_not(aiki: Run, aiki_home: Path) -> None:
    assert aiki("model", "use", "fault/echo").returncode == 0
    assert 'model = "fault/echo"' in (aiki_home / "aiki.toml").read_text("utf-8")
    wrong = aiki("model", "use", "faul/echo")
    assert wrong.returncode == 1
    assert "fault/echo" in wrong.stderr
    rows = json.loads(aiki("model", "list", "--json").stdout)["models"]
    assert {"local/smollm2-135m", "fault/ok"} <= {row["name"] for row in rows}


@pytest.mark.slow
def test_interrupting_a_question_keeps_what_had_come(aiki: Run) -> None:
    process = subprocess.Popen(
        [*AIKI, "chat", "-m", "fault/slow", "count"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    first = os.read(process.stdout.fileno(), 100)
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (first + rest).decode().rstrip().endswith("[stopped]")
    assert b"Traceback" not in err
    listed = json.loads(aiki("memory", "list", "--json").stdout)["memories"]
    assert any("word0" in memory["data"] for memory in listed)


class Terminal:
    """A program on a pseudo-terminal, read until a text appears."""

    def __init__(self, words: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
            os.execv(words[0], words)
        self.seen = ""

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, text: str, seconds: float = 60.0) -> str:
        """What was printed since the last call, up to ``text``."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen[-2000:]!r}"
            self._read()
        before, _, self.seen = self.seen.partition(text)
        return before

    def end(self, seconds: float = 60.0) -> int:
        """The exit status. What is still printed is read: a full terminal would hold it up."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            self._read()
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(f"it did not end: {self.seen[-2000:]!r}")

    def _read(self) -> None:
        if not select.select([self.fd], [], [], 0.2)[0]:
            return
        try:
            data = os.read(self.fd, 65536).decode("utf-8", "replace")
        except OSError:  # the other side is gone
            return
        if "\x1b[6n" in data:
            self.send("\x1b[1;1R")  # prompt_toolkit asks where the cursor is
        self.seen += data


@pytest.fixture
def terminal(aiki: Run) -> Iterator[Terminal]:
    made = Terminal([*AIKI, "chat"])
    yield made
    os.close(made.fd)


@pytest.mark.slow
def test_the_conversation_in_a_terminal(terminal: Terminal, aiki_home: Path) -> None:
    terminal.until("/help lists commands")
    terminal.send("hello\r")
    terminal.until("recalled")
    terminal.send("/model fault/slow\r")
    terminal.until("in this session")
    terminal.send("count\r")
    terminal.until("word3")
    terminal.send("\x03")  # stops the answer, not the program
    terminal.until("[stopped]")
    terminal.send("/memroy list\r")
    terminal.until("did you mean memory?")
    terminal.send("/memory list\r")
    terminal.until("message")
    terminal.send("/model fault/401\r")
    terminal.until("in this session")
    terminal.send("fail\r")
    terminal.until("401")
    terminal.send("/session show\r")
    terminal.until("stopped")
    terminal.until("›")
    terminal.send("\x04")
    assert terminal.end() == 0
    history = aiki_home / "chat_history"
    assert history.stat().st_mode & 0o077 == 0
    assert "count" in history.read_text("utf-8")


@pytest.mark.slow
def test_the_daemon_by_its_commands(aiki: Run, aiki_home: Path) -> None:
    toml = aiki_home / "aiki.toml"
    toml.write_text(toml.read_text("utf-8").replace('daemon = "off"\n', ""), "utf-8")
    try:
        started = json.loads(aiki("daemon", "start", "--json").stdout)
        assert started["started"]
        assert not json.loads(aiki("daemon", "start", "--json").stdout)["started"]
        assert aiki("memory", "add", "through the socket").returncode == 0
        status = json.loads(aiki("daemon", "status", "--json").stdout)
        assert status["pid"] == started["status"]["pid"]
        assert "process" in aiki("daemon", "status").stdout
    finally:
        stopped = aiki("daemon", "stop", "--json")
    assert json.loads(stopped.stdout)["stopped"]
    assert aiki("daemon", "status").returncode == 3
    assert "No daemon was running" in aiki("daemon", "stop").stdout


def test_the_kernel_is_registered_and_taken_away(
    aiki: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / "prefix"
    monkeypatch.setenv("JUPYTER_PATH", str(prefix / "share" / "jupyter"))
    made = json.loads(
        aiki("kernel", "install", "--prefix", str(prefix), "--name", "aiki-x", "--json").stdout
    )
    spec = json.loads((Path(made["folder"]) / "kernel.json").read_text("utf-8"))
    assert spec["argv"][0] == sys.executable
    assert "aiki-x" in aiki("kernel", "list").stdout
    assert aiki("kernel", "uninstall", "aiki-y").returncode == 2
    assert aiki("kernel", "uninstall", "--name", "aiki-x").returncode == 0
    assert not Path(made["folder"]).exists()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['aiki', '-h']\n"
        "from aiki_kernel.cli import call; call(['-h'])\n"
        "print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "pydantic", "rich", "openai", "tomlkit", "asyncio", "IPython", "starlette"}
    assert not [name for name in heavy if f"'{name}'" in done.stderr]


def test_lab_brings_a_notebook_and_hands_over_to_jupyter(
    aiki: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = aiki("lab", "--version")  # jupyter lab answers this one and ends
    assert done.returncode == 0
    assert done.stdout.strip()[0].isdigit()
    first = (tmp_path / "welcome.ipynb").read_text("utf-8")
    assert json.loads(first)["metadata"]["kernelspec"]["name"] == "aiki"
    (tmp_path / "welcome.ipynb").write_text("mine", "utf-8")
    aiki("lab", "--version")
    assert (tmp_path / "welcome.ipynb").read_text("utf-8") == "mine"
    assert aiki("lab", "missing.ipynb").returncode == 2
