"""The notebooks that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from aiki_kernel.errors import AikiError


def packaged() -> dict[str, Path]:
    """Name -> file; in a source tree those of ``notebooks/``."""
    inside = Path(str(resources.files("aiki_kernel"))) / "notebooks"
    tree = Path(__file__).resolve().parents[2] / "notebooks"
    folder = inside if inside.is_dir() else tree
    return {path.stem: path for path in sorted(folder.glob("*.ipynb"))}


def packaged_one(name: str) -> Path:
    """The packaged notebook called ``name``. Raises :class:`AikiError` when it is missing."""
    found = packaged().get(name)
    if found is None:
        raise AikiError(f"The {name} notebook is missing: install aiki-kernel again.")
    return found
