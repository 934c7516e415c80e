"""The reader: what it reads right, and that a damaged file costs one line and nothing else."""

from __future__ import annotations

import random
import resource
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from aiki_kernel.errors import ModelError
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.local import LocalModel


def test_metadata_and_tensors_equal_the_peers(tiny_path: Path) -> None:
    peer = gguf.GGUFReader(tiny_path)
    with GGUF(tiny_path) as file:
        assert file.version == 3
        assert file.get("general.architecture", str) == "llama"
        assert (
            file.metadata["tokenizer.ggml.tokens"].read()
            == peer.fields["tokenizer.ggml.tokens"].contents()
        )
        assert len(file.tensors) == len(peer.tensors)
        for tensor in peer.tensors:
            ours = file.tensor(tensor.name)
            assert ours.shape == tuple(int(size) for size in reversed(tensor.shape))
            assert file.raw(tensor.name).tobytes() == tensor.data.tobytes()


def header(pairs: int = 0, tensors: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def tensor(name: bytes, dims: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


HUGE = 2**63
NESTED = struct.pack("<IQ", 9, 1) * 40 + struct.pack("<IQ", 0, 1) + b"\0"
BROKEN = {
    "empty": b"",
    "other magic": b"PK\3\4" + bytes(64),
    "inside the header": b"GGUF\3\0\0\0",
    "version 1": header(version=1),
    "version 4": header(version=4),
    "big-endian": header(version=0x03000000),
    "huge metadata count": header(pairs=HUGE) + bytes(64),
    "huge tensor count": header(tensors=HUGE) + bytes(64),
    "huge key": header(1) + struct.pack("<Q", HUGE) + bytes(64),
    "huge string": header(1) + pair(b"k", 8, struct.pack("<Q", 2**64 - 1)) + bytes(64),
    "huge array": header(1) + pair(b"k", 9, struct.pack("<IQ", 0, HUGE)) + bytes(64),
    "huge string array": header(1) + pair(b"k", 9, struct.pack("<IQ", 8, 2**61)) + bytes(64),
    "string array runs out": header(1)
    + pair(b"k", 9, struct.pack("<IQ", 8, 3))
    + bytes(16)
    + b"\x09"
    + bytes(8),
    "nested arrays": header(1) + pair(b"k", 9, NESTED),
    "unknown value type": header(1) + pair(b"k", 99, bytes(16)),
    "unknown item type": header(1) + pair(b"k", 9, struct.pack("<IQ", 99, 1)) + bytes(16),
    "key not UTF-8": header(1) + pair(b"\xff\xfe", 0, b"\1") + bytes(16),
    "key twice": header(2) + 2 * pair(b"k", 0, b"\1") + bytes(16),
    "alignment 0": header(1) + pair(b"general.alignment", 4, bytes(4)),
    "alignment 3": header(1) + pair(b"general.alignment", 4, b"\3\0\0\0"),
    "no dimensions": header(0, 1) + tensor(b"t", ()) + bytes(64),
    "nine dimensions": header(0, 1) + tensor(b"t", (1,) * 9) + bytes(64),
    "dimension 0": header(0, 1) + tensor(b"t", (0,)) + bytes(64),
    "product overflows": header(0, 1) + tensor(b"t", (2**32, 2**32, 2**32)) + bytes(64),
    "half a block": header(0, 1) + tensor(b"t", (33,), kind=8) + bytes(64),
    "unknown tensor type": header(0, 1) + tensor(b"t", (32,), kind=77) + bytes(64),
    "behind the end": header(0, 1) + tensor(b"t", (1 << 20,)) + bytes(64),
    "offset behind the end": header(0, 1) + tensor(b"t", (4,), offset=2**40) + bytes(64),
    "offset not aligned": header(0, 1) + tensor(b"t", (4,), offset=5) + bytes(96),
    "overlap": header(0, 2) + tensor(b"a", (16,)) + tensor(b"b", (4,), offset=32) + bytes(256),
    "same place": header(0, 2) + tensor(b"a", (4,)) + tensor(b"b", (4,)) + bytes(256),
    "name twice": header(0, 2) + tensor(b"a", (4,)) + tensor(b"a", (4,), offset=32) + bytes(256),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.gguf") as caught:
        GGUF(path)
    assert "\n" not in str(caught.value)


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="aiki model pull"):
        GGUF(tmp_path / "absent.gguf")


def test_damage_anywhere_is_a_model_error_and_bounded(tiny_path: Path, tmp_path: Path) -> None:
    """Cut and changed at random, the file is either refused in one line or still a model."""
    whole = tiny_path.read_bytes()
    with GGUF(tiny_path) as file:
        data_begins = min(tensor.start for tensor in file.tensors.values())
    chance = random.Random(20)
    path = tmp_path / "damaged.gguf"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for round_number in range(400):
        damaged = bytearray(whole)
        if round_number % 4 == 0:
            del damaged[chance.randrange(len(damaged)) :]
        for _ in range(chance.choice((1, 1, 2, 8))):
            if damaged:
                place = chance.randrange(min(len(damaged), data_begins))
                value = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
                width = chance.choice((1, 1, 4, 8))
                damaged[place : place + width] = bytes([value]) * min(width, len(damaged) - place)
        path.write_bytes(damaged)
        try:
            model = LocalModel.load(path, cache=tmp_path / "cache")
            with np.errstate(all="ignore"):
                model.logprobs([5, 6])
        except ModelError as error:
            refused += "\n" not in str(error)
    assert refused > 100
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300 * 1024  # kB


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"block_count": 2**32 - 1}, "contradict"),
        ({"block_count": 3}, "blk.2"),
        ({"block_count": 1}, "does not know"),
        ({"attention__head_count": 0}, "contradict"),
        ({"attention__head_count_kv": 3}, "contradict"),
        ({"embedding_length": 64}, "contradict"),
        ({"feed_forward_length": 32}, "must be"),
        ({"context_length": 0}, "contradict"),
        ({"rope__dimension_count": 7}, "contradict"),
        ({"expert_count": 8}, "mixture"),
    ],
)
def test_sizes_that_contradict_the_tensors(
    write_model: Callable[..., Path], tmp_path: Path, numbers: dict[str, int], said: str
) -> None:
    path = write_model(tmp_path / "odd.gguf", **numbers)
    with pytest.raises(ModelError, match=said):
        LocalModel.load(path, cache=tmp_path)
