"""A real kernel whose model says keys and cards, cut anywhere: no message of it carries one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fault_server import FaultServer, Scenario
from notebook_driver import Notebook

from aiki_kernel.safety.audit import audit_of
from aiki_kernel.safety.secret_samples import samples

KEY = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
PEM = next(one.secret for one in samples(57, 8) if one.kind == "EC key")
PIECES = [
    ("Use ", "gh", "p_aB3dE5gH7j", "K9mN1pQ3sT5", "vW7yZ9bC1dE3fG5", " today."),
    ("The card is 41", "11 1111", " 1111 11", "11, until May."),
    ("Here:\n", PEM[:11], PEM[11:30], PEM[30:90], PEM[90:], "\nDone."),
]
PARTS = ("K9mN1pQ3sT5", "1111 1111", PEM[60:100])


def everything(ran: object) -> str:
    return json.dumps(ran, default=lambda one: getattr(one, "__dict__", str(one)))


@pytest.mark.parametrize("cell", [None, "live"])
@pytest.mark.parametrize(("pieces", "part"), list(zip(PIECES, PARTS, strict=True)))
def test_neither_live_nor_final(
    notebook: Notebook,
    server: FaultServer,
    environment: dict[str, str],
    cell: str | None,
    pieces: tuple[str, ...],
    part: str,
) -> None:
    server.script(Scenario(pieces=pieces))
    ran = notebook.run("What was it?", **({"cell": f"secret-{part[:3]}"} if cell else {}))
    assert ran.status == "ok"
    assert part not in everything(ran)
    assert "removed]" in ran.answer
    assert any("Taken out of the answer" in note for note in ran.metadata["notes"])
    home = Path(environment["AIKI_HOME"])
    assert audit_of(home).recent(1, event="secret.found")[0]["facts"]["where"] == "answer"


def test_what_the_user_typed_is_not_remembered_with_its_key(
    notebook: Notebook, server: FaultServer, environment: dict[str, str]
) -> None:
    ran = notebook.run(f"Is {KEY} a good key?")
    assert KEY in server.requests[-1].body["messages"][-1]["content"]  # the model may see it
    assert KEY not in json.dumps(ran.metadata)
    [note] = [note for note in ran.metadata["notes"] if "Not remembered" in note]
    assert "1 GitHub token" in note
    shown = notebook.run("%aiki_memory list -k 4")
    assert "removed]" in everything(shown)
    assert KEY not in everything(shown.of("display_data", "stream", "execute_result"))
    home = Path(environment["AIKI_HOME"])
    for path in home.rglob("*"):
        # The notebook's own history is the user's, and IPython's.
        if path.is_file() and "ipython" not in path.parts:
            assert KEY.encode() not in path.read_bytes(), path


def test_the_magic_verifies_the_log_of_its_own_kernel(notebook: Notebook) -> None:
    notebook.run("hello?")
    shown = everything(notebook.run("%aiki_memory audit --event model"))
    assert "model.call" in shown
    assert "follow from each other" in everything(notebook.run("%aiki_memory audit --verify"))
