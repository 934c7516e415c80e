"""Where things are on this machine: what the files of a deployment name."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from aiki_kernel.config import Paths


@dataclass(frozen=True)
class Place:
    """``aiki`` is the program, with the words that start it; ``home`` is ``AIKI_HOME``."""

    aiki: tuple[str, ...]
    home: Path

    @classmethod
    def here(cls, paths: Paths) -> Place:
        """The program that runs now: the script beside this Python, else the module."""
        script = Path(sys.executable).with_name("aiki")
        if os.access(script, os.X_OK):
            return cls((str(script),), paths.home)
        found = shutil.which("aiki")
        if found and Path(found).resolve().parent == Path(sys.executable).resolve().parent:
            return cls((found,), paths.home)
        return cls((sys.executable, "-m", "aiki_kernel.cli"), paths.home)


@dataclass(frozen=True)
class Made:
    """One file of a deployment. ``name`` is its path below the folder that takes it."""

    name: str
    text: str
