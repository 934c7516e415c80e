"""A fast English embedder: the mean of word vectors, read from the ``wordllama`` wheel.

The wheel (MIT) carries a table of 256 numbers for each token of a Llama 2 vocabulary. Its
own loader asks the network for the tokenizer, so the two files are read here instead,
and nothing of the package is imported. A text costs well under a millisecond.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aiki_kernel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MISSING = (
    "The embedder wordllama is not installed: run `pip install aiki-kernel[english]`, "
    "or set memory.embedder to multilingual-e5-small."
)


class WordLlama:
    """An :class:`~aiki_kernel.memory.embedders.Embedder` for English; 256 dimensions."""

    id = "wordllama"
    dimension = 256

    def __init__(self) -> None:
        """Raises :class:`ConfigError` when the package is not there; reads nothing yet."""
        spec = importlib.util.find_spec("wordllama")
        if spec is None or spec.origin is None:
            raise ConfigError(_MISSING)
        folder = Path(spec.origin).parent
        self._weights = folder / "weights" / "l2_supercat_256.safetensors"
        self._vocabulary = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
        if not self._weights.is_file() or not self._vocabulary.is_file():
            raise ConfigError(_MISSING)
        self._lock = threading.Lock()
        self._table: NDArray[np.float32] | None = None
        self._tokenizer: Any = None

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        out = np.zeros((len(texts), self.dimension), np.float32)
        if not texts:
            return out
        table, tokenizer = self._loaded()
        with self._lock:
            encoded = tokenizer.encode_batch(
                [text.encode("utf-8", "replace").decode() for text in texts],
                add_special_tokens=False,
            )
        for row, one in zip(out, encoded, strict=True):
            row[:] = table[one.ids].mean(axis=0) if one.ids else table[0]
        norms = np.sqrt(np.sum(out * out, axis=1, keepdims=True))
        out /= np.maximum(norms, np.float32(1e-12))
        return out

    def embed_query(self, text: str) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.embed_documents([text])[0]
        return found

    def _loaded(self) -> tuple[NDArray[np.float32], Any]:
        with self._lock:
            if self._table is None:
                from tokenizers import Tokenizer

                self._tokenizer = Tokenizer.from_file(str(self._vocabulary))
                self._tokenizer.no_padding()
                self._tokenizer.no_truncation()
                self._table = _table(self._weights)
            return self._table, self._tokenizer


def _table(path: Path) -> NDArray[np.float32]:
    """The one matrix of a safetensors file (little-endian float16 or float32), as float32.

    The format: eight bytes of header length, a JSON header, then the raw tensors.
    """
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    tensors = [value for key, value in header.items() if key != "__metadata__"]
    kind = {"F16": "<f2", "F32": "<f4"}.get(tensors[0]["dtype"]) if len(tensors) == 1 else None
    if kind is None:
        raise ConfigError(f"{path} is not the file that AIKI knows: reinstall wordllama.")
    start, end = tensors[0]["data_offsets"]
    flat = np.frombuffer(raw[8 + size + start : 8 + size + end], kind)
    return flat.reshape(tensors[0]["shape"]).astype(np.float32)
