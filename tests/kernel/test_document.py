"""A notebook as a document: kept answers, stale marks, and a conversation that outlives its
kernel. Real kernels over ZMQ, and the files that a notebook server would write."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from fault_server import FaultServer, Scenario
from nbformat.v4 import new_code_cell, new_notebook, new_output
from notebook_driver import Notebook, Ran


class Saved:
    """A notebook's file as JupyterLab saves it: cells by id, displays updated by their ids."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells: dict[str, tuple[str, list[dict[str, Any]]]] = {}

    def take(self, cell: str, source: str, ran: Ran) -> None:
        self.cells[cell] = (source, ran.of("display_data", "stream", "error"))

    def update(self, messages: list[dict[str, Any]]) -> None:
        """What the front end does with every update that it sees."""
        for message in messages:
            if message["msg_type"] != "update_display_data":
                continue
            key = message["content"]["transient"]["display_id"]
            for _, outputs in self.cells.values():
                for output in outputs:
                    if output.get("transient", {}).get("display_id") == key:
                        output["data"] = message["content"]["data"]
                        output["metadata"] = message["content"]["metadata"]

    def write(self, *order: str) -> None:
        cells = []
        for name in order or tuple(self.cells):
            source, outputs = self.cells[name]
            cell = new_code_cell(source, id=name)
            for output in outputs:
                if "data" in output:
                    made = new_output("display_data", output["data"], metadata=output["metadata"])
                    cell.outputs.append(made)
            cells.append(cell)
        spec = {"name": "aiki", "display_name": "AIKI", "language": "aiki"}
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": spec}), self.path)


class Lab:
    """One notebook in a front end: its file, and a kernel that can be lost and come back."""

    def __init__(self, path: Path, environment: dict[str, str]) -> None:
        self.saved = Saved(path)
        self.env = {**environment, "JPY_SESSION_NAME": str(path)}
        self.kernel = Notebook(env=self.env)

    def run(self, cell: str, source: str, **options: Any) -> Ran:
        ran = self.kernel.run(source, cell=cell, **options)
        assert ran.status == "ok", ran.reply
        self.saved.take(cell, source, ran)
        self.saved.update(ran.messages)
        return ran

    def restart(self, *, kill: bool = False) -> None:
        if kill:
            os.kill(self.kernel.pid, signal.SIGKILL)
            self.kernel.close(now=True)
        else:
            self.kernel.close()
        self.kernel = Notebook(env=self.env)


def asked(server: FaultServer) -> list[str]:
    """The last request, message by message, without the system prompt."""
    said = server.requests[-1].body["messages"]
    return [message["content"] for message in said if message["role"] != "system"]


