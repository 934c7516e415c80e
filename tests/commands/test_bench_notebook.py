"""``aiki bench notebook``: a long notebook neither slows down nor forgets."""

from __future__ import annotations

import pytest

from aiki_kernel.commands import bench_notebook
from aiki_kernel.commands.bench_notebook import TARGET, measure, notebook
from aiki_kernel.commands.command import Context
from aiki_kernel.commands.kernel_session import Cell
from aiki_kernel.errors import UsageError
from aiki_kernel.models.catalogue import ModelRef
from aiki_kernel.models.chat import ChatMessage, ChatRequest
from aiki_kernel.models.quirks import Quirks


def test_every_answer_is_whole_and_opened_anew_all_are_in_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench_notebook, "TEN", 2)
    steps: list[tuple[int, int]] = []
    made = measure(4, lambda done, total: steps.append((done, total)))
    assert len(made["seconds"]) == made["cells"] == 4
    assert made["ratio"] > 0
    assert list(made["tens"]) == ["first ten", "middle ten", "last ten"]
    assert 1000 < made["file_bytes"] / 4 < 12_000
    assert steps[-1] == (5, 5)


def test_too_few_cells_are_no_long_notebook() -> None:
    with pytest.raises(UsageError, match="--cells must be at least 20"):
        notebook(Context("cli"), cells=19)


def test_messages_travel_past_the_library_that_would_hold_each_against_its_types() -> None:
    """That took 15 ms for a hundred, so that a long notebook was a third slower."""
    said = tuple(ChatMessage("user", f"message {n}") for n in range(3))
    ref = ModelRef("bench/m", "bench", "m", "http://127.0.0.1:1/v1")
    body = Quirks().body(ChatRequest(model="bench/m", messages=said), ref)
    assert body["messages"] == []
    assert [row["content"] for row in body["extra_body"]["messages"]] == [m.content for m in said]
    assert set(body["extra_body"]) == {"messages"}


def test_cells_keep_their_names() -> None:
    cell = Cell("x")
    assert cell.saved()["id"] == cell.cell_id != Cell("x").cell_id


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_the_last_ten_of_two_hundred_are_as_fast_as_the_first() -> None:
    found = notebook(Context("cli", width=200))
    assert found.data["ratio"] <= TARGET, found.text
    assert found.data["met"]
