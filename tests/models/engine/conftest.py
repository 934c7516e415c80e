"""A tiny Llama with random weights, written as a GGUF, and the real model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from aiki_kernel.compute.native import load_best
from aiki_kernel.models.local import LocalModel
from aiki_kernel.models.tokenizer import byte_signs
from aiki_kernel.models.weights import for_tests

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' "
    "+ message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS, CONTEXT = 32, 64, 2, 4, 2, 96
CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ hello"]


def write_tiny(
    path: Path,
    *,
    template: str | None = CHATML,
    pre: str = "smollm",
    extra: tuple[str, ...] = (),
    change: Callable[[gguf.GGUFWriter], None] | None = None,
    **numbers: Any,
) -> Path:
    """A Llama of 2 layers with a byte vocabulary; ``numbers`` replace metadata."""
    random = np.random.default_rng(7)
    tokens = [*CONTROLS, *byte_signs(), "he", "ll", "hell", "hello", "Ġhello", *extra]
    kinds = (
        [3] * len(CONTROLS) + [1] * (len(tokens) - len(CONTROLS) - len(extra)) + [4] * len(extra)
    )
    writer = gguf.GGUFWriter(path, "llama")
    facts = {
        "block_count": LAYERS,
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "rope.dimension_count": WIDTH // HEADS,
    } | {key.replace("__", "."): value for key, value in numbers.items()}
    for key, value in facts.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if template is not None:
        writer.add_chat_template(template)
    if change is not None:
        change(writer)
    kv = KV_HEADS * WIDTH // HEADS

    def matrix(name: str, *shape: int, packed: bool = False) -> None:
        data = (random.standard_normal(shape) * 0.3).astype(np.float32)
        if packed:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, data)

    matrix("token_embd.weight", len(tokens), WIDTH, packed=True)
    matrix("output_norm.weight", WIDTH)
    for number in range(LAYERS):
        block = f"blk.{number}."
        matrix(block + "attn_norm.weight", WIDTH)
        matrix(block + "ffn_norm.weight", WIDTH)
        matrix(block + "attn_q.weight", WIDTH, WIDTH)
        matrix(block + "attn_k.weight", kv, WIDTH)
        matrix(block + "attn_v.weight", kv, WIDTH)
        matrix(block + "attn_output.weight", WIDTH, WIDTH)
        matrix(block + "ffn_gate.weight", HIDDEN, WIDTH)
        matrix(block + "ffn_up.weight", HIDDEN, WIDTH)
        matrix(block + "ffn_down.weight", WIDTH, HIDDEN, packed=True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def write_model() -> Callable[..., Path]:
    return write_tiny


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


ENGINES = ["numpy", "mojo"] if load_best("language").library is not None else ["numpy"]


@pytest.fixture(scope="module", params=ENGINES)
def tiny(tiny_path: Path, request: pytest.FixtureRequest) -> LocalModel:
    return LocalModel.load(tiny_path, cache=tiny_path.parent / "cache", engine=request.param)


@pytest.fixture(scope="session")
def smollm_path() -> Path:
    return for_tests()


@pytest.fixture(scope="session")
def smollm(smollm_path: Path) -> LocalModel:
    """The real model on the engine that judges the others."""
    return LocalModel.load(smollm_path, cache=smollm_path.parent / ".cache", engine="numpy")


@pytest.fixture(scope="session")
def swift(smollm_path: Path) -> LocalModel:
    """The real model on compiled kernels."""
    if "mojo" not in ENGINES:
        pytest.skip(f"NO COMPILED KERNELS HERE: {load_best('language').reason}")
    return LocalModel.load(smollm_path, cache=smollm_path.parent / ".cache", engine="mojo")
