"""transformers and torch on the CPU as a peer: the same weights, in float32.

``python bench_torch.py FILE THREADS CONTEXT TOKENS`` prints one line of JSON. It runs as a process
of its own, in a Python that has both packages; nothing else imports them.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.quants import dequantize
from aiki_kernel.models.shape import LLAMA, Shape

_PATIENCE_S = 300
_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_ENDS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def measured(
    python: str, path: Path, threads: int, context: int, tokens: int
) -> tuple[dict[str, Any] | None, str]:
    """A row of the benchmark, or None and why there is none."""
    words = [python, "-m", __name__, str(path), str(threads), str(context), str(tokens)]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"transformers+torch: {type(error).__name__}"
    lines = done.stderr.strip().splitlines()
    if done.returncode:
        missing = "No module named 'torch'" in done.stderr or "'transformers'" in done.stderr
        return None, "transformers+torch: " + (
            "not installed" if missing else (lines or ["failed"])[-1][-200:]
        )
    row: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return row, ""


def main(path: Path, threads: int, context: int, tokens: int) -> dict[str, Any]:
    """Build the model, decode and tell the speed."""
    import numpy as np
    import torch  # type: ignore[import-not-found,unused-ignore]
    import transformers  # type: ignore[import-not-found,unused-ignore]

    torch.set_num_threads(threads)
    with GGUF(path) as file:
        shape = Shape.of(file)
        if shape.architecture != LLAMA or shape.rotary != shape.head:
            raise SystemExit("only a Llama that rotates whole heads is built")
        config = transformers.LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            intermediate_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            head_dim=shape.head,
            max_position_embeddings=shape.context,
            rms_norm_eps=shape.epsilon,
            rope_theta=shape.base,
            tie_word_embeddings="output.weight" not in file.tensors,
        )
        weights = {}
        for name, tensor in file.tensors.items():
            if name == "rope_freqs.weight":
                continue
            values = dequantize(file.raw(name), tensor.quant).reshape(tensor.shape)
            if name.endswith(("attn_q.weight", "attn_k.weight")):
                # A GGUF rotates neighbours, transformers halves.
                pairs = values.reshape(-1, shape.head // 2, 2, shape.width)
                values = np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(tensor.shape)
            weights[_name(name)] = torch.from_numpy(np.ascontiguousarray(values))
    model = transformers.LlamaForCausalLM(config)
    model.load_state_dict(weights, strict=False)
    model.eval()
    ids = torch.arange(1000, 1000 + context)[None] % shape.vocabulary
    with torch.inference_mode():
        answer = model(ids, use_cache=True, logits_to_keep=1)
        top = int(answer.logits[0, -1].argmax())
        cache, times = answer.past_key_values, []
        for number in range(tokens):
            one = torch.tensor([[(1000 + number) % shape.vocabulary]])
            begun = time.perf_counter()
            answer = model(one, past_key_values=cache, use_cache=True, logits_to_keep=1)
            times.append(time.perf_counter() - begun)
            cache = answer.past_key_values
    return {
        "work": f"decode after {context}",
        "tokens_s": 1 / statistics.median(times),
        "engine": "transformers+torch",
        "threads": threads,
        "versions": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "likeliest": top,
    }


def _name(name: str) -> str:
    if name in _ENDS:
        return _ENDS[name]
    _, number, part, _ = name.split(".")
    return f"model.layers.{number}.{_NAMES[part]}.weight"


if __name__ == "__main__":
    _, file, *numbers = sys.argv
    print(json.dumps(main(Path(file), *map(int, numbers))))  # noqa: T201
