"""How many threads NumPy's own BLAS uses.

NumPy has no call for it; the OpenBLAS inside its wheels does, and it is asked directly. With
another BLAS (Accelerate, MKL, a distribution's) the number cannot be set from here, and that is
said instead of being passed over.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from aiki_kernel.errors import ModelError


@functools.cache
def _library() -> tuple[ctypes.CDLL, str] | None:
    """The loaded OpenBLAS of the NumPy wheel, and the decoration of its symbols."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))
            for prefix, suffix in (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", "")):
                if hasattr(library, f"{prefix}openblas_get_num_threads{suffix}"):
                    return library, f"{prefix}openblas_{{}}_num_threads{suffix}"
    return None


def set_threads(count: int) -> int:
    """Use ``count`` threads from now on, in the whole process; 0 leaves the library's choice.

    Returns the number in use, 0 when the library cannot tell. Raises :class:`ModelError` when a
    number was asked for and cannot be set.
    """
    found = _library()
    if found is None:
        if count:
            raise ModelError(
                "This NumPy does not let its threads be set: leave local.threads at 0 "
                "and set the variable of its BLAS before the start."
            )
        return 0
    library, pattern = found
    if count:
        getattr(library, pattern.format("set"))(count)
    return int(getattr(library, pattern.format("get"))())
