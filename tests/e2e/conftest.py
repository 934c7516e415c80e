"""A real JupyterLab on a home of its own, driven by a real Chromium.

One Lab and one browser serve all tests of this folder; each test opens notebooks of its
own. Screenshots and the Lab's log are kept in a folder that is printed at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from fault_server import FaultServer

from aiki_kernel.models.weights import for_tests

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
CELL = ".jp-Notebook .jp-CodeCell"
CARD = ".aiki-card, .aiki-card-static"


@dataclass
class Lab:
    """A running JupyterLab. ``folder`` holds its notebooks, ``shots`` what is kept."""

    url: str
    folder: Path
    settings: Path
    shots: Path
    home: Path

    def write(self, name: str, cells: Sequence[str]) -> str:
        """A notebook of AIKI cells called ``name``; returns ``name``."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        book.metadata["kernelspec"] = {"name": "aiki", "display_name": "AIKI", "language": "aiki"}
        nbformat.write(book, self.folder / name)
        return name

    def read(self, name: str) -> Any:
        """The notebook as it is saved now."""
        return nbformat.read(self.folder / name, as_version=4)

    def theme(self, name: str) -> None:
        """Light or dark, for every page that is opened from now on."""
        _setting(self.settings, "apputils-extension/themes", {"theme": f"JupyterLab {name}"})


