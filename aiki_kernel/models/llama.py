"""The Llama architecture in NumPy, float32 throughout: slow, plain and certain.

Grouped-query attention, rotary positions, RMSNorm, SwiGLU, a head that may be tied to the
embedding. Every matrix is contiguous float32 (out, in), so a layer is four BLAS calls and attention
two. The file's own weights are the only approximation.
"""

from __future__ import annotations

import threading

import numpy as np

from aiki_kernel.models.arena_file import ArenaFile
from aiki_kernel.models.decoder import Decoder, Ids, KeyValues, Span, rms_norm, times
from aiki_kernel.models.engine import Floats
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.llama_weights import LlamaWeights


class Llama(Decoder):
    """A :class:`~aiki_kernel.models.engine.LanguageModel` on NumPy."""

    def __init__(self, file: GGUF, *, threads: int = 0, stored: ArenaFile | None = None) -> None:
        """Read the weights of ``file``, or map the ``stored`` ones. Raises :class:`ModelError`.

        What was computed is stored for the next load while the model already answers.
        """
        self._weights = LlamaWeights.read(file, stored)
        super().__init__(self._weights.shape, self._weights.frequencies, threads=threads)
        self.storing: threading.Thread | None = None
        if stored is not None and not self.mapped:
            self.storing = stored.write_later(self._weights.room)

    @property
    def mapped(self) -> bool:
        """Whether the weights are those an earlier load has stored."""
        return self._weights.mapped

    def embed(self, ids: Ids) -> Floats:
        rows: Floats = self._weights.embedding[ids]
        return rows

    def layer(self, number: int, x: Floats, span: Span, state: KeyValues) -> None:
        layer, epsilon = self._weights.layers[number], self.shape.epsilon
        mixed = times(rms_norm(x, layer.attention_norm, epsilon), layer.qkv)
        x += times(self.seen(number, mixed, span, state), layer.output)
        both = times(rms_norm(x, layer.ffn_norm, epsilon), layer.gate_up)
        x += times(_swiglu(both), layer.down)

    def scores(self, x: Floats) -> Floats:
        last = rms_norm(x, self._weights.final_norm, self.shape.epsilon)
        scores: Floats = times(last, self._weights.head)[0]
        return scores


def _swiglu(both: Floats) -> Floats:
    """``silu(gate) * up`` of (tokens, 2*hidden): the gate stands first."""
    hidden = both.shape[1] // 2
    gate, up = both[:, :hidden], both[:, hidden:]
    denominator: Floats = np.exp(-gate)
    denominator += np.float32(1)
    result: Floats = gate / denominator * up
    return result
