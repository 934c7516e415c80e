"""The local models that are loaded: on first use, kept for a while, then let go.

One model at a time, unless the machine has memory for more: in float32 a model's tensors take
up to eight times its quantised file, packed for the Mojo engine about its size again, and one
gigabyte must stay free.
"""

from __future__ import annotations

import contextlib
import difflib
import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.config import Paths, Settings
from aiki_kernel.errors import ModelError

if TYPE_CHECKING:
    from aiki_kernel.models.local import LocalModel

logger = logging.getLogger("aiki.daemon.models")

_FLOAT_BYTES_PER_FILE_BYTE, _PACKED_BYTES_PER_FILE_BYTE = 8, 2
# What a session computes with -> the engine; for others the setting local.engine counts.
_ENGINES = {"numpy": "numpy", "mojo": "auto", "mojo-server": "auto"}
_KEEP_FREE = 1 << 30


_Key = tuple[str, str]  # a model's name and the engine that was asked for


@dataclass
class _Loaded:
    model: LocalModel
    bytes: int
    load_s: float
    used: float


class LocalModels:
    """Names, files and loaded engines. Thread-safe; loading blocks its caller."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self.settings = settings
        self.paths = paths
        self._loaded: dict[_Key, _Loaded] = {}
        self._lock = threading.RLock()
        self._busy: Counter[_Key] = Counter()  # generations that run

    def installed(self) -> dict[str, Path]:
        """Models on this machine: name to GGUF file."""
        from aiki_kernel.models import weights

        return dict(weights.installed(self.paths.models))

    def known(self) -> list[str]:
        """Models that can be fetched by name."""
        from aiki_kernel.models import weights

        return sorted(weights.KNOWN)

    def find(self, name: str) -> tuple[str, Path]:
        """The model called ``name`` (``local`` is the default one) and its file.

        Raises :class:`ModelError` with status 404 and the next step when it is not here.
        """
        from aiki_kernel.models.weights import DEFAULT

        installed = self.installed()
        wanted = name.removeprefix("local/")
        if wanted in ("local", ""):
            wanted = DEFAULT if DEFAULT in installed or not installed else sorted(installed)[0]
        if wanted in installed:
            return wanted, installed[wanted]
        known = self.known()
        if wanted in known:
            raise ModelError(
                f"{wanted} is not on this machine yet: run `aiki model pull {wanted}`.",
                stage="load",
                status=404,
            )
        names = sorted({"local", *known, *installed})
        near = difflib.get_close_matches(wanted, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}."
        raise ModelError(f"No local model called {wanted!r}: {hint}", stage="load", status=404)

    @contextlib.contextmanager
    def using(self, name: str, backend: str = "") -> Iterator[LocalModel]:
        """The engine for ``name``, loaded now if it is not yet; it stays while it is used.

        ``backend`` is what the session computes with (``numpy``, ``mojo``); anything else leaves
        the choice to the setting ``local.engine``. Raises :class:`ModelError`.
        """
        from aiki_kernel.models.local import LocalModel

        name, path = self.find(name)
        engine = _ENGINES.get(backend, self.settings.local.engine)
        key = (name, engine)
        with self._lock:
            found = self._loaded.get(key)
            if found is None:
                plain = engine == "numpy"
                times = _FLOAT_BYTES_PER_FILE_BYTE if plain else _PACKED_BYTES_PER_FILE_BYTE
                self._make_room(path.stat().st_size * times)
                began = time.perf_counter()
                model = LocalModel.load(
                    path,
                    cache=self.paths.models / "cache",
                    engine=engine,
                    threads=self.settings.local.threads,
                )
                found = _Loaded(
                    model, path.stat().st_size, time.perf_counter() - began, time.monotonic()
                )
                self._loaded[key] = found
                logger.info("loaded %s in %.2f s (%s)", name, found.load_s, model.engine_name)
            found.used = time.monotonic()
            self._busy[key] += 1
        try:
            yield found.model
        finally:
            with self._lock:
                found.used = time.monotonic()
                self._busy[key] -= 1

    def free_idle(self) -> None:
        """Let go of models that nobody used for ``local.keep_loaded_s``."""
        limit = time.monotonic() - self.settings.local.keep_loaded_s
        if not self._lock.acquire(blocking=False):
            return
        try:
            for key in [k for k, m in self._loaded.items() if m.used < limit and not self._busy[k]]:
                self._free(key)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            for key in list(self._loaded):
                self._free(key)

    def health(self) -> list[dict[str, Any]]:
        """Loaded models for ``/health``; ``file_bytes`` is the file's size."""
        now = time.monotonic()
        return [
            {
                "name": name,
                "engine": loaded.model.engine_name,
                "note": loaded.model.note,
                "file_bytes": loaded.bytes,
                "load_s": round(loaded.load_s, 3),
                "idle_s": 0.0 if self._busy[(name, asked)] else round(now - loaded.used, 1),
            }
            for (name, asked), loaded in list(self._loaded.items())
        ]

    def _make_room(self, needed: int) -> None:
        from aiki_kernel.models.memory import available_bytes

        idle = [key for key in self._loaded if not self._busy[key]]
        oldest_first = sorted(idle, key=lambda key: self._loaded[key].used)
        for key in oldest_first:
            if available_bytes() - needed >= _KEEP_FREE:
                return
            self._free(key)

    def _free(self, key: _Key) -> None:
        del self._loaded[key]
        gc.collect()
        logger.info("let go of %s", key[0])
