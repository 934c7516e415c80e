"""A typed message into what is sent: placeholders, files, what is refused, what is blotted out."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from aiki_kernel.attachments import files
from aiki_kernel.attachments.composer import Composed, Composer
from aiki_kernel.attachments.errors import AttachmentError
from aiki_kernel.config_attachments import Attachments
from aiki_kernel.models.image import header
from aiki_kernel.models.tokens import estimate

SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    (tmp_path / "person").mkdir()
    return tmp_path / "work"


def compose(text: str, names: dict[str, Any] | None = None, **settings: Any) -> Composed:
    home = Path.cwd().parent / "aiki-home"
    return Composer(Attachments(**settings), names or {}, home).compose(text)


def png(width: int, height: int) -> bytes:
    pillow = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    pillow.new("RGB", (width, height), "red").save(out, "PNG")
    return out.getvalue()


def test_a_csv_file_is_a_table_and_the_sentence_names_it(folder: Path) -> None:
    (folder / "people.csv").write_text("name,age\nOla,3\nKari,5\n")
    typed = "Who is older in {open:people.csv}, and why {x}?"
    made = compose(typed, {"x": 7})
    assert made.text == ("Who is older in [people.csv: CSV file, 2 rows x 2 columns], and why 7?")
    assert made.typed == typed
    (one,) = made.attached
    assert "age | int | 0 | min 3, mean 4" in one.text
    assert one.tokens > 10


def test_a_long_value_costs_no_more_than_a_file(folder: Path) -> None:
    names = {"big": list(range(5000)), "few": list(range(300)), "words": {"a": "blå " * 9000}}
    made = compose("Add {big} to {few} and {words}", names)
    (one,) = made.attached
    assert one.title == "list, 5,000 rows x 1 column"
    assert "min 0, mean 2499.5" in one.text
    assert "298, 299] and {'a': 'blå " in made.text
    assert estimate(made.text) < 3000 + 1500
    assert made.notes[0].startswith("Of words the first ")


def test_a_key_in_a_variable_is_not_sent(folder: Path) -> None:
    made = compose("Why does {cfg} fail?", {"cfg": {"token": SECRET, "retries": 3}})
    assert made.text == "Why does {'token': '[key removed]', 'retries': 3} fail?"
    assert made.notes == ("Taken out of cfg before it was sent: 1 GitHub token.",)


def test_a_slip_is_sent_as_it_stands_and_said(folder: Path) -> None:
    names = {"sales": [1], "df": 3, "_sale": 1, "f": len}
    made = compose("Why {sale}, {df.shape}, {f.x}, {mysterious} and {s}?", names)
    assert made.text == "Why {sale}, {df.shape}, {f.x}, {mysterious} and {s}?"
    assert made.notes == (
        "There is no variable sale (did you mean sales?): {sale} was sent as it stands.",
        "df has no plain value .shape: {df.shape} was sent as it stands.",
    )


@pytest.mark.parametrize(
    "text",
    ["{open: true}", "{open:true}", "`{open:people.csv}`", "{open}", "{ open:x.csv }",
     "${open:x.csv}", "{open: 1.5}", "{open: 'a', b: 2}", "```\n{open:x.csv}\n```",
     r"\frac{open:x.csv}{b}"],
)  # fmt: skip
def test_what_is_no_file_stays_as_it_is(text: str, folder: Path) -> None:
    assert compose(text) == Composed(text)


REFUSED = [
    ("gone.csv", "There is no file gone.csv"),
    ("peple.csv", "did you mean people.csv?"),
    (".", "is a folder"),
    ("/etc/hostname", "outside of your home"),
    ("/etc/shadow", "keys are kept"),
    ("../person/.ssh/config", "keys are kept"),
    (".env", "keys are kept"),
    ("innocent.txt", "keys are kept"),
    ("keys.toml", "keys are kept"),
    ("../aiki-home/ledger.sqlite", "AIKI_HOME"),
    ("pipe", "no plain file"),
    ("program.bin", "neither text nor an image"),
    ("broken.png", "no PNG, JPEG, WebP or GIF"),
    ("large.txt", "MB are read"),
    ("empty.txt", "holds no text"),
    ("paper.pdf", "pypdf"),
    ("bad.ipynb", "no notebook"),
    ("prod.env", "keys are kept"),
    ("itself", "Too many levels"),
    ("https://example.org/a.csv", "is an address"),
]


@pytest.mark.parametrize(("path", "line"), REFUSED)
def test_what_cannot_be_sent_is_one_line_and_no_message(path: str, line: str, folder: Path) -> None:
    (folder / "people.csv").write_text("a,b\n1,2\n")
    person = folder.parent / "person" / ".ssh"
    person.mkdir()
    (person / "config").write_text("x")
    (folder / ".env").write_text("TOKEN=1")
    (folder / "keys.toml").write_text("a=1")
    (folder / "innocent.txt").symlink_to(person / "config")
    (folder.parent / "aiki-home").mkdir()
    (folder.parent / "aiki-home" / "ledger.sqlite").write_text("x")
    os.mkfifo(folder / "pipe")
    (folder / "program.bin").write_bytes(b"\x7fELF\0\0\0")
    (folder / "broken.png").write_text("no image")
    (folder / "large.txt").write_text("x" * 2_000_000)
    (folder / "empty.txt").write_text(" \n")
    (folder / "paper.pdf").write_bytes(b"%PDF-1.4 ...")
    (folder / "bad.ipynb").write_text("{}")
    (folder / "prod.env").write_text("TOKEN=1")
    (folder / "itself").symlink_to(folder / "itself")
    if path == "paper.pdf" and __import__("importlib.util").util.find_spec("pypdf"):
        pytest.skip("a reader for PDF is installed")
    with pytest.raises(AttachmentError) as caught:
        compose(f"What is in {{open:{path}}}?", file_mb=1)
    assert line in str(caught.value)
    assert "No model was asked." in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_was_allowed_may_be_read(folder: Path) -> None:
    other = folder.parent / "shared"
    other.mkdir()
    (other / "a.md").write_text("# Title\n")
    with pytest.raises(AttachmentError, match=r"attachments\.folders"):
        compose("{open:../shared/a.md}")
    assert "# Title" in compose("{open:../shared/a.md}", folders=(str(other),)).attached[0].text


def test_text_is_cut_by_lines_and_says_so(folder: Path) -> None:
    (folder / "long.py").write_text("\n".join(f"value_{n} = {n}" for n in range(5000)))
    (one,) = compose("{open:long.py}", text_tokens=200).attached
    assert "py file, 5,000 lines, the first" in one.title
    assert "more lines are left out here" in one.text
    assert "attachments.text_tokens" in one.notes[0]


def test_a_notebook_is_its_cells_and_json_records_are_a_table(folder: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Head\n", "text"]},
        {"cell_type": "code", "source": "1 + 1", "outputs": [
            {"output_type": "execute_result", "data": {"text/plain": ["2"], "image/png": "x"}},
            {"output_type": "error", "ename": "ValueError", "evalue": "no"}]},
    ]  # fmt: skip
    (folder / "n.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    text = compose("{open:n.ipynb}").attached[0].text
    for part in ("# Head", "1 + 1", "-> 2", "-> (an image)", "ValueError: no"):
        assert part in text
    (folder / "r.json").write_text(json.dumps([{"a": n, "b": "x" * 30} for n in range(60)]))
    assert "60 rows x 2 columns" in compose("{open:r.json}").attached[0].title


def test_secrets_are_taken_out_of_tables_files_and_words(folder: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"token": [SECRET, "none"], "n": [1, 2]})
    (folder / "conf.txt").write_text(f"token = {SECRET}\nuser = ola\n")
    made = compose("{df} {open:conf.txt}", {"df": frame})
    sent = "".join(one.text for one in made.attached)
    assert SECRET not in sent
    assert SECRET[:20] not in sent
    assert "user = ola" in sent
    assert all("Taken out of" in one.notes[0] for one in made.attached)


def test_figures_are_pictures_with_words(folder: Path) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3), dpi=100)
    axes = figure.subplots()
    axes.plot([0, 1, 2], [5, 6, 9], label="sales")
    axes.bar(["Oslo", "Bergen"], [3, 4])
    axes.scatter([1, 2], [3, 4])
    axes.set(title="Growth", xlabel="year", ylabel="kr")
    axes.legend()
    made = compose("What does {fig} show? And {axes}?", {"fig": figure, "axes": axes})
    one, other = made.attached
    assert one.image is not None
    assert other.image is not None
    assert header(one.image.data) == ("image/png", 400, 300)
    assert made.text.startswith("What does [fig: figure, 400 x 300 px,")
    for part in ('"Growth"', "'year'", 'line "sales" of 3 points', "y 5 to 9", "2 bars of 3, 4"):
        assert part in one.image.words, one.image.words


def test_images_of_files_are_bounded(folder: Path) -> None:
    (folder / "plot.png").write_bytes(png(640, 480))
    (one,) = compose("{open:plot.png}").attached
    assert one.image is not None
    assert (one.image.width, one.image.tokens) == (640, 425)
    (folder / "huge.png").write_bytes(png(3000, 1500))
    (small,) = compose("{open:huge.png}", image_side=1000).attached
    assert small.image is not None
    assert (small.image.width, small.image.height) == (1000, 500)
    assert "was sent smaller: 1000 x 500 of 3000 x 1500" in small.notes[0]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_headers_of_all_four_kinds(form: str) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for lossless in (False, True):
        out = io.BytesIO()
        pillow.new("RGB", (123, 45)).save(out, form, **({"lossless": True} if lossless else {}))
        found = header(out.getvalue())
        assert found is not None
        assert found[1:] == (123, 45)
        assert header(out.getvalue()[:8]) is None


def test_tab_offers_paths_but_no_secrets(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "a.csv").write_text("")
    (folder / ".env").write_text("")
    (folder / "itself").symlink_to(folder / "itself")
    assert files.offers("", folder) == ["data/", "itself"]
    assert files.offers("data/", folder) == ["data/a.csv"]
    assert files.offers(".e", folder) == []
    assert files.offers("nowhere/", folder) == []
