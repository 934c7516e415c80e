"""``%aiki_backend`` in real kernels: each session searches with what it chose."""

from __future__ import annotations

import json

import pytest
from fault_server import FaultServer
from notebook_driver import Notebook

from aiki_kernel.compute.native import native
from aiki_kernel.config import Paths
from aiki_kernel.daemon import lifecycle

pytestmark = pytest.mark.slow

FAST = "mojo" if native().kernels else "numpy"
FILL = """
from aiki_kernel.memory.records import Draft, Scope
chat = get_ipython().kernel.chatter
aiki = chat.bridge.aiki
drafts = [Draft(f"memory {n} about topic {n % 7}", Scope("kari")) for n in range(60)]
aiki.run(aiki.connection.admin.add_many(drafts))
print("filled")
"""


def _searched_by(kernel: Notebook) -> dict[str, object]:
    ran = kernel.run("What do we know about topic 3?")
    assert ran.status == "ok", ran.reply
    found: dict[str, object] = ran.metadata["backend"]
    return found


def test_two_notebooks_search_with_what_each_chose(
    environment: dict[str, str], server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        **environment,
        "AIKI_DAEMON": "auto",
        "AIKI_MEMORY__RECALL_K": "4",
        "AIKI_MEMORY__EMBEDDER": "wordllama",
        "AIKI_MEMORY__USER_ID": "kari",
    }
    for name in ("AIKI_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, variables[name])
    kernels = [Notebook(env=variables) for _ in range(2)]
    try:
        first, second = kernels
        assert first.python(FILL) == "filled"
        auto = _searched_by(first)
        assert auto["name"] in (FAST, "qdrant")  # qdrant for as long as the index is built
        assert auto["reason"]
        assert isinstance(auto["ms"], float)

        switched = first.run("%aiki_backend numpy")
        assert "numpy searches from now on in this session" in _text(switched)
        assert second.run("%aiki_backend qdrant").status == "ok"
        for _ in range(2):
            assert _searched_by(first)["name"] == "numpy"
            assert _searched_by(second)["name"] == "qdrant"
        assert first.run("%aiki_backend auto").status == "ok"
        assert _searched_by(first)["name"] == FAST
        assert _searched_by(second)["name"] == "qdrant"

        (shown,) = second.run("%aiki_backend").of("display_data")
        assert "<table" in shown["data"]["text/html"]
        told = json.loads(_text(second.run("%aiki_backend --json")))
        assert told["wanted"] == "qdrant"
        assert {row["name"] for row in told["backends"] if row["last_ms"]} >= {"numpy", "qdrant"}
        wrong = second.run("%aiki_backend qdrnt")
        assert wrong.status == "error"
        assert "did you mean qdrant?" in wrong.error["evalue"]
        compared = json.loads(_text(first.run('%aiki_backend --compare "topic 3" --json')))
        assert all(row["same"] == row["of"] for row in compared["rows"] if "ms" in row)

        code = "%aiki_backend mo"
        first.client.complete(code, len(code))
        matches = first.client.get_shell_msg(timeout=20)["content"]["matches"]
        assert matches == ["mojo", "mojo-server"]
    finally:
        for kernel in kernels:
            kernel.close()
        lifecycle.stop(Paths.default(), drain_s=1.0)


def _text(ran: object) -> str:
    (shown,) = ran.of("display_data")  # type: ignore[attr-defined]
    return str(shown["data"]["text/plain"])
