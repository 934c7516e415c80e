"""What hatchling calls: the Mojo kernels, and the notebooks as they go into the wheel.

In the tree and on GitHub the notebooks carry their outputs; in the wheel only the one that
``aiki lab`` opens does. The others are there to be run, and their pictures would weigh more than
their words. (A file of its own, for a change of ``hatch_build.py`` compiles all kernels anew.)
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from hatch_build import MojoBuildHook

OPENED = "welcome"
"""The notebook that a reader sees before it has run."""


class WheelHook(MojoBuildHook):
    """Named by pyproject.toml; hatchling calls it for wheels and editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """As the kernels' hook, and the notebooks beside them."""
        super().initialize(version, build_data)
        if self.target_name != "wheel" or version == "editable":
            return
        folder = Path(tempfile.mkdtemp(prefix="aiki-notebooks-"))
        for source in sorted((Path(self.root) / "notebooks").glob("*.ipynb")):
            book = json.loads(source.read_text("utf-8"))
            if source.stem != OPENED:
                for cell in book["cells"]:
                    if cell["cell_type"] == "code":
                        cell |= {"outputs": [], "execution_count": None}
            text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
            (folder / source.name).write_text(text, "utf-8")
            build_data["force_include"][str(folder / source.name)] = (
                f"aiki_kernel/notebooks/{source.name}"
            )


def get_build_hook() -> type[MojoBuildHook]:
    """The hook, for hatchling, which finds two here."""
    return WheelHook