@dataclass
class Book:
    """One notebook on screen."""

    page: Any
    requests: list[str] = field(default_factory=list)

    def run(self, index: int) -> None:
        """Start cell ``index`` as a reader would, without waiting for it."""
        before = self.prompt(index)
        self.page.locator(CELL).nth(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_function(
            "([i, before, cell]) => document.querySelectorAll(cell)[i]"
            ".querySelector('.jp-InputPrompt').textContent !== before",
            arg=[index, before, CELL],
            timeout=10_000,
        )

    def idle(self, seconds: float = 60.0) -> None:
        """Wait until the kernel has nothing to do."""
        self.page.wait_for_selector(
            '.jp-Notebook-ExecutionIndicator[data-status="idle"]',
            state="attached",
            timeout=seconds * 1000,
        )

    def ask(self, index: int, seconds: float = 60.0) -> None:
        """Run cell ``index`` to its end."""
        before = self.prompt(index)
        self.run(index)
        self.page.wait_for_function(
            "([i, before, cell]) => { const now = document.querySelectorAll(cell)[i]"
            ".querySelector('.jp-InputPrompt').textContent;"
            "return now !== before && /\\d/.test(now); }",
            arg=[index, before, CELL],
            timeout=seconds * 1000,
        )
        self.idle(seconds)

    def prompt(self, index: int) -> str:
        """The ``[3]:`` beside a cell; ``[*]:`` while it runs."""
        found = self.page.locator(CELL).nth(index).locator(".jp-InputPrompt")
        return str(found.first.text_content())

    def output(self, index: int) -> Any:
        """Everything under cell ``index``."""
        return self.page.locator(CELL).nth(index).locator(".jp-OutputArea")

    def answer(self, index: int) -> Any:
        """The rendered Markdown under cell ``index``."""
        return self.output(index).locator(".jp-RenderedMarkdown").first

    def card(self, index: int) -> Any:
        """The card under cell ``index``, live or kept."""
        return self.output(index).locator(CARD).first

    def save(self) -> None:
        """Save as a reader would."""
        self.page.locator(CELL).first.locator(".cm-content").click()
        self.page.keyboard.press("Control+s")
        self.page.wait_for_function(
            "() => !document.querySelector('.jp-mod-current.jp-mod-dirty')", timeout=10_000
        )


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium. Without one these tests are skipped, but never in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        reason = "Chromium is not installed: JupyterLab was NOT tested (apt install chromium)."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def scripted() -> Iterator[FaultServer]:
    """The API that answers as a test asks."""
    with FaultServer() as server:
        yield server


@pytest.fixture(scope="module")
def lab(chromium: str, scripted: FaultServer) -> Iterator[Lab]:
    """JupyterLab with the AIKI kernel of this checkout, on loopback, without news."""
    base = Path(tempfile.mkdtemp(prefix="aiki-lab-", dir="/tmp"))
    runtime = base / "run"
    runtime.mkdir(mode=0o700)
    home, folder, shots = base / "home", base / "books", base / "shots"
    for made in (home, folder, shots):
        made.mkdir()
    shutil.copytree(ROOT / "kernelspec", base / "share/kernels/aiki")
    shutil.copytree(ROOT / "widgets/labextension", base / "share/labextensions/aiki-kernel")
    (home / "aiki.toml").write_text(
        'model = "scripted/slow"\n\n[endpoints.scripted]\n'
        f'base_url = "{scripted.base_url}"\ninput_price = 0.2\noutput_price = 0.6\n'
    )
    settings = base / "settings"
    _setting(
        settings,
        "apputils-extension/notification",
        {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    )
    _setting(settings, "notebook-extension/tracker", {"windowingMode": "none"})
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("AIKI_", "JUPYTER"))},
        "AIKI_HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(base / "config"),
        "JUPYTER_DATA_DIR": str(base / "data"),
        "JUPYTER_PATH": str(base / "share"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(base / "workspaces"),
        "IPYTHONDIR": str(base / "ipython"),
        "TZ": "UTC",
    }
    log = (shots / "jupyterlab.log").open("wb")
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0"),
            *("--ServerApp.port_retries=0", "--IdentityProvider.token=", "--allow-root"),
            *(f"--ServerApp.root_dir={folder}", "--ServerApp.password="),
            "--ServerApp.disable_check_xsrf=True",  # so that this fixture can end sessions
            "--LabApp.news_url=None",
        ],
        cwd=folder,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        url = _wait_for(server, runtime, shots / "jupyterlab.log")
        yield Lab(url, folder, settings, shots, home)
    finally:
        _stop(server, url=locals().get("url"))
        subprocess.run(
            [sys.executable, "-m", "aiki_kernel.cli", "daemon", "stop"],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        log.close()
        for made in (home, settings, base / "share", base / "data", base / "ipython"):
            shutil.rmtree(made, ignore_errors=True)
        print(f"\nscreenshots and JupyterLab's log: {shots}")


@pytest.fixture(scope="module")
def local_model(lab: Lab) -> str:
    """The name of the model on this machine, whose weights lie in the Lab's home."""
    weights = for_tests()
    models = lab.home / "models"
    models.mkdir(exist_ok=True)
    for file in weights.parent.glob(f"{weights.name}*"):
        shutil.copyfile(file, models / file.name)
    return "local/smollm2-135m"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """A Chromium for a file of tests. Its driver runs a loop, which no later test may inherit."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        running = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()


@pytest.fixture
def open_book(
    lab: Lab, browser: Any, scripted: FaultServer, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Book]]:
    """Opens a notebook of :class:`Lab` on a page of its own; keeps a picture of each.

    ``bare`` shows the notebook alone, without JupyterLab's side bars; ``way`` is where another
    front end shows it (``notebooks`` is Notebook 7's).

    At the end no page may have asked anything of a host other than this machine.
    """
    opened: list[tuple[str, Book]] = []

    def _open(
        name: str,
        *,
        width: int = 1100,
        height: int = 1000,
        scale: float = 1,
        bare: bool = False,
        way: str = "",
    ) -> Book:
        context = browser.new_context(
            viewport={"width": width, "height": height}, device_scale_factor=scale
        )
        page = context.new_page()
        book = Book(page)
        page.on("request", lambda sent: book.requests.append(sent.url))
        workspace = f"{request.node.name}-{len(opened)}".replace("[", "-").replace("]", "")
        way = way or f"{'doc' if bare else 'lab'}/workspaces/{workspace}/tree"
        page.goto(f"{lab.url}/{way}/{name}", wait_until="load")
        page.wait_for_selector(f"{CELL} .cm-content", timeout=60_000)
        opened.append((name, book))
        book.idle()
        _connected(lab.url, name)
        return book

    yield _open
    scripted._queue.clear()  # what this test did not use is not for the next one
    for name, book in opened:
        shot = lab.shots / f"{request.node.name.removeprefix('test_')}-{Path(name).stem}.png"
        with contextlib.suppress(Exception):
            book.page.screenshot(path=str(shot))
        book.page.context.close()
    with urllib.request.urlopen(f"{lab.url}/api/sessions") as answer:
        sessions = json.load(answer)
    for session in sessions:
        gone = urllib.request.Request(f"{lab.url}/api/sessions/{session['id']}", method="DELETE")
        urllib.request.urlopen(gone).close()
    for _, book in opened:
        strangers = [
            url
            for url in book.requests
            if not url.startswith((lab.url, lab.url.replace("http", "ws"), "data:", "blob:"))
        ]
        assert strangers == []


def _connected(url: str, name: str) -> None:
    """Wait until the server itself says that a front end is connected to an idle kernel.

    JupyterLab shows a kernel as idle before it is, and drops what is run by then.
    """
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        with urllib.request.urlopen(f"{url}/api/sessions") as answer:
            kernels = [s["kernel"] for s in json.load(answer) if s["path"] == name]
        if any(k["execution_state"] == "idle" and k["connections"] for k in kernels):
            return
        time.sleep(0.1)
    pytest.fail(f"No kernel for {name} was ready within {START_S:.0f} s.")


def _setting(folder: Path, plugin: str, values: dict[str, Any]) -> None:
    path = folder / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def _wait_for(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if server.poll() is not None:
            pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
        for info in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError, OSError):
                url = str(json.loads(info.read_text())["url"]).rstrip("/")
                urllib.request.urlopen(f"{url}/api/status", timeout=5).close()
                return url
        time.sleep(0.1)
    pytest.fail(f"JupyterLab was not ready within {START_S:.0f} s:\n{log.read_text()[-3000:]}")


def _stop(server: subprocess.Popen[bytes], url: str | None) -> None:
    if url is not None:
        with contextlib.suppress(OSError):
            asked = urllib.request.Request(f"{url}/api/shutdown", method="POST")
            urllib.request.urlopen(asked, timeout=10).close()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
