"""Settings of the response cache."""

from __future__ import annotations

from pydantic import Field

from aiki_kernel.config_routing import Section


class Cache(Section):
    """Answers to identical deterministic requests (temperature 0, or a seed), kept on this disk.

    A cell may say otherwise: `%%aiki --cache yes`, `%%aiki --cache no`.
    """

    chat: bool = Field(False, description="answer a message from the cache when it is there")
    size_mb: float = Field(64.0, gt=0, description="the longest unused go first")
    days: float = Field(30.0, gt=0, description="how old an answer may be")
