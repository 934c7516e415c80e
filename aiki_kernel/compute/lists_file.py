"""The coarse index in an index file: its arrays, the owners of its blocks, and its centroids.

They lie behind everything else, each on a page: heads, links, ids and codes as in memory
(only the blocks in use are written), then int32 ``(used,)`` the list of every block, then
float32 ``(lists, dim)`` the centroids.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute.coarse import NONE, Coarse
from aiki_kernel.compute.kmeans import snapshot_of
from aiki_kernel.compute.native import Kernels
from aiki_kernel.compute.parts import (
    BLOCK,
    PAGE,
    ListLayout,
    Region,
    list_parts_in,
    private_region,
    round_up,
)

Piece = tuple[int, NDArray[Any]]  # where it starts, and its content


def described(coarse: Coarse) -> dict[str, int | bool]:
    """What the header tells of a coarse index."""
    layout = coarse.parts.layout
    return {
        "lists": layout.lists,
        "blocks": layout.blocks,
        "coded": layout.coded,
        "used": coarse.used,
        "holes": coarse.holes,
        "probes": coarse.probes,
        "trained": coarse.trained,
    }


def end_of(layout: ListLayout, used: int, start: int) -> int:
    """Where the file ends when the coarse index starts at ``start``."""
    return start + layout.total() + round_up(used * 4, PAGE) + layout.lists * layout.dim * 4


def pieces(coarse: Coarse, start: int) -> list[Piece]:
    """What is written, and what is summed up."""
    parts, used = coarse.parts, coarse.used
    layout = parts.layout
    heads, links, ids, codes = (start + offset for offset in layout.offsets())
    owner = start + layout.total()
    size = used * BLOCK * layout.groups if layout.coded else 0
    return [
        (heads, parts.heads),
        (links, parts.links[:used]),
        (ids, parts.ids[: used * BLOCK]),
        (codes, parts.codes[:size]),
        (owner, coarse.owner[:used]),
        (owner + round_up(used * 4, PAGE), coarse.centroids.parts.rows[: layout.lists]),
    ]


def sections(data: mmap.mmap, layout: ListLayout, used: int, start: int) -> list[NDArray[Any]]:
    """What was summed up, from a mapped file of the right length."""
    parts = list_parts_in(Region(data), layout, start)
    at = start + layout.total()
    centroids = at + round_up(used * 4, PAGE)
    size = used * BLOCK * layout.groups if layout.coded else 0
    return [
        parts.heads,
        parts.links[:used],
        parts.ids[: used * BLOCK],
        parts.codes[:size],
        np.frombuffer(data, np.int32, used, at),
        np.frombuffer(data, np.float32, layout.lists * layout.dim, centroids),
    ]


def layout_in(header: dict[str, Any], dim: int) -> ListLayout:
    """The shape that a header tells."""
    return ListLayout(dim, header["lists"], header["blocks"], header["coded"])


def restored(
    data: mmap.mmap, header: dict[str, Any], dim: int, start: int
) -> Callable[[Kernels | None, int], Coarse]:
    """What makes the coarse index of a mapped file."""

    def made(kernels: Kernels | None, n: int) -> Coarse:
        layout, used = layout_in(header, dim), header["used"]
        parts = list_parts_in(Region(data), layout, start)
        _, _, ids, _, owners, rows = sections(data, layout, used, start)
        owner = np.full(layout.blocks, -1, np.int32)
        owner[:used] = owners
        taken = np.flatnonzero(ids != NONE)
        places = np.full(n, -1, np.int64)
        places[ids[taken]] = taken
        return Coarse(
            snapshot_of(rows.reshape(layout.lists, dim), kernels),
            parts,
            private_region,
            kernels,
            header["probes"],
            header["trained"],
            owner,
            places,
            used,
            header["holes"],
        )

    return made
