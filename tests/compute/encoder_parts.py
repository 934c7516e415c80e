"""What the tests of the encoders share: small models of random weights, vocabularies, engines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiki_kernel.compute.encoder import Floats, Ids, Layer, Linear, Norm, Shape, Words
from aiki_kernel.compute.encoder_image import image_of
from aiki_kernel.compute.encoder_mojo import MojoEncoder
from aiki_kernel.compute.encoder_pieces import Vocabulary
from aiki_kernel.compute.encoder_store import aligned


@dataclass(frozen=True)
class RandomWeights:
    """Weights as they are in trained models: columns of unequal size, sums that stay small."""

    shape: Shape
    seed: int = 0
    kind: str = "F32"

    def _some(self, name: str, *size: int) -> Floats:
        rng = np.random.default_rng([self.seed, *name.encode()])
        return rng.standard_normal(size, np.float32)

    @property
    def words(self) -> Words:
        s = self.shape
        if self.kind == "F32":
            return Words("F32", self._some("words", s.vocabulary, s.width).data.cast("B"), s.width)
        blocks = np.zeros((s.vocabulary, s.width // 32, 18), np.uint8)
        rng = np.random.default_rng(self.seed)
        blocks[..., 2:] = rng.integers(0, 256, blocks[..., 2:].shape)
        blocks[..., :2] = np.full((1,), 0.2, np.float16).view(np.uint8)
        return Words("Q4_0", blocks.data.cast("B"), s.width)

    @property
    def places(self) -> Floats:
        return self._some("places", self.shape.positions, self.shape.width) / 2

    @property
    def norm(self) -> Norm:
        return self._norm("norm")

    def _norm(self, name: str) -> Norm:
        width = self.shape.width
        weight = np.exp(0.4 * self._some(name + "w", width)).astype(np.float32)
        return Norm(weight, self._some(name + "b", width) / 10)

    def _linear(self, name: str, outputs: int, inputs: int) -> Linear:
        weight = self._some(name, outputs, inputs) / np.float32(np.sqrt(inputs))
        return Linear(weight, self._some(name + "b", outputs) / 10)

    def layer(self, number: int) -> Layer:
        w, f = self.shape.width, self.shape.feed
        return Layer(
            self._linear(f"{number}mix", 3 * w, w),
            self._linear(f"{number}join", w, w),
            self._norm(f"{number}n1"),
            self._linear(f"{number}widen", f, w),
            self._linear(f"{number}narrow", w, f),
            self._norm(f"{number}n2"),
        )


def mojo(weights: RandomWeights, variant: str, threads: int = 1) -> MojoEncoder:
    image = aligned(image_of(weights))
    return MojoEncoder(weights.shape, weights.words, image, threads=threads, variant=variant)


def random_texts(shape: Shape, lengths: list[int], seed: int = 1) -> list[Ids]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, shape.vocabulary, n).astype(np.int32) for n in lengths]


def cosines(a: Floats, b: Floats) -> Floats:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found: Floats = (a * b).sum(axis=1) / lengths
    return found


def vocabulary(pieces: dict[str, float], mapping: dict[str, str], unknown: int = 0) -> Vocabulary:
    raw = [piece.encode() for piece in pieces]
    characters = sorted(map(ord, mapping))
    instead = [mapping[chr(character)] for character in characters]
    return Vocabulary(
        b"".join(raw),
        np.cumsum([0, *map(len, raw)]).astype(np.uint32),
        np.array(list(pieces.values()), np.float32),
        np.array(characters, np.uint32),
        np.cumsum([0, *map(len, instead)]).astype(np.uint32),
        np.array([ord(c) for text in instead for c in text], np.uint32),
        unknown,
    )
