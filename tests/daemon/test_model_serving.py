"""A real llama-server, served, watched, hurt and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from aiki_kernel.commands.command import Context, Result
from aiki_kernel.commands.registry import run
from aiki_kernel.config import Paths, load
from aiki_kernel.daemon import model_server, model_serving
from aiki_kernel.daemon.model_server import ServerPlan, ServerState, Supervisor
from aiki_kernel.errors import ModelError
from aiki_kernel.models import llama_cpp, memory
from aiki_kernel.models.bitnet_sample import TINY, write_bitnet
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.tokenizer import Tokenizer

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def binary() -> Path:
    """The real program; without it these tests prove nothing, which is said."""
    try:
        return llama_cpp.fetch() / "llama-server"
    except ModelError as error:
        pytest.skip(f"NO LLAMA-SERVER ON THIS MACHINE, SERVING IS NOT TESTED: {error}")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BitNet that llama.cpp itself takes."""
    path = tmp_path_factory.mktemp("served") / "tiny.gguf"
    return write_bitnet(path, TINY, architecture="bitnet", ternary="TQ2_0", embedding="Q8_0")


@pytest.fixture
def home(aiki_home: Path) -> Iterator[Paths]:
    paths = Paths.default()
    yield paths
    for state in model_serving.states(paths):
        model_serving.stop(state.name, paths)


def call(*words: str) -> Result:
    return run(["model", *words], Context("cli"))


def serve(binary: Path, file: Path, *more: str) -> dict[str, Any]:
    words = ["serve", "bitnet", "--model", str(file), "--binary", str(binary), "--threads", "1"]
    data: dict[str, Any] = call(*words, "--context-size", "128", "--background", *more).data
    return data


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def state_of(paths: Paths) -> ServerState:
    return model_serving.states(paths)[0]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_is_an_endpoint_like_any_other(home: Paths, binary: Path, file: Path) -> None:
    state = serve(binary, file, "--memory-gb", "6", "--nice", "7")
    assert state["state"] == "healthy"
    assert state["base_url"].startswith("http://127.0.0.1:")
    endpoint = load().endpoint("bitnet")
    assert (endpoint.base_url, endpoint.models) == (state["base_url"], ("bitnet",))
    assert (endpoint.input_price, endpoint.output_price) == (0, 0)
    asked = {"messages": [{"role": "user", "content": "the"}], "max_tokens": 4}
    answer = httpx2.post(f"{state['base_url']}/chat/completions", json=asked, timeout=60).json()
    assert answer["usage"]["completion_tokens"] >= 1
    assert call("use", "bitnet/bitnet").data["name"] == "bitnet/bitnet"

    server = psutil.Process(state["server_pid"])
    assert server.nice() == min(19, os.nice(0) + 7)  # the tests may be nice themselves
    assert server.rlimit(psutil.RLIMIT_AS)[0] == 6 * 10**9
    assert server.rlimit(psutil.RLIMIT_CORE)[0] == 0
    assert "llama" in Path(state["log"]).read_text("utf-8").lower()
    assert Path(state["log"]).stat().st_mode & 0o077 == 0
    assert model_serving.answers(state_of(home))
    assert "healthy" in call("served").text
    assert call("served", "bitnet").status == 0
    with pytest.raises(ModelError, match="served already"):
        serve(binary, file)

    port = load().endpoint("bitnet").base_url
    assert call("stop", "bitnet").data["stopped"]
    assert gone(state["pid"])
    assert gone(state["server_pid"])
    assert call("served", "bitnet").status == 3
    assert call("stop", "bitnet").data["stopped"] is False
    assert serve(binary, file)["base_url"] == port  # the address outlives a stop


def test_a_killed_server_is_started_again(home: Paths, binary: Path, file: Path) -> None:
    first = serve(binary, file)
    os.kill(first["server_pid"], signal.SIGKILL)
    until(lambda: state_of(home).restarts == 1, "it was noticed")
    until(lambda: state_of(home).state == "healthy", "it came back")
    now = state_of(home)
    assert now.server_pid != first["server_pid"]
    assert now.base_url == first["base_url"]
    assert "SIGKILL" in Path(now.log).read_text("utf-8")


@pytest.mark.slow
def test_a_server_that_hangs_is_started_again(home: Paths, binary: Path, file: Path) -> None:
    plan = ServerPlan("bitnet", str(binary), str(file), model_serving.free_port(), threads=1)
    plan = replace(plan, check_s=0.1, check_timeout_s=0.5, options=("--ctx-size", "128"))
    first = model_serving.background(plan, home, wait_s=PATIENCE_S)
    os.kill(first.server_pid, signal.SIGSTOP)
    until(lambda: state_of(home).restarts == 1, "it was noticed")
    until(lambda: state_of(home).state == "healthy", "it came back")
    assert gone(first.server_pid)
    assert "health checks" in Path(first.log).read_text("utf-8")


