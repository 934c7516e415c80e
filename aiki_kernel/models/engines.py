"""Which engine runs a file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from aiki_kernel.errors import ModelError
from aiki_kernel.models.arena_file import ArenaFile
from aiki_kernel.models.bitnet import BitNet
from aiki_kernel.models.engine import LanguageModel
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.llama import Llama
from aiki_kernel.models.mojo_engine import MojoModel, tiles_file
from aiki_kernel.models.mojo_weights import UnsupportedError
from aiki_kernel.models.shape import BITNET, Shape

ENGINES = ("auto", "mojo", "numpy")

logger = logging.getLogger("aiki.models")


@dataclass(frozen=True)
class Choice:
    """An engine, ready, and why it is not the one that was preferred; empty when it is."""

    model: LanguageModel
    note: str = ""


def choose(file: GGUF, digest: str, cache: Path, *, engine: str, threads: int = 0) -> Choice:
    """The engine for ``file``. ``auto`` prefers Mojo; when that cannot be, the note says why.

    Raises :class:`ModelError` with one line, also when ``mojo`` was asked for and is not to be had.
    """
    if engine not in ENGINES:
        raise ModelError(f"There is no engine {engine!r}: use {', '.join(ENGINES)}.")
    if engine != "numpy":
        try:
            return Choice(MojoModel(file, threads=threads, stored=tiles_file(cache, digest)))
        except UnsupportedError as error:
            if engine == "mojo":
                raise ModelError(
                    f"The Mojo engine cannot run {file.path.name} ({error}): "
                    "set local.engine to 'auto' or 'numpy'."
                ) from None
            note = f"NumPy computes, slowly: {error}"
            logger.warning("%s: %s", file.path.name, note)
    else:
        note = ""
    return Choice(numpy_engine(file, threads=threads, stored=ArenaFile(cache, digest)), note)


def numpy_engine(file: GGUF, *, threads: int = 0, stored: ArenaFile | None = None) -> LanguageModel:
    """The reference engine for the architecture of ``file``. Raises :class:`ModelError`."""
    if Shape.of(file).architecture == BITNET:
        return BitNet(file, threads=threads)
    return Llama(file, threads=threads, stored=stored)
