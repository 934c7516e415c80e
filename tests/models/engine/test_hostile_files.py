"""Files made to do harm: one clear line each, in bounded time and memory, never a crash."""

from __future__ import annotations

import dataclasses
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st

from aiki_kernel.errors import ModelError
from aiki_kernel.models.bitnet_sample import TINY, write_bitnet
from aiki_kernel.models.chat import ChatMessage
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.local import LocalModel
from aiki_kernel.models.model_file import describe

SHAPE = dataclasses.replace(TINY, layers=1, hidden=256, vocabulary=300)
HUGE = st.sampled_from([0, 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1])
QUIET = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MORE_MEMORY = 200 * 1024  # kB that all examples together may add


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = write_bitnet(tmp_path_factory.mktemp("whole") / "b.gguf", SHAPE, ternary="TQ2_0")
    return path.read_bytes()


@pytest.fixture(scope="module")
def header(whole: bytes, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Where the tensors' data begin."""
    path = tmp_path_factory.mktemp("header") / "b.gguf"
    path.write_bytes(whole)
    with GGUF(path) as file:
        return min(tensor.start for tensor in file.tensors.values())


def judge(path: Path, data: bytes) -> None:
    """Whatever the bytes are: described and run, or refused in one line."""
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = "refused in one line"
    try:
        describe(path, measure=False)
        model = LocalModel.load(path, cache=path.parent / "cache")
        with np.errstate(all="ignore"):
            list(model.generate([ChatMessage("user", "the")], max_tokens=2, temperature=0))
    except ModelError as error:
        said = str(error)
    assert "\n" not in said
    assert 10 < len(said) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MORE_MEMORY


@seed(1)
@QUIET
@given(st.floats(0, 1))
def test_truncated(whole: bytes, tmp_path: Path, part: float) -> None:
    judge(tmp_path / "cut.gguf", whole[: int(part * len(whole))])


@seed(2)
@QUIET
@given(st.floats(0, 1), HUGE, st.sampled_from(["<B", "<I", "<Q"]))
def test_a_number_changed(
    whole: bytes, header: int, tmp_path: Path, place: float, value: int, code: str
) -> None:
    """Counts, lengths, types, offsets and shapes all stand before the data."""
    data = bytearray(whole)
    width = struct.calcsize(code)
    struct.pack_into(code, data, int(place * (header - width)), value % (1 << 8 * width))
    judge(tmp_path / "changed.gguf", bytes(data))


@seed(3)
@QUIET
@given(st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=16)), max_size=6))
def test_bytes_thrown_in(
    whole: bytes, header: int, tmp_path: Path, thrown: list[tuple[float, bytes]]
) -> None:
    data = bytearray(whole)
    for place, some in thrown:
        start = int(place * (header - len(some)))
        data[start : start + len(some)] = some
    judge(tmp_path / "thrown.gguf", bytes(data))


def info(name: bytes, dims: list[int], kind: int, offset: int) -> bytes:
    shape = struct.pack(f"<I{len(dims)}Q", len(dims) % 2**32, *dims)
    return struct.pack("<Q", len(name)) + name + shape + struct.pack("<IQ", kind, offset)


@seed(4)
@QUIET
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"a", b"b", b"token_embd.weight", b"output_norm.weight"]),
            st.lists(st.one_of(HUGE, st.integers(1, 512)), max_size=5),
            st.integers(0, 45),
            st.one_of(HUGE, st.integers(0, 40).map(lambda n: 32 * n)),
        ),
        max_size=5,
    ),
    st.one_of(HUGE, st.none()),
    st.integers(0, 4096),
)
@example([(b"a", [256], 0, 0), (b"b", [256], 0, 512)], None, 4096)  # overlapping
@example([(b"a", [256], 0, 0), (b"a", [256], 0, 1024)], None, 4096)  # twice
@example([(b"a", [2**63, 2**63], 0, 0)], None, 64)
@example([(b"a", [128], 36, 0)], None, 63)  # I2_S whose scale is cut off
def test_tensors_of_all_sorts(
    tmp_path: Path,
    tensors: list[tuple[bytes, list[int], int, int]],
    stated: int | None,
    room: int,
) -> None:
    count = len(tensors) if stated is None else stated
    key, value = b"general.architecture", b"bitnet-b1.58"
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    data = b"GGUF" + struct.pack("<IQQ", 3, count, 1) + pair
    data += b"".join(info(*tensor) for tensor in tensors)
    judge(tmp_path / "made.gguf", data + bytes(-len(data) % 32) + bytes(room))
