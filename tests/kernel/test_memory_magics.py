"""``%aiki_memory ask``, ``why``, ``forget``, ``undo`` in a real kernel, also after its restart."""

from __future__ import annotations

from fault_server import FaultServer, Scenario
from notebook_driver import Notebook


def test_asking_why_forgetting_and_undoing(
    environment: dict[str, str], server: FaultServer
) -> None:
    env = environment | {"AIKI_MEMORY__RECALL_K": "8", "AIKI_MEMORY__EMBEDDER": "wordllama"}
    kernel = Notebook(env=env)
    try:
        kernel.run("%aiki_memory add --kind decision the budget of the cabin is 300 kroner")
        server.script(Scenario(text="It is 300 kroner."), Scenario(text="300 kroner [1], not [4]."))
        turn = kernel.run("what is the budget of the cabin").metadata["turn_id"]
        (shown,) = kernel.run('%aiki_memory ask "what did we decide about the budget today?"').of(
            "display_data"
        )
        html = shown["data"]["text/html"]
        assert "decision" in html
        assert "300 kroner [" in html
        assert "[?]" in html
        assert "1 citation was removed" in html
        (why,) = kernel.run("%aiki_memory why").of("display_data")
        assert "1 used" in why["data"]["text/plain"]
        (would,) = kernel.run('%aiki_memory forget --since "i dag"').of("display_data")
        assert "This would forget these 3 memories" in would["data"]["text/plain"]
        assert "--without" in kernel.complete("%aiki_memory ask --wi")["matches"]
        kernel.run('%aiki_memory forget --since "i dag" --reason test --yes')
    finally:
        kernel.close()
    again = Notebook(env=env)
    try:
        (why,) = again.run(f"%aiki_memory why {turn[:8]}").of("display_data")
        assert "(forgotten)" in why["data"]["text/plain"]
        (back,) = again.run("%aiki_memory undo").of("display_data")
        assert "Brought these 3 memories back" in back["data"]["text/plain"]
        (why,) = again.run("%aiki_memory why last").of("display_data")
        assert "the budget of the cabin is 300 kroner" in why["data"]["text/plain"]
    finally:
        again.close()
