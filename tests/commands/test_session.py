"""Sessions of the past: names, finding, resuming and exporting, by the memory and a notebook."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fault_server import TEXT, FaultServer, Scenario

from aiki_kernel.aiki import Aiki
from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context, Result
from aiki_kernel.config import Paths, load
from aiki_kernel.errors import AikiError, UsageError
from aiki_kernel.memory.records import Scope
from aiki_kernel.memory.turns import side_id
from aiki_kernel.mind import resuming
from aiki_kernel.mind.conversation import Conversation, Message, arranged
from aiki_kernel.mind.reply import Reply, ReplyBuilder
from aiki_kernel.mind.resuming import Resumed, notebook
from aiki_kernel.mind.sessions import Kept, Named, Sessions, SessionsError, title
from aiki_kernel.safety.wal import step

FENCED = "See:\n\n````md\n```python\nprint('<b>')\n```\n````\n\nand <script>\n```bash\nls"
KEY = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0"


@dataclass
class Book:
    """A notebook's file, its conversation, and what its cells show."""

    aiki: Aiki
    path: Path
    talk: Conversation = field(default_factory=Conversation)
    shown: dict[str, tuple[str, Reply]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.talk.path, self.talk.notebook = str(self.path), self.path.name

    def ask(self, cell: str, text: str) -> Reply:
        builder = ReplyBuilder()

        async def run() -> None:
            message = Message(text, cell_id=cell, notebook=self.path.name)
            async for event in self.aiki.respond(message, self.talk):
                builder.add(event)

        self.aiki.run(run())
        self.shown[cell] = (text, builder.reply)
        Sessions(self.aiki.paths.sessions).settle(str(self.path), self.talk.session_id)
        return builder.reply

    def save(self, *order: str) -> None:
        cells: list[dict[str, Any]] = []
        for cell in order or tuple(self.shown):
            source, reply = self.shown[cell]
            data = {"text/markdown": reply.text, "text/plain": reply.text.splitlines(True)}
            shown = {"data": data, "metadata": {"aiki": dict(reply.metadata)}}
            output = {"output_type": "display_data", **shown}
            cells.append({"cell_type": "code", "id": cell, "source": source, "outputs": [output]})
        self.path.write_text(json.dumps({"cells": cells, "nbformat": 4, "metadata": {}}), "utf-8")

    def reopened(self, path: Path | None = None, **options: Any) -> Resumed:
        """What a new kernel finds for the notebook, wherever it lies now."""
        aiki, user = self.aiki, self.aiki.settings.memory.user_id
        store = Sessions(aiki.paths.sessions)
        work = notebook(str(path or self.path), store, aiki.connection.admin, user, **options)
        return aiki.run(work)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(scope="module")
def aiki(server: FaultServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aiki]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        names = {"AIKI_HOME": str(home), "AIKI_DAEMON": "off", "AIKI_MEMORY__RECALL_K": "0"}
        for name, value in {**server.environment("ok", "test"), **names}.items():
            patch.setenv(name, value)
        made = Aiki(load(), paths=Paths(home))
        yield made
        made.close()


@pytest.fixture
def book(aiki: Aiki, tmp_path: Path) -> Book:
    made = Book(aiki, tmp_path / "Ærlige spørsmål.ipynb")
    made.ask("a", "Hva er en ærfugl?")
    made.ask("b", "And a goose?")
    made.ask("c", "And a swan?")
    return made


def run(aiki: Aiki, line: str, talk: Conversation | None = None) -> Result:
    context = Context("magic", make_aiki=lambda: aiki, conversation=talk)
    context._aiki = aiki
    context.__dict__["paths"] = aiki.paths
    return registry.run(["session", *registry.split(line)], context)


def questions(found: Resumed) -> list[str]:
    return [one.question for one in found.past.exchanges]


def test_the_order_is_that_of_the_saved_cells(book: Book) -> None:
    book.save("c", "a", "b")
    found = book.reopened()
    assert found.session_id == book.talk.session_id
    assert questions(found) == ["And a swan?", "Hva er en ærfugl?", "And a goose?"]
    assert found.lines == ()


def test_a_deleted_cell_is_gone_and_an_unsaved_one_is_not(book: Book) -> None:
    book.save("a", "c")
    book.ask("d", "Unsaved?")
    found = book.reopened()
    assert questions(found) == ["Hva er en ærfugl?", "And a swan?", "Unsaved?"]
    assert len(found.past.left_out) == 1


def test_without_its_file_the_memory_knows_and_that_is_said(book: Book) -> None:
    found = book.reopened()
    assert questions(found) == ["Hva er en ærfugl?", "And a goose?", "And a swan?"]
    assert "is not at" in found.lines[0]
    assert "from the memory alone" in found.lines[0]


def test_what_curation_took_out_of_recall_was_said_all_the_same(book: Book, aiki: Aiki) -> None:
    admin, scope = aiki.connection.admin, Scope(aiki.settings.memory.user_id)
    book.ask("d", "Takk!")  # and every answer of the scripted server is the same
    session = replace(scope, run_id=book.talk.session_id)
    aiki.run(admin.curate())
    assert len(aiki.run(admin.list(session))) < 8
    store, user = Sessions(aiki.paths.sessions), scope.user_id
    found = aiki.run(resuming.session(book.talk.session_id, store, admin, user))
    assert questions(found)[-1] == "Takk!"
    assert [(one.answer, one.interrupted) for one in found.past.exchanges] == [(TEXT, False)] * 4
    # What the first of the same answers leaves behind goes with it.
    (first,) = [one for one in aiki.run(admin.list(scope, limit=99)) if one.data == TEXT]
    aiki.run(admin.forget(first.id))
    found = aiki.run(resuming.session(book.talk.session_id, store, admin, user))
    assert {one.answer for one in found.past.exchanges} == {""}


def test_what_the_memory_forgot_is_the_notebooks_and_that_is_said(book: Book, aiki: Aiki) -> None:
    book.save()
    turn = book.shown["b"][1].metadata["turn_id"]
    for role in ("user", "assistant"):
        aiki.memory.delete(side_id(turn, role))
    found = book.reopened()
    assert questions(found)[1] == "And a goose?"
    assert "1 exchange is no longer in the memory" in found.lines[0]
    book.path.unlink()
    made = run(aiki, f"export - -f json --session {book.talk.session_id}")
    assert [one["question"] for one in made.data["exchanges"]] == [
        "Hva er en ærfugl?",
        "And a swan?",
    ]
    assert "memory of them was removed: 1" in made.data["notes"][-1]


def test_a_copy_goes_on_alone_and_changes_nothing_of_the_original(
    book: Book, tmp_path: Path
) -> None:
    book.save()
    (tmp_path / "andre").mkdir()
    other = tmp_path / "andre" / book.path.name  # the same name in another folder
    shutil.copy(book.path, other)
    copy = book.reopened(other)
    assert copy.session_id not in ("", book.talk.session_id)
    assert questions(copy) == questions(book.reopened())
    assert "is a copy of" in copy.lines[0]
    talk = Conversation()
    talk.restore(copy.session_id, copy.past.exchanges)
    mine = Book(book.aiki, other, talk)
    mine.ask("b", "And a duck, then?")
    assert questions(book.reopened()) == ["Hva er en ærfugl?", "And a goose?", "And a swan?"]
    mine.shown = {**book.shown, **mine.shown}
    mine.save("a", "b", "c")
    again = book.reopened(other)
    assert again.session_id == copy.session_id
    assert questions(again) == ["Hva er en ærfugl?", "And a duck, then?", "And a swan?"]


def test_a_moved_notebook_takes_its_session_with_it(book: Book, tmp_path: Path) -> None:
    book.save()
    moved = tmp_path / "Flyttet.ipynb"
    book.path.rename(moved)
    found = book.reopened(moved)
    assert (found.session_id, found.lines) == (book.talk.session_id, ())
    assert len(questions(found)) == 3


def test_a_strangers_answers_wait_until_they_are_asked_for(book: Book, tmp_path: Path) -> None:
    book.save()
    path = tmp_path / "stranger.ipynb"
    foreign = book.path.read_text("utf-8").replace(book.talk.session_id, "f" * 8)
    path.write_text(foreign, "utf-8")
    found = book.reopened(path)
    assert (found.session_id, questions(found)) == ("", [])
    assert "session resume takes them in" in found.lines[0]
    assert len(questions(book.reopened(path, foreign=True))) == 3


def test_names_are_found_as_people_type_them(book: Book, aiki: Aiki) -> None:
    run(aiki, "rename Høsttur til Blåfjell", book.talk)
    for word in ("høsttur", "blåfjell", book.talk.session_id[:8], "HØSTTUR TIL BLÅFJELL"):
        assert run(aiki, f"show {word} --json").data["session_id"] == book.talk.session_id
    (row,) = [r for r in run(aiki, "list").data["sessions"] if r["name"] == "Høsttur til Blåfjell"]
    assert (row["answers"], row["notebook"]) == (3, book.path.name)
    with pytest.raises(UsageError, match="There is no session 'nowhere'"):
        run(aiki, "show nowhere")
    with pytest.raises(AikiError):
        run(aiki, f"rename {KEY}", book.talk)


def test_a_session_that_was_named_first_knows_its_notebook(aiki: Aiki, tmp_path: Path) -> None:
    made = Book(aiki, tmp_path / "named first.ipynb")
    for empty in ("#", "> ##"):
        with pytest.raises(UsageError, match="needs a name"):
            run(aiki, f"rename {empty}", made.talk)
    run(aiki, "rename Autumn plans", made.talk)
    store = Sessions(aiki.paths.sessions)
    row = Named(made.talk.session_id, "Hi", notebook=made.path.name, path=str(made.path))
    store.begin(row)  # as the first answer does
    named = store.named()[made.talk.session_id]
    assert (named.name, named.notebook, named.path) == ("Autumn plans", row.notebook, row.path)
    store.begin_at(made.talk.session_id, "/elsewhere/moved.ipynb")
    assert store.named()[made.talk.session_id].notebook == "moved.ipynb"
    # Tab goes on with a name of several words.
    context = Context("magic", make_aiki=lambda: aiki, conversation=Conversation())
    context.__dict__["paths"] = aiki.paths
    complete = registry.complete
    assert "Autumn plans" in complete(["session", "resume"], "Aut", context)
    assert complete(["session", "resume", "Autumn"], "pl", context) == ["plans"]
    assert '"Autumn plans"' in complete(["session", "rename", "-s"], "", context)
    # A name that is taken is given, and that is said.
    again = run(aiki, "rename autumn plans", Conversation())
    assert again.data["namesakes"] == 1
    assert "told apart by their ids" in again.text
    with pytest.raises(UsageError, match="2 sessions fit"):
        run(aiki, "resume autumn", made.talk)


def test_resume_brings_a_conversation_back_and_new_stays_new(book: Book, aiki: Aiki) -> None:
    book.save()
    talk = Conversation()
    said = run(aiki, f"resume {book.talk.session_id}", talk)
    assert "3 exchanges are in context" in said.text
    assert (talk.session_id, len(talk.exchanges)) == (book.talk.session_id, 3)
    run(aiki, "new", book.talk)
    assert book.reopened().past.exchanges == ()
    back = run(aiki, "resume", book.talk)
    assert back.data["exchanges"] == 3


def test_an_export_is_a_document_in_three_formats(
    book: Book, aiki: Aiki, server: FaultServer, tmp_path: Path
) -> None:
    server.script(Scenario(text=FENCED))
    book.ask("d", f"Show me | a [fence] for {KEY}")
    book.ask("a", "Hva er en and?")  # what came after it is stale now
    path = tmp_path / "Samtale på norsk.md"
    run(aiki, f'export "{path}"', book.talk)
    text = path.read_text("utf-8")
    assert "````md\n```python\nprint('<b>')\n```\n````" in text
    assert "```bash\nls\n```\n" in text  # closed, or it would swallow what follows
    assert "<script>" not in text
    assert KEY not in text
    assert "<strong>stale</strong>" in text
    assert text.index("Hva er en and?") < text.index("And a goose?")
    with pytest.raises(UsageError, match="--force"):
        run(aiki, f'export "{path}"', book.talk)
    run(aiki, f'export "{path}" --force', book.talk)
    made = run(aiki, "export - --format json", book.talk).data
    assert (made["format"], made["version"]) == ("aiki-session", 1)
    assert [one["stale"] for one in made["exchanges"]] == [False, True, True, True]
    messages = run(aiki, "export - --format openai --system", book.talk).data
    assert [one["role"] for one in messages[:3]] == ["system", "user", "assistant"]
    assert all(set(one) == {"role", "content"} and one["content"] for one in messages)
    assert FENCED in [one["content"] for one in messages]


def test_what_was_said_is_there_without_the_file_of_names(
    book: Book, aiki: Aiki, tmp_path: Path
) -> None:
    file, out = aiki.paths.sessions, tmp_path / "talk.md"
    whole = file.read_bytes()
    file.write_bytes(b"no database" * 400)
    try:
        ran = [run(aiki, line, book.talk) for line in ("show", "list", f'export "{out}"')]
    finally:
        file.write_bytes(whole)
    assert all("not a database" in one.text for one in ran)
    assert "And a swan?" in ran[0].text
    assert book.talk.session_id[:8] in ran[1].text
    assert "And a swan?" in out.read_text("utf-8")


def test_a_document_that_cannot_be_written_leaves_nothing_behind(
    book: Book, aiki: Aiki, tmp_path: Path
) -> None:
    out, link = tmp_path / "talk.md", tmp_path / "link.md"
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from aiki_kernel.commands.session_past import _write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (999, 999))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "_write(Path(sys.argv[1]), 'x' * 5000, sys.argv[2:] == ['force'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(out)], capture_output=True, text=True, check=False
    )
    assert "could not be written (File too large)" in ran.stderr
    assert list(tmp_path.iterdir()) == []
    out.write_text("old")
    subprocess.run([sys.executable, "-c", code, str(out), "force"], stderr=-3, check=False)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    out.chmod(0o644)
    link.symlink_to(out)
    run(aiki, f'export "{link}" --force', book.talk)
    assert link.is_symlink()
    assert "And a swan?" in out.read_text("utf-8")
    assert out.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("database or disk is full", "free some disk space"),
        ("attempt to write a readonly database", "permissions"),
        ("unable to open database file", "permissions"),
        ("disk I/O error", "the disk"),
        ("database is locked", "another program"),
        ("file is not a database", "move it away"),
        ("database disk image is malformed", "move it away"),
    ],
)
def test_only_a_file_beyond_use_is_to_be_moved_away(reason: str, told: str) -> None:
    assert told in step(reason, "a new one is made")
    assert ("move it away" in step(reason, "")) == (told == "move it away")


