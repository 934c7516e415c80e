"""What a GGUF file is, what it needs, and whether and how fast it can be run here.

Nothing is loaded: the header is read, the checks that loading makes are made, and the speed is
worked out. A token costs one pass over the weights, so the Mojo engine is bound by the memory: what
it must read divided by the bandwidth measured now, of which it reaches about three quarters. The
NumPy engine holds the weights of a Llama as float32 and reaches less; for BitNet it is bound by
unpacking, which is timed on a piece.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aiki_kernel.compute.bandwidth import read_bandwidth
from aiki_kernel.compute.native import load_best
from aiki_kernel.errors import ModelError
from aiki_kernel.models.arena_file import Untouched
from aiki_kernel.models.bitnet import chat_template
from aiki_kernel.models.bitnet_weights import BitNetWeights, PackedMatrix
from aiki_kernel.models.gguf import GGUF, StringArray, TensorInfo
from aiki_kernel.models.llama_weights import LlamaWeights
from aiki_kernel.models.memory import available_bytes
from aiki_kernel.models.mojo_weights import MojoWeights
from aiki_kernel.models.quants import FOREIGN
from aiki_kernel.models.shape import ARCHITECTURES, BITNET, Shape
from aiki_kernel.models.tokenizer import Tokenizer

_SAMPLE = 128 * 2**20  # bytes read to measure the memory; far more than any cache
_REACHED = 0.75  # part of the bandwidth that decoding with the Mojo engine reached, 0.74 to 0.8
_NUMPY_REACHED = 0.4  # the same with NumPy, 0.36 to 0.45: small products between the large ones
_PIECE = 1 << 21  # weights multiplied to time it
_PARTS = {
    "embedding": r"token_embd\.",
    "attention": r"blk\.\d+\.attn_(?!norm|sub_norm)",
    "feed-forward": r"blk\.\d+\.ffn_(?!norm|sub_norm)",
    "norms": r".*norm\.",
    "head": r"output\.",
    "other": r"",
}


@dataclass(frozen=True)
class EngineView:
    """What one engine makes of a file: memory in bytes, about how many tokens a second.

    ``why_not`` is one line, empty when the engine takes the file.
    """

    why_not: str = ""
    nbytes: int = 0
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class ModelFile:
    """A described file. Sizes in bytes, ``bandwidth`` in bytes a second.

    ``obstacles`` is empty when it can be run here; each is one line. ``state_bytes`` is what a
    full context adds to an engine's memory.
    """

    path: str
    name: str
    architecture: str
    nbytes: int
    parameters: int
    bits_per_weight: float
    quantisation: dict[str, str]
    tensors: dict[str, int]
    layers: int
    width: int
    context: int
    vocabulary: int
    tokenizer: str
    chat_template: str
    state_bytes: int
    available_bytes: int
    obstacles: tuple[str, ...]
    engines: dict[str, EngineView]
    bandwidth: float | None = None

    @property
    def runs(self) -> bool:
        return not self.obstacles

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "runs": self.runs}


def describe(path: Path, *, measure: bool = True) -> ModelFile:
    """Look into ``path``. ``measure`` takes about half a second more, for the speeds.

    Raises :class:`ModelError` with one line for a file that is no usable GGUF.
    """
    with GGUF(path) as file:
        kind = file.get("general.architecture", str)
        tensors = file.tensors
        weights = sum(_count(tensor) for tensor in tensors.values())
        stored = sum(tensor.nbytes for tensor in tensors.values())
        shape, obstacles = _shape(file)
        ternary = ARCHITECTURES.get(kind) == BITNET
        bandwidth = read_bandwidth(_SAMPLE) if measure else None
        return ModelFile(
            path=str(path),
            name=_text(file, "general.name") or path.stem,
            architecture=kind,
            nbytes=path.stat().st_size,
            parameters=weights,
            bits_per_weight=round(8 * stored / max(weights, 1), 2),
            quantisation=_quantisation(tensors),
            tensors=dict(Counter(tensor.quant.name for tensor in tensors.values())),
            layers=_number(file, f"{kind}.block_count"),
            width=_number(file, f"{kind}.embedding_length"),
            context=_number(file, f"{kind}.context_length"),
            vocabulary=_vocabulary(file),
            tokenizer=" / ".join(
                filter(None, (_text(file, "tokenizer.ggml.model"), _text(file, _PRE)))
            ),
            chat_template=_template(file, ternary),
            state_bytes=0 if shape is None else shape.state_bytes(shape.context),
            available_bytes=available_bytes(),
            obstacles=obstacles,
            engines={} if obstacles else _engines(file, ternary, bandwidth),
            bandwidth=bandwidth,
        )


_PRE = "tokenizer.ggml.pre"


def _shape(file: GGUF) -> tuple[Shape | None, tuple[str, ...]]:
    """The sizes, if they can be told, and every reason why the file cannot be run."""
    found: list[str] = []
    shape: Shape | None = None
    try:
        shape = Shape.of(file)
        if shape.architecture == BITNET:
            BitNetWeights.read(file)
        else:
            LlamaWeights.check(file)
    except ModelError as error:
        found.append(str(error))
    foreign = sorted({t.quant.name for t in file.tensors.values()} & _FOREIGN)
    if foreign and not any(name in line for name in foreign for line in found):
        found.append(f"Tensors of type {', '.join(foreign)} cannot be run here.")
    try:
        tokenizer = Tokenizer(file)
        if shape is not None and len(tokenizer) != shape.vocabulary:
            found.append(f"It has {len(tokenizer)} tokens and {shape.vocabulary} embeddings.")
    except ModelError as error:
        found.append(str(error))
    return shape, tuple(found)


_FOREIGN = {quant.name for quant in FOREIGN.values()}


def _engines(file: GGUF, ternary: bool, bandwidth: float | None) -> dict[str, EngineView]:
    """The engines that may run a file without obstacles, the preferred one first."""
    tensors = file.tensors.values()
    held = sum(t.nbytes if ternary else 4 * _count(t) for t in tensors)
    slow = None if bandwidth is None else _numpy_speed(file, ternary, bandwidth)
    return {"mojo": _mojo(file, bandwidth), "numpy": EngineView("", held, slow)}


def _mojo(file: GGUF, bandwidth: float | None) -> EngineView:
    loaded = load_best("language")
    if loaded.library is None:
        return EngineView(loaded.reason)
    try:
        weights = MojoWeights.read(file, Untouched())
    except ModelError as error:
        return EngineView(str(error))
    speed = None if bandwidth is None else _REACHED * bandwidth / max(weights.read_bytes, 1)
    return EngineView("", weights.arena.nbytes, speed)


def _numpy_speed(file: GGUF, ternary: bool, bandwidth: float) -> float:
    read = [tensor for tensor in file.tensors.values() if _is_read(tensor, file.tensors)]
    if not ternary:
        return _NUMPY_REACHED * bandwidth / max(4 * sum(_count(tensor) for tensor in read), 1)
    seconds = 0.0
    matrices = [tensor for tensor in read if len(tensor.shape) == 2]
    for kind in {tensor.quant.name for tensor in matrices} - _FOREIGN:
        of_kind = [tensor for tensor in matrices if tensor.quant.name == kind]
        weights = sum(_count(tensor) for tensor in of_kind)
        seconds += weights * _seconds_per_weight(file, max(of_kind, key=_count))
    return 1 / seconds if seconds else 0.0


def _seconds_per_weight(file: GGUF, tensor: TensorInfo) -> float:
    """A few rows of a matrix, multiplied as the engine does it."""
    rows, columns = tensor.shape
    whole = PackedMatrix.read(file, tensor.name, rows, columns)
    rows = max(1, min(rows, _PIECE // columns))
    few = whole.blocks[: rows * columns // whole.quant.block]
    piece = replace(whole, blocks=few, rows=rows)
    x, best = np.ones((1, columns), np.float32), float("inf")
    for _ in range(3):
        began = time.perf_counter()
        piece.times(x)
        best = min(best, time.perf_counter() - began)
    return best / (rows * columns)


def _quantisation(tensors: dict[str, TensorInfo]) -> dict[str, str]:
    """Which types each part of the model has, most weights first."""
    parts: dict[str, Counter[str]] = {part: Counter() for part in _PARTS}
    for tensor in tensors.values():
        part = next(part for part, sign in _PARTS.items() if re.match(sign, tensor.name))
        parts[part][tensor.quant.name] += _count(tensor)
    return {
        part: ", ".join(name for name, _ in found.most_common())
        for part, found in parts.items()
        if found
    }


def _is_read(tensor: TensorInfo, tensors: dict[str, TensorInfo]) -> bool:
    """All but an embedding that is not the head as well: of that, one row."""
    return tensor.name != "token_embd.weight" or "output.weight" not in tensors


def _count(tensor: TensorInfo) -> int:
    total = 1
    for size in tensor.shape:
        total *= size
    return total


def _number(file: GGUF, key: str) -> int:
    value = file.metadata.get(key)
    return value if type(value) is int else 0


def _text(file: GGUF, key: str) -> str:
    value = file.metadata.get(key)
    return value if isinstance(value, str) else ""


def _vocabulary(file: GGUF) -> int:
    found = file.metadata.get("tokenizer.ggml.tokens")
    return len(found) if isinstance(found, StringArray) else 0


def _template(file: GGUF, ternary: bool) -> str:
    """Where the chat template comes from."""
    stated = _text(file, "tokenizer.chat_template")
    if ternary and chat_template(stated or None) != stated:
        return "BitNet's own (the file's is a placeholder)" if stated else "BitNet's own"
    return "in the file" if stated else "none: a base model"
