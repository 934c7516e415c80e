"""Which backend: the registry of backends by name, and what ``auto`` picks and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from aiki_kernel.compute.backend import Backend
from aiki_kernel.compute.errors import BackendError
from aiki_kernel.compute.mojo_backend import MojoBackend
from aiki_kernel.compute.native import native
from aiki_kernel.compute.numpy_backend import NumpyBackend
from aiki_kernel.compute.server_backend import ServerBackend

BACKENDS: dict[str, Callable[[], Backend]] = {
    "numpy": NumpyBackend,
    "mojo": MojoBackend,
    "mojo-server": ServerBackend,
}
FEW_ROWS = 32  # below, one NumPy product and one call of the kernels cost the same


class Choice(NamedTuple):
    """A backend's name and, in one line, why it was chosen."""

    name: str
    reason: str


class Availability(NamedTuple):
    """Whether a backend runs here, or why not."""

    name: str
    available: bool
    reason: str


def availability() -> list[Availability]:
    """Every backend of this room, with the reason when it cannot run."""
    loaded = native()
    here = loaded.kernels is not None
    return [
        Availability("numpy", True, "always here"),
        Availability("mojo", here, loaded.reason),
        Availability("mojo-server", here, loaded.reason),
    ]


def choose(n: int, dim: int) -> Choice:
    """What ``auto`` uses for ``n`` rows."""
    loaded = native()
    if loaded.kernels is None:
        return Choice("numpy", loaded.reason)
    if n < FEW_ROWS:
        return Choice("numpy", f"{n} memories: one NumPy product is as fast")
    return Choice("mojo", f"{n} memories of {dim} dimensions: {loaded.reason}")


def make(name: str) -> Backend:
    """A backend by name; BackendError when there is none, or none here."""
    if name not in BACKENDS:
        raise BackendError(f"No backend {name!r}: choose auto, {', '.join(BACKENDS)}.")
    return BACKENDS[name]()