def notes(ran: Ran) -> str:
    return " ".join(ran.metadata["notes"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dokumenter")


@pytest.fixture(scope="module")
def lab(folder: Path, environment: dict[str, str]) -> Iterator[Lab]:
    opened = Lab(folder / "Blåbær på fjellet.ipynb", environment)
    yield opened
    opened.kernel.close(now=True)


def test_a_kept_answer_is_shown_again_and_nothing_is_asked(
    lab: Lab, server: FaultServer, environment: dict[str, str]
) -> None:
    server.script(Scenario(text="Ville bær, 37 % blå."))
    lab.run("k1", "# keep\nHva er blåbær?")
    assert asked(server)[-1].endswith("Hva er blåbær?")
    assert "keep" not in asked(server)[-1]
    calls, rows = len(server.requests), ledger(environment)
    again = lab.run("k1", "# keep\nHva er blåbær?")
    assert again.answer == "Ville bær, 37 % blå."
    assert again.metadata["kept"] is True
    assert again.metadata["cost"] == lab.saved.cells["k1"][1][0]["metadata"]["aiki"]["cost"]
    assert (len(server.requests), ledger(environment)) == (calls, rows)
    # The conversation has it, at its place.
    lab.run("k2", "Og tyttebær?")
    assert asked(server)[0].endswith("Hva er blåbær?")
    assert asked(server)[1] == "Ville bær, 37 % blå."
    # Other words are asked anew, and that is said; without the line it is asked as ever.
    changed = lab.run("k1", "# keep\nHva er multer?")
    assert "changed since its answer was kept" in notes(changed)
    assert not changed.metadata.get("kept")
    calls = len(server.requests)
    lab.run("k1", "Hva er multer?")
    assert len(server.requests) == calls + 1


def test_an_answer_that_is_there_is_kept_by_adding_the_line(lab: Lab, server: FaultServer) -> None:
    server.script(Scenario(text="the first"))
    lab.run("k3", "%%aiki --temperature 0.5\nSay something.")
    calls = len(server.requests)
    ran = lab.run("k3", "%%aiki --temperature 0.5 --keep\nSay something.")
    assert (ran.answer, len(server.requests)) == ("the first", calls)
    lab.run("k3", "%%aiki --temperature 0.7 --keep\nSay something.")
    assert len(server.requests) == calls + 1


def test_a_changed_cell_marks_what_came_after_and_running_that_clears_it(lab: Lab) -> None:
    lab.run("s1", "first")
    lab.run("s2", "second")
    before = len(lab.kernel.seen)
    lab.run("s1", "first, changed")
    lab.kernel.python("import asyncio; await asyncio.sleep(0.8)")
    lab.saved.update(lab.kernel.seen[before:])
    answer, card = lab.saved.cells["s2"][1]
    assert answer["metadata"]["aiki"]["stale"] is True
    assert "stale" in card["data"]["text/plain"]
    assert "stale" in card["data"]["text/html"]
    assert lab.run("s2", "second").metadata["stale"] is False
    shown = json.loads(
        lab.kernel.run("%aiki_session show --json").of("display_data")[0]["data"]["text/plain"]
    )
    assert [one["stale"] for one in shown["exchanges"]] == [False, True, False, False, False]


def test_a_killed_kernel_comes_back_with_its_conversation(
    lab: Lab, server: FaultServer, environment: dict[str, str]
) -> None:
    session = lab.run("s2", "second, again").metadata["session_id"]
    lab.saved.write("s2", "s1", "k1", "k2", "k3")  # moved, and saved
    lab.run("s9", "never saved")
    lab.restart(kill=True)
    ran = lab.run("s10", "Where were we?")
    assert ran.metadata["session_id"] == session
    assert "6 earlier exchanges are in context" in notes(ran)
    said = asked(server)
    assert [text.split("\n")[-1] for text in said[::2]] == [
        "second, again",
        "first, changed",
        "Hva er multer?",
        "Og tyttebær?",
        "Say something.",
        "never saved",
        "Where were we?",
    ]
    # Said once; and a rerun of an early cell sees what stands above it.
    assert "earlier exchanges" not in notes(lab.run("s1", "first, once more"))
    assert [text.split("\n")[-1] for text in asked(server)[::2]] == [
        "second, again",
        "first, once more",
    ]
    assert ledger(environment) > 0


def test_a_kept_answer_survives_the_kernel_and_the_model(lab: Lab, server: FaultServer) -> None:
    lab.run("k5", "# keep\nStay.")
    lab.restart(kill=True)
    calls = len(server.requests)
    ran = lab.run("k5", "# keep\nStay.")
    assert ran.metadata["kept"] is True
    assert len(server.requests) == calls


def ledger(environment: dict[str, str]) -> int:
    with sqlite3.connect(Path(environment["AIKI_HOME"]) / "ledger.sqlite") as db:
        return int(db.execute("SELECT count(*) FROM entry").fetchone()[0])


def test_a_moved_cell_sees_what_stands_before_it_now(lab: Lab, server: FaultServer) -> None:
    lab.run("m1", "the first of two")
    lab.run("m2", "the second of two")
    assert "the first of two" in asked(server)
    lab.saved.write("m2", "m1")
    moved = lab.run("m2", "the second of two, moved up")
    assert "the first of two" not in asked(server)
    assert "1 later answer" not in notes(moved)  # its own display says that it is stale
    lab.run("m1", "the first of two")
    assert "the second of two, moved up" in asked(server)


@pytest.mark.slow
def test_papermill_shows_what_its_input_kept_and_asks_nothing_for_it(
    lab: Lab, server: FaultServer, in_environment: dict[str, str], tmp_path: Path
) -> None:
    """In another home, as on another machine: only the notebook can know."""
    lab.run("p1", "# keep\nHva koster {x}?")
    lab.run("p2", "What is asked anew?")
    lab.saved.write("p1", "p2")
    told, calls = lab.saved.cells["p1"][1][0]["metadata"]["aiki"], len(server.requests)
    out = tmp_path / "ut.ipynb"
    ran = subprocess.run(
        [sys.executable, "-m", "papermill", str(lab.saved.path), str(out)],
        env={**in_environment, "AIKI_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    kept, anew = [
        output["metadata"]["aiki"]
        for cell in nbformat.read(out, as_version=4).cells
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    ]
    assert kept["kept"] is True
    assert (kept["turn_id"], kept["cost"]) == (told["turn_id"], told["cost"])
    assert anew.get("kept") is None
    assert len(server.requests) == calls + 1
    for cell in (book := nbformat.read(out, as_version=4)).cells:
        cell.outputs = []
    nbformat.write(book, out)
    again = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", str(out)]
    for _ in range(2):  # it knows no outputs: the first run pins for the second
        calls = len(server.requests)
        subprocess.run(
            [*again, "--output", "igjen"],
            env={**in_environment, "AIKI_HOME": str(tmp_path / "third")},
            capture_output=True,
            timeout=120,
            check=True,
        )
    assert len(server.requests) == calls + 1
    # A fresh run has nothing of the old conversation but what is kept.
    assert [text.split("\n")[-1] for text in asked(server)[::2]] == [
        "Hva koster {x}?",
        "What is asked anew?",
    ]
