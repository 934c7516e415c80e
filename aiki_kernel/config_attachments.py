"""Settings of what is attached to a message: frames, figures, files."""

from __future__ import annotations

from pydantic import Field

from aiki_kernel.config_routing import Section


class Attachments(Section):
    """What ``{df}``, ``{fig}`` and ``{open:FILE}`` in a message may send."""

    table_tokens: int = Field(1200, ge=100, description="budget of one frame's summary, in tokens")
    text_tokens: int = Field(3000, ge=100, description="budget of one file's text, in tokens")
    file_mb: float = Field(20.0, gt=0, description="larger files are not read")
    image_mb: float = Field(5.0, gt=0, description="larger images are not sent")
    image_side: int = Field(
        1568, ge=64, le=8000, description="pixels; a larger image is made smaller, or not sent"
    )
    folders: tuple[str, ...] = Field(
        (), description="folders outside of your home and the notebook's that may be read"
    )
