"""What can go wrong with vectors, in words for the user."""

from __future__ import annotations

from aiki_kernel.errors import AikiError


class VectorError(AikiError):
    """Vectors of the wrong shape, not finite, or too long; rows that do not exist."""

    kind = "compute"


class BackendError(AikiError):
    """A compute backend that is not available here was asked for."""

    kind = "compute"
