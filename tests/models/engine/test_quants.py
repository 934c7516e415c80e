"""Every tensor type against the ``gguf`` package, on random blocks."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize as peer

from aiki_kernel.models.quants import QUANTS, dequantize


@pytest.mark.parametrize("number", sorted(QUANTS), ids=lambda number: QUANTS[number].name)
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
