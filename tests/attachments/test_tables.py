"""Frames of every kind as summaries: what is told, what is left out, what is never run."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest

from aiki_kernel.attachments import frames, records
from aiki_kernel.attachments.table import summary
from aiki_kernel.models.tokens import estimate

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


class Bomb:
    """A value of the user's own class: nothing of it may be run."""

    def __repr__(self) -> str:
        raise AssertionError("repr was run")

    __str__ = __repr__
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    def __lt__(self, other: object) -> bool:
        raise AssertionError("ordered")


DATA: dict[str, list[Any]] = {
    "age": [1, 2, 3, 4, 90],
    "height": [1.5, None, 2.5, 3.0, 4.0],
    "city": ["Oslo", "Oslo", "Bergen", None, "Oslo"],
    "born": [datetime.datetime(2020, 1, day) for day in range(1, 6)],
    "alive": [True, True, False, True, True],
}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_a_frame_is_told_with_types_missing_values_and_statistics(make: Any) -> None:
    frame = make(DATA)
    assert frames.is_frame(frame)
    table = frames.table_of(frame)
    assert table.title.endswith("DataFrame, 5 rows x 5 columns")
    told = summary(table, 1000)
    lines = {line.split(" | ")[0]: line for line in told.splitlines() if " | " in line}
    assert "min 1, mean 20, median 3, max 90" in lines["age"]
    assert lines["height"].split(" | ")[2] == "1"
    assert '2 different; most: "Oslo" 3, "Bergen" 1' in lines["city"]
    assert "2020-01-01" in lines["born"]
    assert "2020-01-05" in lines["born"]
    assert "true in 80 %" in lines["alive"]
    assert "First 5 rows, as CSV:" in told
    assert "Left out" not in told


def test_a_wide_and_long_frame_keeps_to_its_budget_and_says_what_is_missing() -> None:
    wide = pd.DataFrame(np.arange(300_000.0).reshape(1000, 300), columns=range(300))
    wide = wide.rename(columns={150: "salary", 299: "last"})
    told = summary(frames.table_of(wide), 400, "why does salary grow?")
    assert estimate(told) <= 400
    assert "salary | float64" in told
    assert "columns (" in told.splitlines()[-1]
    assert "of 1,000 rows" in told.splitlines()[-1]
    assert "last |" in told


def test_no_code_of_the_user_is_run() -> None:
    bombs = [Bomb(), Bomb(), Bomb()]
    frame = pd.DataFrame({"thing": bombs, "n": [1, 2, 3]})
    told = summary(frames.table_of(frame), 1000)
    assert "<Bomb>" in told
    rows = [{"a": Bomb(), "b": "x" * 300} for _ in range(3)]
    assert records.is_records(rows)
    assert "<Bomb>" in summary(records.table_of(rows), 1000)

    class Mine(pd.DataFrame):  # type: ignore[misc]
        pass

    Mine.__module__ = "__main__"
    assert not frames.is_frame(Mine(DATA))


