"""Binder: what repo2docker makes of the folder, what its scripts do, and the recorded session."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
BINDER = ROOT / "binder"
START_S, MEMORY_MB = 60.0, 2000.0


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_scripts_are_executable_strict_and_correct(name: str) -> None:
    script = BINDER / name
    text = script.read_text()
    assert text.startswith("#!/bin/bash\n")
    assert "set -euo pipefail" in text
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "KEY" not in text


def test_start_hands_over_to_what_it_is_given(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(BINDER / "start"), "printenv", "AIKI_LOCAL__THREADS"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2\n"


def test_repo2docker_takes_the_folder_as_it_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own Python API, without an engine: the buildpack, the Python, the scripts, the image."""
    from repo2docker.app import Repo2Docker

    monkeypatch.chdir(ROOT)
    app = Repo2Docker()
    made = [pack(app.base_image) for pack in app.buildpacks]
    found = [pack for pack in made if pack.detect()]
    pack = found[0]  # the first that wants it builds it
    assert type(pack).__name__ == "PythonBuildPack"
    assert pack.binder_dir == "binder"
    assert pack.python_version in ("3.11", "3.12")
    assert pack.get_post_build_scripts() == ["binder/postBuild"]
    assert pack.get_start_script() == "${REPO_DIR}/binder/start"
    pack.platform = f"linux/{platform.machine()}".replace("x86_64", "amd64")
    image = pack.render({})
    lines = image.splitlines()
    assert any("pip install" in line and "binder/requirements.txt" in line for line in lines)
    assert "RUN ./binder/postBuild" in image
    assert 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in image
    assert 'CMD ["jupyter", "notebook", "--ip", "0.0.0.0"]' in image


def test_the_recorded_session_is_that_of_the_notebook() -> None:
    done = subprocess.run([sys.executable, str(BINDER / "record.py"), "--check"], check=False)
    assert done.returncode == 0, "python binder/record.py writes it anew"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_recorded_session_reads_without_network(
    browser: Any, scheme: str, tmp_path: Path
) -> None:
    page = browser.new_page(
        viewport={"width": 400, "height": 900}, color_scheme=scheme, java_script_enabled=False
    )
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    try:
        page.goto((BINDER / "recorded.html").as_uri())
        text = page.inner_text("main")
        wide = page.locator("html").bounding_box()
        page.screenshot(path=str(tmp_path / f"{scheme}.png"))
    finally:
        page.close()
    assert asked == [(BINDER / "recorded.html").as_uri()]
    assert faults == []
    assert wide["width"] <= 400
    shown = " ".join(text.split())
    book = nbformat.read(ROOT / "notebooks" / "welcome.ipynb", as_version=4)
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    answers = [o.data["text/plain"] for o in outputs if "text/markdown" in o.data]
    assert answers
    for answer in answers:
        assert " ".join(answer.split())[:60] in shown
    assert shown.count("tok/s") >= len(answers)  # the cards


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(1800)
def test_it_is_built_and_starts_to_the_first_answer(tmp_path: Path) -> None:
    """``requirements.txt``, ``postBuild`` and ``start`` for real, in an environment of their own;
    prints seconds and megabytes. What Binder itself takes (queue, image, proxy) is not in them."""
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    home = tmp_path / "home"
    home.mkdir()
    short = Path("/tmp") / f"aiki-b{os.getpid()}"
    short.mkdir(mode=0o700)
    given = {
        "PATH": f"{place / 'bin'}:/usr/bin:/bin",
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(short),
        "LANG": "C.UTF-8",
    }
    repository = tmp_path / "repository"
    wanted = ["aiki_kernel", "binder", "kernelspec", "mojo", "notebooks", "widgets", "LICENSES"]
    for name in [*wanted, "README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"]:
        source = ROOT / name
        skip = shutil.ignore_patterns("node_modules", "__pycache__")
        if source.is_dir():
            shutil.copytree(source, repository / name, ignore=skip)
        else:
            shutil.copyfile(source, repository / name)
    run: dict[str, Any] = {"env": given, "cwd": repository, "check": True}
    began = time.monotonic()
    subprocess.run(["pip", "install", "-q", "-r", "binder/requirements.txt"], **run)
    subprocess.run(["binder/postBuild"], **run)
    built = time.monotonic() - began
    try:
        found = launch(repository, given)
    finally:
        subprocess.run(["aiki", "daemon", "stop"], env=given, check=False)
        shutil.rmtree(short, ignore_errors=True)
    print(f"built in {built:.0f} s; {found}")
    assert found.kernel_s < START_S
    assert found.answer_s < START_S
    assert found.megabytes < MEMORY_MB


@dataclass
class Launch:
    """Seconds since ``binder/start`` began, to each thing that a visitor waits for, and the most
    resident megabytes of everything that runs in that home."""

    page_s: float = 0.0
    kernel_s: float = 0.0
    answer_s: float = 0.0
    all_cells_s: float = 0.0
    megabytes: float = 0.0


def launch(repository: Path, given: dict[str, str]) -> Launch:
    """JupyterLab as Binder starts it, the welcome notebook's page, its kernel, all its cells."""
    from jupyter_client.blocking import BlockingKernelClient

    found = Launch()
    runtime = Path(given["HOME"]) / "runtime"
    given = {**given, "JUPYTER_RUNTIME_DIR": str(runtime)}
    words = ["binder/start", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", "--port=0"]
    words += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", "--allow-root"]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            found.megabytes = max(found.megabytes, _megabytes(given["HOME"]))

    watcher = threading.Thread(target=watch)
    began = time.monotonic()
    server = subprocess.Popen(words, env=given, cwd=repository, start_new_session=True)
    watcher.start()
    try:
        url = _address(runtime, server)
        page = f"{url}lab/tree/notebooks/welcome.ipynb"
        with urllib.request.urlopen(page, timeout=START_S) as answer:
            assert b"jupyter-config-data" in answer.read()
        found.page_s = time.monotonic() - began
        wanted = {"path": "notebooks/welcome.ipynb", "name": "", "type": "notebook"}
        body = json.dumps({**wanted, "kernel": {"name": "aiki"}}).encode()
        asked = urllib.request.Request(f"{url}api/sessions", data=body, method="POST")
        with urllib.request.urlopen(asked, timeout=START_S) as answer:
            kernel = json.load(answer)["kernel"]["id"]
        client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels(hb=False)
        client.kernel_info()
        client.get_shell_msg(timeout=START_S)
        found.kernel_s = time.monotonic() - began
        book = nbformat.read(repository / "notebooks/welcome.ipynb", as_version=4)
        for cell in book.cells:
            if cell.cell_type != "code":
                continue
            reply = client.execute_interactive(cell.source, timeout=120, output_hook=lambda m: None)
            assert reply["content"]["status"] == "ok", cell.source
            if not found.answer_s and not cell.source.startswith("%"):
                found.answer_s = time.monotonic() - began
        found.all_cells_s = time.monotonic() - began
        client.stop_channels()
    finally:
        over.set()
        watcher.join()
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    return found


def _address(runtime: Path, server: subprocess.Popen[bytes]) -> str:
    """Where the server answers, from the file that it writes."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError, OSError):
                url = str(json.loads(file.read_text())["url"])
                urllib.request.urlopen(f"{url}api/status", timeout=5).close()
                return url
        time.sleep(0.1)
    pytest.fail(f"JupyterLab was not ready within {START_S:.0f} s.")


def _megabytes(home: str) -> float:
    """Resident memory of every process of that home."""
    found = 0.0
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == home:
                found += process.memory_info().rss / 1e6
        except (psutil.Error, OSError):
            continue
    return found
