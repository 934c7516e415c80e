"""BitNet checkpoints with random weights: for the benchmark, and for whoever has no real ones.

Speed does not depend on what the weights are, and correctness can be checked on any. The file has
what a converted BitNet-b1.58-2B-4T has, tensor by tensor, with a vocabulary of bytes that is filled
up to size. Written piece by piece: 1.2 GB take a few megabytes of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aiki_kernel.models.bitnet import CHAT_TEMPLATE
from aiki_kernel.models.gguf_writer import TensorPlan, write_gguf
from aiki_kernel.models.shape import BITNET, Shape
from aiki_kernel.models.tokenizer import byte_signs

TWO_B_FOUR_T = Shape(
    layers=30,
    width=2560,
    hidden=6912,
    heads=20,
    kv_heads=5,
    head=128,
    rotary=128,
    vocabulary=128256,
    context=4096,
    epsilon=1e-5,
    base=500_000.0,
    architecture=BITNET,
)
"""BitNet-b1.58-2B-4T: 2.4 billion weights, 2.1 of them ternary."""

TINY = replace(
    TWO_B_FOUR_T,
    layers=3,
    width=256,
    hidden=512,
    heads=4,
    kv_heads=2,
    head=64,
    rotary=64,
    vocabulary=384,
    context=512,
)
"""Small enough for a test; its rows divide into blocks of every ternary type."""

MERGES = ("t h", "th e", "i n", "a n", "an d", "Ġ the", "Ġ and", "h e")
CONTROLS = ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5
_FILE_TYPES = {"TQ1_0": 36, "TQ2_0": 37, "I2_S": 40}
_PIECE = 1 << 22  # bytes made at once
_Random = np.random.Generator
_Bytes = npt.NDArray[np.uint8]


def write_bitnet(
    path: Path,
    shape: Shape = TWO_B_FOUR_T,
    *,
    ternary: str = "I2_S",
    embedding: str = "F16",
    architecture: str = "bitnet-b1.58",
    template: str | None = CHAT_TEMPLATE,
    merges: Sequence[str] = MERGES,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write a checkpoint of ``shape``. The same arguments give the same bytes.

    ``ternary`` is I2_S, TQ2_0 or TQ1_0; ``embedding`` is F32, F16 or Q8_0; ``merges`` are those of
    its byte-level BPE. llama.cpp reads
    ``architecture="bitnet"`` with TQ1_0 or TQ2_0.
    """
    query, key = shape.heads * shape.head, shape.kv_heads * shape.head
    plans: list[TensorPlan] = []

    def add(name: str, sizes: tuple[int, ...], quant: str) -> None:
        random = np.random.default_rng([seed, len(plans)])
        plans.append(TensorPlan(name, sizes, quant, partial(_MAKERS[quant], random, sizes)))

    add("token_embd.weight", (shape.vocabulary, shape.width), embedding)
    add("output_norm.weight", (shape.width,), "F32")
    for number in range(shape.layers):
        block = f"blk.{number}."
        add(block + "attn_norm.weight", (shape.width,), "F32")
        add(block + "attn_sub_norm.weight", (query,), "F32")
        add(block + "ffn_norm.weight", (shape.width,), "F32")
        add(block + "ffn_sub_norm.weight", (shape.hidden,), "F32")
        add(block + "attn_q.weight", (query, shape.width), ternary)
        add(block + "attn_k.weight", (key, shape.width), ternary)
        add(block + "attn_v.weight", (key, shape.width), ternary)
        add(block + "attn_output.weight", (shape.width, query), ternary)
        add(block + "ffn_gate.weight", (shape.hidden, shape.width), ternary)
        add(block + "ffn_up.weight", (shape.hidden, shape.width), ternary)
        add(block + "ffn_down.weight", (shape.width, shape.hidden), ternary)
    metadata = _metadata(shape, architecture, ternary, merges)
    if template is not None:
        metadata["tokenizer.chat_template"] = template
    return write_gguf(path, metadata, plans, progress)


def _metadata(
    shape: Shape, architecture: str, ternary: str, merges: Sequence[str]
) -> dict[str, Any]:
    """As the converters write it: Microsoft's leaves ``tokenizer.ggml.pre`` out."""
    words = list(dict.fromkeys(merge.replace(" ", "") for merge in merges))
    tokens = [*byte_signs(), *words]
    spare = shape.vocabulary - len(tokens) - len(CONTROLS)
    kinds = [_NORMAL] * len(tokens) + [_CONTROL] * len(CONTROLS) + [_UNUSED] * spare
    first = len(tokens)
    tokens += [*CONTROLS, *(f"<unused{number}>" for number in range(spare))]
    facts: dict[str, Any] = {
        "general.architecture": architecture,
        "general.name": "bitnet-random",
        "general.file_type": _FILE_TYPES[ternary],
        **{
            f"{architecture}.{name}": value
            for name, value in {
                "vocab_size": shape.vocabulary,
                "context_length": shape.context,
                "embedding_length": shape.width,
                "block_count": shape.layers,
                "feed_forward_length": shape.hidden,
                "rope.dimension_count": shape.rotary,
                "rope.freq_base": shape.base,
                "attention.head_count": shape.heads,
                "attention.head_count_kv": shape.kv_heads,
                "attention.layer_norm_rms_epsilon": shape.epsilon,
            }.items()
        },
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array(kinds, np.int32),
        "tokenizer.ggml.merges": list(merges),
        "tokenizer.ggml.bos_token_id": first,
        "tokenizer.ggml.eos_token_id": first + 1,
        "tokenizer.ggml.add_bos_token": True,
    }
    if architecture == "bitnet":
        facts["tokenizer.ggml.pre"] = "llama-bpe"
    return facts


