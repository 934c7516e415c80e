"""The compiled kernels: which variants lie beside this file, and which this CPU can run.

The libraries are ordinary extension modules that need libc and nothing else. There is one
for each level of x86-64; a CPU flag that is missing here would be an illegal instruction
there, so every flag that the compiler was allowed to use is asked for.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import platform
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

AVX2 = frozenset(["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"])
AVX512 = AVX2 | frozenset(
    ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"]
)
VARIANTS = {
    "avx512vbmi": AVX512 | {"avx512vbmi", "gfni"},
    "avx512vnni": AVX512,
    "avx2": AVX2,
}
FOLDER = Path(__file__).parent


class Kernels(Protocol):
    """The functions of a library; `mojo/search/native_search.mojo` documents them."""

    def bind(
        self,
        rows: Any,
        codes8: Any,
        scales: Any,
        codes1: Any,
        capacity: int,
        dim: int,
        /,
    ) -> object: ...

    def encode(
        self,
        rows: Any,
        codes8: Any,
        scales: Any,
        codes1: Any,
        capacity: int,
        dim: int,
        first: int,
        last: int,
        /,
    ) -> int: ...

    def bind_lists(self, heads: Any, links: Any, ids: Any, codes: Any, dim: int, /) -> object: ...

    def search(self, *arguments: Any) -> int: ...

    def variant(self) -> int: ...


class Native(NamedTuple):
    """Loaded kernels, or the reason why there are none."""

    kernels: Kernels | None
    variant: str
    reason: str


def library(variant: str, part: str = "search") -> Path:
    """Where a variant's library lies when it was built. ``part`` is a folder of ``mojo/``."""
    return FOLDER / f"native_{part}_{variant}.so"


def cpu_flags() -> frozenset[str]:
    """The flags of the first CPU as Linux prints them; none elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return frozenset()
    return next(
        (frozenset(line.split()) for line in lines if line.startswith("flags")), frozenset()
    )


@cache
def load_library(part: str, variant: str) -> Any:
    """Load one library of a part; ImportError when it is missing or refuses to load."""
    name, path = f"native_{part}", library(variant, part)
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    if spec is None:
        raise ImportError(f"no loader for {path.name}")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def load_variant(variant: str) -> Kernels:
    """Load one library of the search; ImportError when it is missing or refuses to load."""
    kernels: Kernels = load_library("search", variant)
    return kernels


@cache
def runnable(part: str = "search") -> tuple[str, ...]:
    """Variants of a part that are here and that this CPU runs, best first."""
    flags = cpu_flags()
    return tuple(
        name for name, needs in VARIANTS.items() if needs <= flags and library(name, part).exists()
    )


class Loaded(NamedTuple):
    """A part's library, or the reason why there is none."""

    library: Any
    variant: str
    reason: str


@cache
def load_best(part: str) -> Loaded:
    """The best variant of a part that this CPU runs, or why there is none."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return Loaded(None, "", "the compiled kernels are for CPython with its global lock")
    if not any(library(name, part).exists() for name in VARIANTS):
        return Loaded(
            None, "", f"installed without compiled kernels (made for {platform.machine()} Linux)"
        )
    for name in runnable(part):
        try:
            return Loaded(load_library(part, name), name, f"compiled kernels, {name}")
        except ImportError as error:
            return Loaded(None, "", f"the compiled kernels did not load: {error}")
    return Loaded(None, "", "this CPU has no AVX2, which the compiled kernels need")


@cache
def native() -> Native:
    """The best variant of the search, or why NumPy must do."""
    return Native(*load_best("search"))