@pytest.mark.parametrize(
    ("value", "title", "told"),
    [
        (np.arange(100.0), "NumPy array of float64, shape 100, 100 rows", "mean 49.5"),
        (np.ones((20, 3), int), "NumPy array of int64, shape 20 x 3, 20 rows", "[:, 2] | int64"),
        (np.zeros((4, 5, 6)), "shape 4 x 5 x 6, 120 rows", "all values"),
        (pd.Series([1, 2, 3], name="x"), "pandas Series, 3 rows x 1 column", "mean 2"),
        (pl.Series("y", ["a", "b"]), "polars Series, 2 rows", '"a" 1'),
        (pl.DataFrame(DATA).lazy(), "LazyFrame (not collected", "city | String"),
        (pd.DataFrame(), "0 rows x 0 columns", "column | type"),
        (pd.DataFrame(DATA).set_index(["age", "city"]), "5 rows x 3 columns", "1 / Oslo"),
        (pd.DataFrame([[1, 2]], columns=["same", "same"]), "x 2 columns", "same,same"),
        (np.array([(1, "a")] * 20, dtype=[("n", int), ("t", "U3")]), "structured", "n | int64"),
        (pd.Series([1, 2, 3]), "pandas Series, 3 rows", "values | int64"),
        (pd.DataFrame({None: [1, 2]}), "2 rows x 1 column", "None | int64"),
        (pd.Series(pd.Categorical([1, 2, 2]), name="c"), "3 rows", '2 different; most: "2" 2'),
        (pl.Series("y", [1.0, float("nan"), 3.0]), "3 rows", "y | Float64 | 1 | min 1, mean 2"),
        (np.full(20, 60_000, np.float16), "float16", "mean 60000, median 60000, max 60000, sd 0"),
    ],
)  # fmt: skip
def test_other_kinds(value: Any, title: str, told: str) -> None:
    assert frames.is_frame(value)
    table = frames.table_of(value)
    assert title in table.title
    assert told in summary(table, 1000)


@pytest.mark.parametrize(
    "value",
    [
        [{"n": number} for number in range(100_001)],
        {"n": list(range(100_001))},
        pd.DataFrame({"n": pd.Series(range(100_001), dtype=object)}),
        pd.DataFrame({"n": np.arange(100_001).astype(object)}).to_numpy(),
    ],
    ids=["dicts", "lists", "objects", "array"],
)
def test_figures_of_a_part_do_not_pass_for_those_of_the_whole(value: Any) -> None:
    room = frames if frames.is_frame(value) else records
    told = summary(room.table_of(value), 1000)
    assert "max 99999" in told
    assert "(of the first 100,000 values)" in told


def test_a_column_that_is_called_a_password_is_not_sent() -> None:
    frame = pd.DataFrame(
        {
            "user": ["ola", "kari"],
            "Passord": ["fjord", "elg"],
            "db_password": ["", "hunter2"],
            "api_token": ["a1B2c3D4e5F6g7H8i9J0", None],
            "token": ["the", "cat"],
            "pass": ["yes", "no"],
        }
    )
    told = summary(frames.table_of(frame), 1000)
    assert not [word for word in ("fjord", "elg", "hunter2", "a1B2c3D4") if word in told]
    assert told.splitlines()[-2:] == [
        "0,ola,[password removed],,[key removed],the,yes",
        "1,kari,[password removed],[password removed],,cat,no",
    ]


def test_columns_are_named_by_words() -> None:
    wide = pd.DataFrame(np.zeros((2, 1000)), columns=[f"c{n}" for n in range(1000)])
    wide = wide.rename(columns={600: "c600", "c601": "salg"})
    told = summary(frames.table_of(wide), 700, "Hva er salget, mot c777?")
    assert "\nsalg |" in told
    assert "\nc777 |" in told
    assert "\nc77 |" not in told


def test_a_small_array_stays_in_the_sentence() -> None:
    assert not frames.is_frame(np.zeros(3))
    assert not records.is_records([{"a": 1}, {"a": 2}])
    assert not records.is_records([1, 2, 3] * 100)


CSV = [
    ("a,b\n1,x\n2,y\n", "a | int | 0 | min 1"),
    ("a;b\n1,5;x\n2,5;y\n", "a | float | 0 | min 1.5, mean 2"),
    ("a\tb\n2024-01-02\ttrue\n2023-01-01\tfalse\n", "a | date | 0 | 2023-01-01 to 2024-01-02"),
    ('name,note\n"Ola, N","two\nlines"\nKari,\n', "note | text | 1 | 1 different"),
    ("\ufeffa,b\n1\n", "b | empty | 1"),
]


@pytest.mark.parametrize(("text", "told"), CSV)
def test_csv_text_without_pandas(text: str, told: str) -> None:
    assert told in summary(records.of_csv(text), 1000)
