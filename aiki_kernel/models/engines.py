"""Which engine runs a file."""

from __future__ import annotations

from aiki_kernel.models.arena_file import ArenaFile
from aiki_kernel.models.bitnet import BitNet
from aiki_kernel.models.engine import LanguageModel
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.llama import Llama
from aiki_kernel.models.shape import BITNET, Shape


def numpy_engine(file: GGUF, *, threads: int = 0, stored: ArenaFile | None = None) -> LanguageModel:
    """The reference engine for the architecture of ``file``. Raises :class:`ModelError`."""
    if Shape.of(file).architecture == BITNET:
        return BitNet(file, threads=threads)
    return Llama(file, threads=threads, stored=stored)
