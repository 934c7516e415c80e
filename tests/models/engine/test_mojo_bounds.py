"""The library refuses whatever does not fit: wrong sizes cost an exception, never the process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiki_kernel.compute import native
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.mojo_engine import MojoModel
from aiki_kernel.models.mojo_weights import aligned

LIBRARY = native.load_best("language").library
pytestmark = pytest.mark.skipif(LIBRARY is None, reason=native.load_best("language").reason)
REFUSED = (ValueError, TypeError, OverflowError, BufferError)


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> MojoModel:
    with GGUF(tiny_path) as file:
        return MojoModel(file, threads=1)


def arguments(model: MojoModel) -> list[Any]:
    """A call that is right: 3 tokens behind 2."""
    state = model.new_state()
    model.forward([70, 71], state, threading.Event())
    rows = 3
    return [
        model._handle,
        LIBRARY.team(),
        1,
        0,
        model.shape.layers,
        1,
        np.array([[rows, 2, state.capacity]], np.int64),
        np.array([70, 71, 72], np.int32),
        model._angles,
        aligned(LIBRARY.room(model._handle, rows, 1, 1)),
        np.zeros(-(-model.vocabulary // 16) * 16, np.float32),
        state.room,
    ]


def test_a_right_call_runs(model: MojoModel) -> None:
    assert LIBRARY.run(*arguments(model)) == model.shape.layers


@pytest.mark.parametrize("place", range(6, 12))
def test_a_buffer_that_is_one_number_short_is_refused(model: MojoModel, place: int) -> None:
    call = arguments(model)
    call[place] = call[place].reshape(-1)[:-1].copy()
    if place == 8:  # the table may be longer than the positions of this call
        call[place] = model._angles.reshape(-1)[: 5 * model.shape.rotary - 1].copy()
    with pytest.raises(REFUSED):
        LIBRARY.run(*call)


@pytest.mark.parametrize("place", range(12))
def test_something_else_is_refused(model: MojoModel, place: int) -> None:
    for wrong in (None, "text", object(), -1 if place > 5 else []):
        call = arguments(model)
        call[place] = wrong
        with pytest.raises(REFUSED):
            LIBRARY.run(*call)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_random_numbers_never_harm(model: MojoModel, data: st.DataObject) -> None:
    call = arguments(model)
    number = st.one_of(
        st.integers(-5, 5), st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from([64, 1 << 40])
    )
    for place in data.draw(st.sets(st.integers(2, 5), max_size=3)):
        call[place] = data.draw(number)
    if data.draw(st.booleans()):
        call[6] = np.array(data.draw(st.lists(number, min_size=3, max_size=6)), np.int64)
    if data.draw(st.booleans()):
        token = st.integers(-(1 << 31), (1 << 31) - 1)
        call[7] = np.array(data.draw(st.lists(token, max_size=6)), np.int32)
    if call[2] not in (1,):
        call[2] = data.draw(st.sampled_from([0, -1, 65, 1 << 50]))  # more would wait for helpers
    try:
        LIBRARY.run(*call)
    except REFUSED:
        return


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 200), value=st.integers(-(1 << 63), (1 << 63) - 1))
def test_a_plan_with_one_wrong_word_is_refused_or_harmless(
    model: MojoModel, place: int, value: int
) -> None:
    plan = model.weights.plan.copy()
    plan[place % len(plan)] = value
    try:
        LIBRARY.open(plan, model.weights.arena)
    except REFUSED:
        return
    # What is taken may compute nonsense, but never reads outside the arena.


def test_an_arena_that_is_too_short_is_refused(model: MojoModel) -> None:
    short = aligned(len(model.weights.arena) - 64)
    with pytest.raises(ValueError):
        LIBRARY.open(model.weights.plan, short)
    with pytest.raises(ValueError):
        LIBRARY.open(model.weights.plan[:-1].copy(), model.weights.arena)
    with pytest.raises(ValueError):
        LIBRARY.open(model.weights.plan, aligned(len(model.weights.arena) + 64)[8:])
