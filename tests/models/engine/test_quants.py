"""Every tensor type against the ``gguf`` package, on random blocks; I2_S against its definition."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize as peer

from aiki_kernel.errors import ModelError
from aiki_kernel.models.quants import FOREIGN, QUANTS, dequantize

I2_S = 36  # the package does not know it


@pytest.mark.parametrize(
    "number", sorted({*QUANTS} - {I2_S}), ids=lambda number: QUANTS[number].name
)
@pytest.mark.parametrize("blocks", [1, 7, 5000])
def test_dequantised_blocks_equal_the_peers(number: int, blocks: int) -> None:
    quant = QUANTS[number]
    kind = gguf.GGMLQuantizationType(number)
    assert kind.name == quant.name
    assert gguf.GGML_QUANT_SIZES[kind] == (quant.block, quant.nbytes)
    raw = np.random.default_rng(number).integers(0, 256, (blocks, quant.nbytes), dtype=np.uint8)
    with np.errstate(all="ignore"):  # random scales are sometimes infinite or NaN
        ours = dequantize(raw, quant)
        theirs = np.asarray(peer(raw, kind), np.float32).reshape(-1)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs)


def test_result_is_written_where_the_caller_says() -> None:
    quant = QUANTS[8]
    raw = np.random.default_rng(1).integers(0, 60, (9000, quant.nbytes), dtype=np.uint8)
    out = np.zeros((90, 3200), np.float32)
    assert dequantize(raw, quant, out) is out
    np.testing.assert_array_equal(out.reshape(-1), dequantize(raw, quant))


def test_ternary_types_give_back_what_was_packed() -> None:
    random = np.random.default_rng(11)
    weights = random.integers(-1, 2, (16, 512)).astype(np.float32) * np.float32(0.046875)
    for number in (34, 35):
        raw = gguf.quants.quantize(weights, gguf.GGMLQuantizationType(number))
        found = dequantize(raw.reshape(-1), QUANTS[number])
        np.testing.assert_array_equal(found.reshape(weights.shape), weights)


def test_i2_s_is_read_by_its_definition() -> None:
    """Weight by weight: byte j of a block holds w[j], w[32+j], w[64+j], w[96+j] from the top."""
    random = np.random.default_rng(12)
    blocks, scale = 37, 0.8125
    codes = random.integers(0, 3, (blocks, 128))
    raw = bytearray()
    for block in codes:
        for j in range(32):
            a, b, c, d = (int(block[32 * part + j]) for part in range(4))
            raw.append(a << 6 | b << 4 | c << 2 | d)
    raw += np.float32(scale).tobytes() + bytes(28)
    quant = QUANTS[I2_S]
    assert (quant.name, quant.stored(blocks * 128)) == ("I2_S", len(raw))
    found = dequantize(np.frombuffer(bytes(raw), np.uint8), quant)
    np.testing.assert_array_equal(found, ((codes - 1) * scale).reshape(-1).astype(np.float32))


@pytest.mark.parametrize("number", sorted(FOREIGN), ids=lambda number: FOREIGN[number].name)
def test_what_cannot_be_read_is_sized_and_refused_by_name(number: int) -> None:
    quant = FOREIGN[number]
    kind = gguf.GGMLQuantizationType(number)
    assert (kind.name, *gguf.GGML_QUANT_SIZES[kind]) == (quant.name, quant.block, quant.nbytes)
    with pytest.raises(ModelError, match=quant.name):
        dequantize(np.zeros(quant.nbytes, np.uint8), quant)