def _trits(digits: tuple[int, ...], *, fraction: bool = False) -> _Bytes:
    """All bytes that hold so many codes from 0 to 2; ``digits`` are what each place is worth."""
    values = np.zeros(1, np.int64)
    for worth in digits:
        values = (values[:, None] + worth * np.arange(3)).reshape(-1)
    if fraction:  # base 3 as a part of 256, rounded up
        values = -(-values * 256 // 243)
    return values.astype(np.uint8)


_PAIRS = _trits((64, 16, 4, 1))
_FIVE = _trits((81, 27, 9, 3, 1), fraction=True)
_FOUR = _trits((81, 27, 9, 3), fraction=True)


def _chosen(random: _Random, table: _Bytes, count: int) -> _Bytes:
    return table[random.integers(0, len(table), count, dtype=np.uint8)]


def _sizes(total: int, step: int) -> Iterator[int]:
    for start in range(0, total, step):
        yield min(step, total - start)


def _scale(columns: int) -> float:
    """Keeps a product about as large as its input; two thirds of the weights are not zero."""
    return float((columns * 2 / 3) ** -0.5)


def _i2_s(random: _Random, shape: tuple[int, ...]) -> Iterator[bytes | npt.NDArray[Any]]:
    for count in _sizes(shape[0] * shape[1] // 4, _PIECE):
        yield _chosen(random, _PAIRS, count)
    scale = np.float32(_scale(shape[1]) * random.uniform(0.8, 1.2))
    yield scale.tobytes() + bytes(28)


def _tq2_0(random: _Random, shape: tuple[int, ...]) -> Iterator[bytes | npt.NDArray[Any]]:
    scale = np.float16(_scale(shape[1]) * random.uniform(0.8, 1.2)).tobytes()
    for count in _sizes(shape[0] * shape[1] // 256, _PIECE // 66):
        blocks = np.empty((count, 66), np.uint8)
        blocks[:, :64] = _chosen(random, _PAIRS, count * 64).reshape(count, 64)
        blocks[:, 64:] = np.frombuffer(scale, np.uint8)
        yield blocks


def _tq1_0(random: _Random, shape: tuple[int, ...]) -> Iterator[bytes | npt.NDArray[Any]]:
    scale = np.float16(_scale(shape[1]) * random.uniform(0.8, 1.2)).tobytes()
    for count in _sizes(shape[0] * shape[1] // 256, _PIECE // 54):
        blocks = np.empty((count, 54), np.uint8)
        blocks[:, :48] = _chosen(random, _FIVE, count * 48).reshape(count, 48)
        blocks[:, 48:52] = _chosen(random, _FOUR, count * 4).reshape(count, 4)
        blocks[:, 52:] = np.frombuffer(scale, np.uint8)
        yield blocks


def _f32(random: _Random, shape: tuple[int, ...]) -> Iterator[bytes | npt.NDArray[Any]]:
    rows, columns = (1, *shape)[-2:]
    for count in _sizes(rows, max(1, _PIECE // columns)):
        noise = random.standard_normal((count, columns), np.float32)
        # A vector is a norm's weight, a matrix an embedding.
        yield 1 + 0.1 * noise if len(shape) == 1 else noise


def _f16(random: _Random, shape: tuple[int, ...]) -> Iterator[bytes | npt.NDArray[Any]]:
    for piece in _f32(random, shape):
        yield np.asarray(piece).astype(np.float16)


def _q8_0(random: _Random, shape: tuple[int, ...]) -> Iterator[bytes | npt.NDArray[Any]]:
    scale = np.frombuffer(np.float16(1 / 64).tobytes(), np.uint8)
    for count in _sizes(shape[0] * shape[1] // 32, _PIECE // 34):
        blocks = random.integers(0, 256, (count, 34), dtype=np.uint8)
        blocks[:, :2] = scale
        yield blocks


_MAKERS = {
    "I2_S": _i2_s,
    "TQ2_0": _tq2_0,
    "TQ1_0": _tq1_0,
    "F32": _f32,
    "F16": _f16,
    "Q8_0": _q8_0,
}
