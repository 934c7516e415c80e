"""The NumPy engine on a Llama whose matrices are all of one tensor type, for every type."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import gguf
import numpy as np
import pytest

from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.gguf_writer import TensorPlan, write_gguf
from aiki_kernel.models.llama import Llama
from aiki_kernel.models.quants import QUANTS, Quant

WIDTH, HIDDEN, VOCABULARY = 256, 512, 64
FACTS = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": HIDDEN,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}
# where the half-precision scales of a block stand
SCALES = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
}


def packed(quant: Quant, shape: tuple[int, ...], random: np.random.Generator) -> bytes:
    """Random blocks with small, finite scales."""
    count = math.prod(shape)
    if quant.block == 1:
        values = (random.standard_normal(count) * 0.05).astype(np.float32)
        if quant.name == "BF16":
            return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        return values.astype({"F32": np.float32, "F16": np.float16}[quant.name]).tobytes()
    blocks = random.integers(0, 256, (count // quant.block, quant.nbytes), dtype=np.uint8)
    for place in SCALES.get(quant.name, ()):
        blocks[:, place : place + 2] = np.frombuffer(np.float16(0.002).tobytes(), np.uint8)
    if quant.tail:
        blocks &= 0b10101010  # the code 3 means nothing
        return blocks.tobytes() + np.float32(0.05).tobytes() + bytes(quant.tail - 4)
    return blocks.tobytes()


@pytest.mark.parametrize("number", sorted(QUANTS), ids=lambda number: QUANTS[number].name)
def test_the_engine_reads_it_as_the_peer_does(tmp_path: Path, number: int) -> None:
    quant, random = QUANTS[number], np.random.default_rng(number)
    shapes = {
        "token_embd.weight": (VOCABULARY, WIDTH),
        "blk.0.attn_q.weight": (WIDTH, WIDTH),
        "blk.0.attn_k.weight": (WIDTH // 2, WIDTH),
        "blk.0.attn_v.weight": (WIDTH // 2, WIDTH),
        "blk.0.attn_output.weight": (WIDTH, WIDTH),
        "blk.0.ffn_gate.weight": (HIDDEN, WIDTH),
        "blk.0.ffn_up.weight": (HIDDEN, WIDTH),
        "blk.0.ffn_down.weight": (WIDTH, HIDDEN),
    }
    data = {name: packed(quant, shape, random) for name, shape in shapes.items()}
    plans = [
        TensorPlan(name, shape, quant.name, lambda name=name: [data[name]])  # type: ignore[misc]
        for name, shape in shapes.items()
    ]
    one = np.ones(WIDTH, np.float32).tobytes()
    for name in ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"):
        plans.append(TensorPlan(name, (WIDTH,), "F32", lambda: [one]))
    with GGUF(write_gguf(tmp_path / "m.gguf", FACTS, plans)) as file:
        model = Llama(file)
        scores = model.forward([1, 2, 3], model.new_state(), threading.Event())
        assert np.isfinite(scores).all()
        assert np.ptp(scores) > 0
        down = model._weights.layers[0].down
    if quant.tail:
        return  # the package does not know it; test_quants holds it against its definition
    raw = np.frombuffer(data["blk.0.ffn_down.weight"], np.uint8).reshape(-1, quant.nbytes)
    peer = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(number))
    np.testing.assert_array_equal(down, np.asarray(peer, np.float32).reshape(WIDTH, HIDDEN))
