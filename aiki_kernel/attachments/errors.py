"""The error of this room."""

from __future__ import annotations

from aiki_kernel.errors import AikiError


class AttachmentError(AikiError):
    """Something that a message names cannot be attached. No model was asked."""

    kind = "attachment"
