"""BitNet b1.58 in NumPy, as the model BitNet-b1.58-2B-4T defines it.

What differs from Llama (``modeling_bitnet.py`` and ``integrations/bitnet.py`` of the transformers
project):

* Every linear layer but the head sees its input as integers: each token's vector is divided by its
  largest magnitude and rounded to 8 bits. Its weights are -1, 0 and 1 with one scale a matrix.
* A second RMSNorm stands inside each half of a block: before the output projection of attention
  (``attn_sub_norm``) and before the down projection (``ffn_sub_norm``).
* The activation is ``relu(gate) ** 2 * up``.
* Rotation pairs the two halves of a head (NEOX), and the head is the embedding.
"""

from __future__ import annotations

import numpy as np

from aiki_kernel.models.bitnet_weights import BitNetWeights, PackedMatrix
from aiki_kernel.models.decoder import Decoder, Ids, KeyValues, Span, rms_norm
from aiki_kernel.models.engine import Floats
from aiki_kernel.models.gguf import GGUF

CHAT_TEMPLATE = (
    "{% for message in messages %}{% set content = message['role'] | capitalize + ': ' "
    "+ message['content'] | trim + '<|eot_id|>' %}{% if loop.first %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
"""The conversation as BitNet-b1.58-2B-4T was trained on it."""

_CONVERTERS_OWN = "BITNETAssistant"
_SMALLEST = np.float32(1e-5)


def chat_template(stated: str | None) -> str:
    """The template to use for a BitNet whose file states ``stated``.

    Microsoft's converter writes a placeholder of its own (``Human: ... BITNETAssistant:``) into
    every file, with the end of the text before the answer; the model never saw it.
    """
    return CHAT_TEMPLATE if stated is None or _CONVERTERS_OWN in stated else stated


class BitNet(Decoder):
    """A :class:`~aiki_kernel.models.engine.LanguageModel` on NumPy."""

    def __init__(self, file: GGUF, *, threads: int = 0) -> None:
        """Map the weights of ``file``. Raises :class:`ModelError`."""
        self._weights = BitNetWeights.read(file)
        super().__init__(self._weights.shape, self._weights.frequencies, threads=threads)

    def embed(self, ids: Ids) -> Floats:
        return self._weights.embedding.take(ids)

    def layer(self, number: int, x: Floats, span: Span, state: KeyValues) -> None:
        layer, epsilon = self._weights.layers[number], self.shape.epsilon
        normed = rms_norm(x, layer.attention_norm, epsilon)
        mixed = linear(normed, layer.query, layer.key, layer.value)
        seen = self.seen(number, mixed, span, state)
        x += linear(rms_norm(seen, layer.attention_sub_norm, epsilon), layer.output)
        both = linear(rms_norm(x, layer.ffn_norm, epsilon), layer.gate, layer.up)
        gate, up = np.split(both, 2, axis=1)
        hidden = np.square(np.maximum(gate, np.float32(0))) * up
        x += linear(rms_norm(hidden, layer.ffn_sub_norm, epsilon), layer.down)

    def scores(self, x: Floats) -> Floats:
        last = rms_norm(x, self._weights.final_norm, self.shape.epsilon)
        scores: Floats = self._weights.head.times(last)[0]
        return scores


def linear(x: Floats, *matrices: PackedMatrix) -> Floats:
    """``x`` (tokens, columns) in 8-bit integers through matrices side by side."""
    integers, scale = quantize(x)
    product = np.concatenate([matrix.times(integers) for matrix in matrices], axis=1)
    product /= scale
    return product


def quantize(x: Floats) -> tuple[Floats, Floats]:
    """Each row as integers from -128 to 127 (in float32), and what they were multiplied by."""
    largest = np.abs(x).max(axis=1, keepdims=True)
    scale = np.float32(127) / np.maximum(largest, _SMALLEST)
    integers = np.clip(np.rint(x * scale), -128, 127)
    return integers, scale