def test_a_server_does_not_outlive_its_supervisor(home: Paths, binary: Path, file: Path) -> None:
    first = serve(binary, file)
    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: gone(first["server_pid"]), "the server went too")
    assert state_of(home).state == "stopped"
    assert serve(binary, file)["state"] == "healthy"


def test_in_the_foreground_until_ctrl_c(home: Paths, binary: Path, file: Path) -> None:
    words = ["serve", "bitnet", "--model", str(file), "--binary", str(binary)]
    child = subprocess.Popen(
        [sys.executable, "-m", "aiki_kernel.cli", "model", *words, "--", "--ctx-size", "128"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stderr is not None
    lines = []
    for line in child.stderr:
        lines.append(line)
        if "ready after" in line:
            break
    server = state_of(home).server_pid
    os.killpg(child.pid, signal.SIGINT)
    rest = child.stderr.read()
    assert child.wait(PATIENCE_S) == 0, "".join(lines) + rest
    assert "stopped" in rest
    assert gone(server)
    assert all(line.startswith("bitnet: ") for line in lines)


def test_what_cannot_be_served_is_given_up_with_the_cause(
    home: Paths, binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\xff" * 200)
    with pytest.raises(ModelError, match="could not be served") as caught:
        serve(binary, bad)
    assert "\n" not in str(caught.value)
    assert state_of(home).state == "failed"
    assert "ended with status" in state_of(home).note
    print(caught.value)

    bad.write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a GGUF"):
        serve(binary, bad)
    with pytest.raises(ModelError, match="Which file"):
        call("serve", "bitnet")
    with pytest.raises(ModelError, match="cannot be read"):
        call("serve", "bitnet", "--model", str(tmp_path / "x"), "--binary", str(binary))
    bad.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match="--binary"):
        call("serve", "bitnet", "--model", str(bad), "--binary", str(tmp_path))
    with pytest.raises(ModelError, match="already"):
        call("serve", "openai", "--model", str(bad), "--binary", str(binary))
    with pytest.raises(ModelError, match="name"):
        call("serve", "../x", "--model", str(bad), "--binary", str(binary))
    monkeypatch.setattr(memory, "cgroup_rooms", lambda: [1000])
    with pytest.raises(ModelError, match="GB of memory"):
        serve(binary, bad)


# Merges that tell how text was cut first: across digits, contractions, spaces, lines and signs.
TELLING = [
    *("1 2", "12 3", "123 4", "3 4", "' s", "' S", "' l", "'l l", "s Ġ", "Ġ Ġ", "ĠĠ Ġ", "Ġ a"),
    *("Ċ Ċ", "č Ċ", "! Ċ", "! !", "a Ċ", "Ġ !", "Ġ 1", "a 1", "a !", "Ã ¸", "Ġ Ã", "a '", "ĉ a"),
]
TEXTS = [
    *("1234 12 123456 1a 12.34", "it's IT'S we'll 'sa a's", "a  a   a    a", " \n\n a\r\n\r\na \n"),
    *(
        "a!! !!\n\n!a",
        "ø øa\u00a0a æøå",
        "日本語 1２3 Ⅷ",
        "\ta\t\ta",
        "a 1 a1 1a",
        "  ",
        "\n",
        "😀a!",
    ),
    *("don't can't she'd", "e\u0301a \u200da", "<|eot_id|> a"),
]


def test_text_is_cut_as_llama_cpp_cuts_it(home: Paths, binary: Path, tmp_path: Path) -> None:
    path = tmp_path / "words.gguf"
    common: dict[str, Any] = {"ternary": "TQ2_0", "embedding": "Q8_0", "merges": TELLING}
    write_bitnet(path, TINY, architecture="bitnet", **common)
    with GGUF(path) as opened:
        tokenizer = Tokenizer(opened)
    address = serve(binary, path)["base_url"].removesuffix("/v1")
    for text in TEXTS:
        asked = {"content": text, "add_special": False, "parse_special": False}
        theirs = httpx2.post(f"{address}/tokenize", json=asked, timeout=60).json()["tokens"]
        assert tokenizer.encode(text) == theirs, text


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{text}", "utf-8")
    path.chmod(0o755)
    return path


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_server, "LOG_BYTES", 20_000)
    talks = program(
        tmp_path / "talks",
        "import time\nfor n in range(4000): print('line', n, flush=True)\ntime.sleep(600)\n",
    )
    said: list[str] = []
    plan = ServerPlan("talks", str(talks), "x", model_serving.free_port(), nice=0)
    log = tmp_path / "log" / "talks.log"
    supervisor = Supervisor(plan, tmp_path / "state.json", log, said.append)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    until(lambda: log.exists() and "line 3999" in log.read_text("utf-8"), "all was read")
    supervisor.stopping.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    files = list(log.parent.iterdir())
    assert len(files) == 1 + model_server.LOG_BACKUPS
    assert sum(path.stat().st_size for path in files) < 5 * 20_000
    assert json.loads((tmp_path / "state.json").read_text("utf-8"))["state"] == "stopped"
    assert said[-1] == "talks: stopped"
