"""Services that fail for real: each is seen, with a reason that says what to do."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from health_files import booked

from aiki_kernel.commands.health_plan import resolve
from aiki_kernel.config import Paths, load
from aiki_kernel.daemon import lifecycle
from aiki_kernel.health.plan import Endpoint, Plan
from aiki_kernel.health.probe import probes
from aiki_kernel.health.probes.memory import _short
from aiki_kernel.health.reading import Reading
from aiki_kernel.health.sampler import Sampler
from aiki_kernel.mind.ledger import Ledger


def look(plan: Plan, name: str) -> Reading:
    """One sample of everything, and what it says of ``name``."""
    reading = Sampler(plan, probes(plan)).sample().reading(name)
    assert reading is not None, f"no probe {name}"
    return reading


class Scripted(BaseHTTPRequestHandler):
    """Answers as its server is told."""

    def do_GET(self) -> None:
        answer: Callable[[BaseHTTPRequestHandler], None] = self.server.answer  # type: ignore[attr-defined]
        answer(self)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A real server on loopback; set ``answer``."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(b"{}")

    return answer


def test_a_daemon_that_nobody_needed_is_no_fault_and_is_not_started(
    plan: Plan, paths: Paths
) -> None:
    assert look(plan, "memory_daemon").state == "ok"
    assert not lifecycle.status(paths).running


@pytest.mark.slow
def test_a_daemon_that_is_killed_stopped_or_without_its_socket(plan: Plan, paths: Paths) -> None:
    pid = lifecycle.start(load(), paths).status.pid
    assert pid is not None
    well = look(plan._replace(timeout_s=10.0), "memory_daemon")
    assert well.state == "ok", well.reason
    assert well.facts["pid"] == pid
    assert well.facts["resident_bytes"] > 1e6

    newer = look(plan._replace(version="99.0", timeout_s=10.0), "memory_daemon")
    assert newer.state == "degraded"
    assert "aiki daemon stop" in newer.reason

    paths.socket.rename(paths.socket.with_suffix(".gone"))
    gone = look(plan, "memory_daemon")
    assert (gone.state, "socket is gone" in gone.reason) == ("down", True)
    paths.socket.with_suffix(".gone").rename(paths.socket)

    os.kill(pid, signal.SIGSTOP)
    starting = look(plan, "memory_daemon")
    assert (starting.state, "is starting" in starting.reason) == ("unknown", True)
    os.utime(paths.lock, (time.time() - 60,) * 2)
    silent = look(plan, "memory_daemon")
    assert (silent.state, "does not answer within" in silent.reason) == ("down", True)
    assert look(plan, "embedder").state == "unknown"

    os.kill(pid, signal.SIGKILL)
    assert lifecycle._wait_until_free(paths, 10.0)
    killed = look(plan, "memory_daemon")
    assert (killed.state, "was killed" in killed.reason) == ("down", True)
    assert "daemon.log" in killed.reason
    assert _short(f"{Path.home()}/aiki") == "~/aiki"
    assert _short(f"{Path.home()}less/aiki") == f"{Path.home()}less/aiki"


@pytest.mark.parametrize(
    ("code", "headers", "state", "words"),
    [
        (200, {}, "ok", "answers"),
        (404, {}, "ok", "answers"),
        (401, {}, "down", "The key in HOUSE_KEY is refused by house (401)"),
        (402, {}, "down", "no credit"),
        (429, {"Retry_After": "17"}, "degraded", "try again in 17 s"),
        (500, {}, "down", "house fails (500)"),
    ],
)
def test_what_a_provider_answers(
    plan: Plan,
    server: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    headers: dict[str, str],
    state: str,
    words: str,
) -> None:
    monkeypatch.setenv("HOUSE_KEY", "a-key-of-the-house")
    server.answer = status(code, **headers)  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{server.server_port}/v1"
    found = look(plan._replace(endpoints=(Endpoint("house", url, "HOUSE_KEY"),)), "provider_house")
    assert (found.state, words in found.reason) == (state, True), found.reason
    assert "a-key-of-the-house" not in str(found.to_json())


def test_a_provider_is_asked_with_the_key_and_for_no_tokens(
    plan: Plan, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOUSE_KEY", "a-key-of-the-house")
    seen: list[tuple[str, str]] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append((request.path, request.headers["Authorization"]))
        status(200)(request)

    server.answer = answer  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{server.server_port}/v1"
    plan = plan._replace(endpoints=(Endpoint("house", url, "HOUSE_KEY"),))
    look(plan, "provider_house")
    assert seen == [("/v1/models", "Bearer a-key-of-the-house")]


def test_a_provider_that_refuses_hangs_or_does_not_exist(plan: Plan) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections, never answers
        port = hanging.getsockname()[1]
        plan = plan._replace(
            endpoints=(
                Endpoint("hangs", f"http://127.0.0.1:{port}/v1"),
                Endpoint("refuses", "http://127.0.0.1:9/v1"),
                Endpoint("nowhere", "http://nobody.invalid/v1"),
                Endpoint("wrong", "ftp://example.org"),
            )
        )
        sample = Sampler(plan, probes(plan)).sample()
    assert sample.seconds < plan.timeout_s + 1.0
    reasons = {r.probe: (r.state, r.reason) for r in sample.readings}
    assert reasons["provider_hangs"][0] == "down"
    assert "does not answer within" in reasons["provider_hangs"][1]
    assert "refuses connections" in reasons["provider_refuses"][1]
    assert reasons["provider_nowhere"][0] in ("down", "unknown")
    assert "address of wrong" in reasons["provider_wrong"][1]


def test_a_provider_behind_tls_whose_certificate_nobody_signed(plan: Plan, tmp_path: Path) -> None:
    import ssl

    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key -out cert"
    subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    made = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    made.answer = status(200)  # type: ignore[attr-defined]
    made.socket = context.wrap_socket(made.socket, server_side=True)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        url = f"https://localhost:{made.server_port}/v1"
        plan = plan._replace(endpoints=(Endpoint("house", url),))
        found = look(plan, "provider_house")
        assert (found.state, "not trusted" in found.reason) == ("down", True), found.reason
        trusted = look(plan._replace(ca_file=str(tmp_path / "cert")), "provider_house")
        assert "not trusted" in trusted.reason or trusted.state == "ok"
    finally:
        made.shutdown()
        made.server_close()


def test_a_key_that_is_missing_counts_only_for_a_provider_in_use(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = resolve(load(), paths)
    names = [reading.probe for reading in Sampler(plan, probes(plan)).sample().readings]
    assert not [name for name in names if name.startswith("provider_")]
    monkeypatch.setenv("AIKI_MODEL", "openai/gpt-4o-mini")
    found = look(resolve(load(), paths), "provider_openai")
    assert (found.state, "set OPENAI_API_KEY" in found.reason) == ("down", True)


def test_keys_toml_is_read_only_when_it_is_private(
    plan: Plan, paths: Paths, server: ThreadingHTTPServer
) -> None:
    server.answer = status(200)  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{server.server_port}/v1"
    plan = plan._replace(endpoints=(Endpoint("house", url, "HOUSE_KEY", wanted=True),))
    paths.keys.write_text('HOUSE_KEY = "k"\n', "utf-8")
    paths.keys.chmod(0o644)
    assert "no key" in look(plan, "provider_house").reason
    paths.keys.chmod(0o600)
    assert look(plan, "provider_house").state == "ok"


def test_a_qdrant_server_that_refuses_hangs_denies_or_is_red(
    plan: Plan, server: ThreadingHTTPServer
) -> None:
    refusing = look(plan._replace(qdrant_url="http://127.0.0.1:9"), "qdrant")
    assert (refusing.state, "refuses connections" in refusing.reason) == ("down", True)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        found = look(plan._replace(qdrant_url=url), "qdrant")
        assert (found.state, "does not answer" in found.reason) == ("down", True)
    plan = plan._replace(
        qdrant_url=f"http://127.0.0.1:{server.server_port}",
        qdrant_key_variable="QDRANT_API_KEY",
        collection="aiki_memories",
    )
    server.answer = status(401)  # type: ignore[attr-defined]
    assert "correct QDRANT_API_KEY" in look(plan, "qdrant").reason

    def red(request: BaseHTTPRequestHandler) -> None:
        assert request.path == "/collections/aiki_memories"
        request.send_response(200)
        request.end_headers()
        request.wfile.write(b'{"result": {"status": "red", "points_count": 7}}')

    server.answer = red  # type: ignore[attr-defined]
    found = look(plan, "qdrant")
    assert (found.state, found.value) == ("down", 7.0)


def test_a_model_file_that_was_removed(paths: Paths) -> None:
    paths.models.mkdir()
    file = paths.models / "mine.gguf"
    file.write_bytes(b"GGUF")
    plan = resolve(load(model="local/mine"), paths)
    assert look(plan, "local_model").state == "ok"
    file.unlink()
    for seen in (plan, resolve(load(model="local/mine"), paths)):  # the daemon's, and a fresh look
        found = look(seen, "local_model")
        assert (found.state, "aiki model pull mine" in found.reason) == ("down", True)


def test_a_served_model_whose_supervisor_was_killed_or_that_was_given_up(
    plan: Plan, paths: Paths
) -> None:
    import json

    folder = paths.home / "serve"
    folder.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    state = {"name": "bitnet", "state": "healthy", "base_url": "http://127.0.0.1:9/v1"}
    (folder / "bitnet.json").write_text(json.dumps({**state, "pid": dead.pid}), "utf-8")
    found = look(plan, "model_servers")
    assert (found.state, "supervisor was killed" in found.reason) == ("down", True)
    (folder / "bitnet.json").write_text(json.dumps({**state, "pid": os.getpid()}), "utf-8")
    assert "bitnet does not answer" in look(plan, "model_servers").reason
    failed = {**state, "state": "failed", "note": "no such file", "pid": os.getpid()}
    (folder / "bitnet.json").write_text(json.dumps(failed), "utf-8")
    assert "given up (no such file)" in look(plan, "model_servers").reason


def test_the_spool_grows(plan: Plan, paths: Paths) -> None:
    assert look(plan, "spool").state == "ok"
    paths.spool.mkdir()
    for number in range(3):
        file = paths.spool / f"{number:020d}-x.json"
        file.write_text("{}", "utf-8")
        os.utime(file, (1, 1e9 + number))
    found = look(plan, "spool")
    assert (found.state, found.value) == ("down", 3.0)
    assert "aiki daemon start" in found.reason
    assert look(plan._replace(spool_age_s=(300.0, 1e12)), "spool").state == "degraded"


def test_the_budget_passed_and_nearly(plan: Plan, paths: Paths) -> None:
    booked(paths, 9, cost_usd=0.1)
    assert look(plan, "cost").value == pytest.approx(0.9)
    nearly = look(plan._replace(day_usd=1.0), "cost")
    assert nearly.state == "degraded"
    passed = look(plan._replace(day_usd=0.5), "cost")
    assert (passed.state, "until midnight" in passed.reason) == ("down", True)
    assert "budget.day_usd" in passed.reason


def test_errors_and_waiting_times_of_the_last_hour(plan: Plan, paths: Paths) -> None:
    booked(paths, 6, ago_s=7200, error="old")
    assert look(plan, "answers").state == "ok"
    booked(paths, 2, first_token_s=90.0)
    booked(paths, 2, error="it failed", name="house/m")
    booked(paths, 3, error="stopped", interrupted=True)
    found = look(plan, "answers")
    assert (found.state, found.facts["errors"]) == ("degraded", 2)
    assert "house/m" in found.reason
    assert look(plan, "latency").facts["first_token"]["calls"] == 2
    booked(paths, 2, first_token_s=90.0, recall_s=0.02, route_s=0.001)
    ledger = Ledger(paths.ledger)
    ledger.remembered(0.005, spooled=True)
    ledger.close()
    slow = look(plan, "latency")
    assert slow.state == "degraded"
    assert slow.facts["recall"]["calls"] == slow.facts["route"]["calls"] == 2
    assert slow.facts["remember"] == {"p50_s": 0.005, "p95_s": 0.005, "calls": 1}


def test_a_ledger_of_the_first_format_is_read_and_never_changed(plan: Plan, paths: Paths) -> None:
    from aiki_kernel.mind.ledger_file import _FORMATS

    with sqlite3.connect(paths.ledger) as old:
        for statement in _FORMATS[0]:
            old.execute(statement)
    before = paths.ledger.read_bytes()
    assert look(plan, "answers").state == "ok"
    assert look(plan, "cost").state == "ok"
    assert look(plan, "latency").state == "ok"
    assert paths.ledger.read_bytes() == before
