"""Settings of curation: whether the memory is kept clean behind your back, and by whom."""

from __future__ import annotations

from pydantic import Field

from aiki_kernel.config_routing import Section


class Curation(Section):
    """Part of ``[memory]``: what becomes of a turn after it is durable."""

    curate: bool = Field(True, description="sift, describe and link memories when nobody waits")
    curate_model: str = Field(
        "local",
        description="who describes long texts: 'local' if one is installed, 'rules' for none, or "
        "a model by name; one that costs money is asked only when it is named here",
    )
    curate_after_s: float = Field(
        3.0, ge=0, description="seconds without a message before curation begins"
    )
    curate_from_chars: int = Field(
        280, ge=0, description="texts shorter than this are described by rules alone"
    )
    curate_most: int = Field(
        64, gt=0, le=1000, description="memories of one batch, between two looks at who waits"
    )
