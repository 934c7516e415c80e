"""Text encoders: the protocol, and the weights that every engine reads.

An encoder is a BERT-shaped transformer. It turns the token ids of a text into the mean of
its last hidden states; what goes in front of a text, what happens to long ones and the
final normalisation belong to the embedder. NumPy in float32 is the judge of correctness,
Mojo is fast. Both cut texts into the same pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


class Encoder(Protocol):
    """Token ids to mean states. Thread-safe."""

    @property
    def name(self) -> str:
        """The engine, as a user knows it: ``numpy`` or ``mojo``."""
        ...

    @property
    def detail(self) -> str:
        """What computes, in a few words: the variant of the library, the precision."""
        ...

    def means(self, texts: Sequence[Ids]) -> Floats:
        """(n, width) float32: the mean of each text's last states, not normalised.

        Each text has from one to ``positions`` ids, markers included.
        """
        ...


class Tokenizer(Protocol):
    """Text to the ids of its pieces, markers not included. Thread-safe."""

    def tokens(self, text: str) -> Ids:
        """(n,) int32. The text has UTF-8, that is, no lone surrogates."""
        ...


@dataclass(frozen=True)
class Shape:
    """Sizes of an encoder. ``width`` is a multiple of 64, heads have 32 or 64 numbers."""

    layers: int
    width: int
    heads: int
    feed: int
    positions: int
    vocabulary: int
    epsilon: float


class Linear(NamedTuple):
    """``weight`` (outputs, inputs) and ``bias`` (outputs,), float32."""

    weight: Floats
    bias: Floats


class Norm(NamedTuple):
    """``weight`` and ``bias`` of a layer norm, (width,) float32."""

    weight: Floats
    bias: Floats


class Layer(NamedTuple):
    """One layer: ``mix`` makes queries, keys and values (3 width, width), ``join`` puts the
    heads together, ``widen`` and ``narrow`` are the feed-forward part.
    """

    mix: Linear
    join: Linear
    norm_1: Norm
    widen: Linear
    narrow: Linear
    norm_2: Norm


class Words(NamedTuple):
    """The table of words as it lies in a file, whole: ``kind`` is ``Q4_0`` (blocks of 32
    weights: a half and 16 bytes, low nibbles first) or ``F32``.
    """

    kind: str
    raw: memoryview
    width: int

    def rows(self, ids: Ids) -> Floats:
        """(n, width) float32."""
        if self.kind == "F32":
            return np.frombuffer(self.raw, np.float32).reshape(-1, self.width)[ids]
        blocks = np.frombuffer(self.raw, Q4_BLOCK).reshape(-1, self.width // 32)[ids]
        return from_q4(blocks).reshape(len(ids), self.width)


Q4_BLOCK = np.dtype([("scale", "<f2"), ("codes", "u1", 16)])


def from_q4(blocks: NDArray[np.void]) -> Floats:
    """Blocks of Q4_0 to float32; the last axis becomes 32 times as long."""
    codes = blocks["codes"]
    both = np.concatenate([codes & 15, codes >> 4], axis=-1).astype(np.float32)
    both -= 8
    both *= blocks["scale"].astype(np.float32)[..., None]
    return both.reshape(*blocks.shape[:-1], -1)


class Weights(Protocol):
    """An encoder's weights. Layers are read when they are asked for."""

    @property
    def shape(self) -> Shape: ...

    @property
    def words(self) -> Words: ...

    @property
    def places(self) -> Floats:
        """(positions, width) float32: position and token type, added to every word."""
        ...

    @property
    def norm(self) -> Norm: ...

    def layer(self, number: int) -> Layer: ...