def test_many_processes_write_and_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    code = (
        "import sys; from pathlib import Path; from aiki_kernel.mind.sessions import Sessions\n"
        "s = Sessions(Path(sys.argv[1]))\n"
        "for n in range(20): s.rename(f'{sys.argv[2]}-{n}', f'navn {n}')"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, path, str(n)]) for n in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    store = Sessions(path)
    assert len(store.named()) == 60
    assert path.stat().st_mode & 0o077 == 0
    store.keep(["x"], Kept("k", "37 % — blå\n", {"cost": {"usd": 0.1}}, "2026"))
    assert store.kept("x")[0].answer == "37 % — blå\n"
    import sqlite3

    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(SessionsError, match="newer AIKI"):
        store.named()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("# What is\na bird?", "What is a bird?"),
        ("word " * 30, "word word word word word word word word word word word…"),
        (f"use {KEY}", None),
        ("", ""),
    ],
)
def test_a_name_is_one_line_without_secrets(text: str, name: str | None) -> None:
    made = title(text)
    assert made == name if name is not None else KEY not in made


def test_cells_that_are_unknown_follow_the_one_before_them(book: Book) -> None:
    order = [one.cell_id for one in arranged(book.talk.exchanges, ["c", "a"])]
    assert order == ["c", "a", "b"]
