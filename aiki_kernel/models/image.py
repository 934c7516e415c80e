"""Images on their way to models that see: their bytes, their size, what they cost.

PNG, JPEG, WebP and GIF are told apart by their first bytes, never by a file's name; width
and height are read from the header, so that no image library is needed to send one.
"""

from __future__ import annotations

import base64
import math
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

_TILE = 512  # pixels; OpenAI's vision guide: 85 tokens, and 170 for each tile
_BASE, _PER_TILE = 85, 170
_SHORT, _LONG = 768, 2048
_PIXELS_PER_TOKEN = 750  # Anthropic's vision guide
_MOST_BY_AREA = 1600
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)


class Header(NamedTuple):
    """What the beginning of an image says: its MIME type, width and height in pixels."""

    mime: str
    width: int
    height: int


@dataclass(frozen=True)
class Image:
    """One image. ``words`` is what a model that does not see is told instead."""

    name: str
    mime: str
    width: int
    height: int
    data: bytes = field(repr=False)
    words: str = ""

    @property
    def url(self) -> str:
        """The image as a ``data:`` address, as OpenAI's interface takes it."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"

    @property
    def tokens(self) -> int:
        """What it counts as, about: the most of OpenAI's tiles and Anthropic's area."""
        return max(_tiles(self.width, self.height), _area(self.width, self.height))

    @property
    def size(self) -> str:
        """``640 x 480 px, 23 kB``."""
        kilobytes = max(1, round(len(self.data) / 1000))
        shown = f"{kilobytes:,} kB" if kilobytes < 1000 else f"{kilobytes / 1000:.1f} MB"
        return f"{self.width} x {self.height} px, {shown}"


def header(data: bytes) -> Header | None:
    """The header of an image of the four kinds; None for anything else, or a broken one."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
            return _whole("image/png", *struct.unpack(">II", data[16:24]))
        if data.startswith((b"GIF87a", b"GIF89a")):
            return _whole("image/gif", *struct.unpack("<HH", data[6:10]))
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):
        return None
    return None


def _whole(mime: str, width: int, height: int) -> Header | None:
    return Header(mime, width, height) if width and height else None


def _jpeg(data: bytes) -> Header | None:
    place = 2
    while place + 9 < len(data):
        if data[place] != 0xFF:
            place += 1
            continue
        marker = data[place + 1]
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return _whole("image/jpeg", width, height)
        if marker in (0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            place += 1 if marker == 0xFF else 2
            continue
        place += 2 + struct.unpack(">H", data[place + 2 : place + 4])[0]
    return None


def _webp(data: bytes) -> Header | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        return _whole("image/webp", width, int.from_bytes(data[27:30], "little") + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return _whole("image/webp", (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return _whole("image/webp", width & 0x3FFF, height & 0x3FFF)
    return None


def _tiles(width: int, height: int) -> int:
    shrink = min(1.0, _LONG / max(width, height))
    width, height = round(width * shrink), round(height * shrink)
    shrink = min(1.0, _SHORT / max(1, min(width, height)))
    tiles = math.ceil(width * shrink / _TILE) * math.ceil(height * shrink / _TILE)
    return _BASE + _PER_TILE * max(1, tiles)


def _area(width: int, height: int) -> int:
    return min(_MOST_BY_AREA, math.ceil(width * height / _PIXELS_PER_TOKEN))
