"""A second model out of the first: the same weights in another quantisation (Q4_0)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aiki_kernel.models.gguf import GGUF, StringArray
from aiki_kernel.models.gguf_writer import TensorPlan, write_gguf
from aiki_kernel.models.quants import dequantize

_BLOCK = 32


def requantised(source: Path, target: Path) -> Path:
    """Write ``source`` anew with its four-bit matrices as Q4_0; whatever else stays."""
    with GGUF(source) as model:
        metadata = {
            key: value.read() if isinstance(value, StringArray) else value
            for key, value in model.metadata.items()
        }
        metadata["general.name"] = target.stem
        plans = [
            TensorPlan(
                name,
                tensor.shape,
                "Q4_0" if tensor.quant.name == "Q4_1" else tensor.quant.name,
                partial(_pieces, model, name),
            )
            for name, tensor in model.tensors.items()
        ]
        return write_gguf(target, metadata, plans)


def _pieces(model: GGUF, name: str) -> Iterator[npt.NDArray[Any]]:
    quant = model.tensor(name).quant
    if quant.name != "Q4_1":
        yield model.raw(name)
        return
    blocks = dequantize(model.raw(name), quant).reshape(-1, _BLOCK)
    widest = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)
    step = widest / -8.0
    codes = np.clip(np.rint(blocks / np.where(step == 0, 1, step)) + 8, 0, 15).astype(np.uint8)
    out = np.empty((len(blocks), 18), np.uint8)
    out[:, :2] = step.astype(np.float16).view(np.uint8)
    out[:, 2:] = codes[:, :16] | (codes[:, 16:] << 4)
    yield out
