"""Pictures of widgets, compared with those in ``tests/widgets/pictures``.

A pixel differs when one of its channels is further than :data:`DISTANCE` of 255 from what is
stored: less is how two machines smooth the edge of a letter. A picture differs when more than
:data:`SHARE` of its pixels do, or when its size does. What a test found, and where it differs
(in red), is left in a folder that the failure names.

``AIKI_PICTURES=store`` stores what is found instead; look at it before it is committed.
``AIKI_PICTURES_FOUND`` names that folder.
"""

from __future__ import annotations

import base64
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

STORED = Path(__file__).parent / "pictures"
DISTANCE = 40
SHARE = 0.002
MOST_BYTES = 40_000
# Read here: tests see none of the user's own AIKI_* variables.
STORE = os.environ.get("AIKI_PICTURES") == "store"
FOUND = os.environ.get("AIKI_PICTURES_FOUND", "")


@dataclass(frozen=True)
class Pictures:
    """Takes and compares; ``page`` is an empty page that decodes them."""

    page: Any

    def check(self, tab: Any, name: str) -> None:
        """Compare all that is shown on ``tab`` with the picture called ``name``."""
        box = tab.locator("body")
        found = box.screenshot(animations="disabled", caret="hide", scale="css")
        file = STORED / f"{name}.png"
        assert len(found) < MOST_BYTES, f"{name} has {len(found)} bytes: show less of it"
        if STORE:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(found)
            return
        if not file.is_file():
            self._fail(name, found, b"", "no picture is stored: AIKI_PICTURES=store stores it")
        told = self.page.evaluate(_COMPARE, [_base64(file.read_bytes()), _base64(found), DISTANCE])
        if told["sizes"][0] != told["sizes"][1]:
            why = f"{told['sizes'][1]} pixels instead of {told['sizes'][0]}"
        elif told["share"] > SHARE:
            why = f"{100 * told['share']:.2f} % of the pixels differ (at most {100 * SHARE} %)"
        else:
            return
        self._fail(name, found, base64.b64decode(told["picture"]), why)

    def _fail(self, name: str, found: bytes, difference: bytes, why: str) -> None:
        folder = Path(FOUND or tempfile.mkdtemp(prefix="aiki-"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(found)
        if difference:
            (folder / f"{name}-difference.png").write_bytes(difference)
        pytest.fail(f"{name}: {why}; see {folder}", pytrace=False)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_COMPARE = """async ([stored, found, distance]) => {
  const read = async (data) => {
    const blob = new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))]);
    const image = await createImageBitmap(blob);
    const canvas = new OffscreenCanvas(image.width, image.height);
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    return { canvas, pen, at: pen.getImageData(0, 0, image.width, image.height) };
  };
  const [old, now] = [await read(stored), await read(found)];
  const sizes = [old, now].map(({ at }) => `${at.width} x ${at.height}`);
  let count = 0;
  if (sizes[0] === sizes[1]) {
    for (let i = 0; i < now.at.data.length; i += 4) {
      const worst = Math.max(
        ...[0, 1, 2].map((k) => Math.abs(old.at.data[i + k] - now.at.data[i + k])),
      );
      if (worst <= distance) continue;
      count += 1;
      now.at.data.set([255, 0, 0, 255], i);
    }
    now.pen.putImageData(now.at, 0, 0);
  }
  const bytes = new Uint8Array(await (await now.canvas.convertToBlob()).arrayBuffer());
  const picture = btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(""));
  return { sizes, share: count / (now.at.data.length / 4), picture };
}"""
