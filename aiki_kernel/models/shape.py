"""The sizes of a model, as its file states them, and whether they can be true.

Files name one architecture differently: BitNet b1.58 is ``bitnet-b1.58`` where Microsoft converted
it, ``bitnet-25`` in ik_llama.cpp and ``bitnet`` in llama.cpp. The older BitNets that llama.cpp
means by its name have another activation, and a sentencepiece vocabulary, by which they are
refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.quants import dequantize

LLAMA, BITNET = "llama", "bitnet"
ARCHITECTURES = {
    "llama": LLAMA,
    "bitnet": BITNET,
    "bitnet-25": BITNET,
    "bitnet-b1.58": BITNET,
}
"""What a file calls its architecture -> what is computed."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder. ``architecture`` is :data:`LLAMA` or :data:`BITNET`.

    ``rotary`` of a head's ``head`` values are rotated; ``base`` is that of their frequencies.
    """

    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    rotary: int
    vocabulary: int
    context: int
    epsilon: float
    base: float
    architecture: str = LLAMA

    @classmethod
    def of(cls, file: GGUF) -> Shape:
        """Read and check. Raises :class:`ModelError` for what cannot be run here."""
        name = file.path.name
        kind = file.get("general.architecture", str)
        if kind not in ARCHITECTURES:
            raise ModelError(
                f"{name} has the architecture {kind!r}; run here are {', '.join(ARCHITECTURES)}: "
                "choose another file, or serve it elsewhere and add an endpoint to aiki.toml."
            )
        if file.get(f"{kind}.expert_count", int, 0):
            raise ModelError(f"{name} is a mixture of experts: this engine runs dense models.")
        scaling = file.get(f"{kind}.rope.scaling.type", str, "none")
        if scaling not in ("none", "linear"):
            raise ModelError(f"{name} scales its positions by {scaling!r}: choose another file.")
        width = file.get(f"{kind}.embedding_length", int)
        heads = file.get(f"{kind}.attention.head_count", int)
        rows = file.tensor("token_embd.weight").shape
        head = file.get(f"{kind}.attention.key_length", int, width // max(heads, 1))
        shape = cls(
            layers=file.get(f"{kind}.block_count", int),
            width=width,
            hidden=file.get(f"{kind}.feed_forward_length", int),
            heads=heads,
            kv_heads=file.get(f"{kind}.attention.head_count_kv", int, heads),
            head=head,
            rotary=file.get(f"{kind}.rope.dimension_count", int, head),
            vocabulary=rows[0],
            context=file.get(f"{kind}.context_length", int),
            epsilon=file.get(f"{kind}.attention.layer_norm_rms_epsilon", float),
            base=file.get(f"{kind}.rope.freq_base", float, 10000.0),
            architecture=ARCHITECTURES[kind],
        )
        sizes = (shape.layers, width, shape.hidden, heads, shape.kv_heads, head, shape.context)
        if (
            min(sizes) < 1
            or heads % shape.kv_heads
            or shape.layers > len(file.tensors)
            or rows != (shape.vocabulary, width)
            or not 0 <= shape.rotary <= head
            or shape.rotary % 2
            or not 0 < shape.epsilon < 1
            or not 1 < shape.base < 1e12
            or file.get(f"{kind}.attention.value_length", int, head) != head
        ):
            raise ModelError(f"{name} states sizes that contradict each other: fetch it again.")
        return shape

    def state_bytes(self, tokens: int) -> int:
        """Keys and values of so many tokens as float32."""
        return 8 * self.layers * self.kv_heads * self.head * tokens


def frequencies(file: GGUF, shape: Shape) -> npt.NDArray[np.float64]:
    """Rotation in radians a position, (rotary/2,); with the file's own corrections."""
    inverse = shape.base ** (
        -np.arange(0, shape.rotary, 2, dtype=np.float64) / max(shape.rotary, 1)
    )
    name = "rope_freqs.weight"
    if name in file.tensors:
        tensor = file.tensor(name)
        if math.prod(tensor.shape) != shape.rotary // 2:
            raise ModelError(
                f"{file.path.name}: {name!r} is {tensor.shape} and must be "
                f"{(shape.rotary // 2,)}: fetch it again."
            )
        inverse = inverse / dequantize(file.raw(name), tensor.quant)
    kind = file.get("general.architecture", str)
    if file.get(f"{kind}.rope.scaling.type", str, "none") == "linear":
        inverse = inverse / file.get(f"{kind}.rope.scaling.factor", float, 1.0)
    if not np.isfinite(inverse).all():
        raise ModelError(f"{file.path.name} has unusable position factors: fetch it again.")
    return inverse
