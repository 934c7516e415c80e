"""The build hook: compiles the Mojo kernels into the wheel, or leaves them out and says so.

Each folder of ``mojo/`` with a file ``native_FOLDER.mojo`` is a part and becomes one library for
each kind of CPU; what several parts need lies in ``mojo/common``.

A variant is compiled once for each content of the sources, the compiler's version and the
target; the result is kept in the user's cache folder. Mojo makes an object and the C compiler
links it: what Mojo links itself carries folders of this machine and a build id, so that no two
builds were the same. The libraries must need libc and nothing else, otherwise the build fails.
Without a compiler, without a C compiler to link, on other platforms, or with
``AIKI_BUILD_MOJO=0`` the wheel is pure Python and computes with NumPy.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILER = "mojo-compiler==1.2.0"
TARGETS = {
    "avx2": ("x86-64-v3", ""),
    "avx512vnni": ("x86-64-v4", "+avx512vnni"),
    "avx512vbmi": ("x86-64-v4", "+avx512vnni,+avx512vbmi,+gfni"),
}
TAG = "py3-none-manylinux_2_17_x86_64"  # aligned_alloc of glibc 2.16 is the newest symbol
MAY_NEED = {"libc.so.6"}
QUIET = {"MODULAR_TELEMETRY_ENABLED": "0", "MODULAR_CRASH_REPORTING_ENABLED": "0"}
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5
LINK = ("-shared", "-s", "-Wl,--build-id=none")


def why_not() -> str:
    """Why this machine cannot compile the kernels; empty when it can try."""
    if os.environ.get("AIKI_BUILD_MOJO", "1") == "0":
        return "AIKI_BUILD_MOJO=0"
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"the kernels are for Linux on x86-64, this is {sys.platform} {platform.machine()}"
    return "" if linker() else "no C compiler for linking"


def linker() -> str:
    """The C compiler that links; empty when there is none."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), "")


def compiler() -> str | None:
    """The mojo command beside this Python, or on the PATH."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("mojo", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))


def needed(library: bytes) -> set[str]:
    """The NEEDED entries of an ELF64 library."""
    start, size, count = struct.unpack_from("<Q", library, 32) + struct.unpack_from(
        "<HH", library, 54
    )
    segments = [struct.unpack_from("<IIQQQQQQ", library, start + i * size) for i in range(count)]
    dynamic = next(segment for segment in segments if segment[0] == 2)
    entries = []
    for at in range(dynamic[2], dynamic[2] + dynamic[5], 16):
        tag, value = struct.unpack_from("<qQ", library, at)
        if tag == DT_NULL:
            break
        entries.append((tag, value))
    address = next(value for tag, value in entries if tag == DT_STRTAB)
    strings = next(
        address - segment[3] + segment[2]
        for segment in segments
        if segment[0] == 1 and segment[3] <= address < segment[3] + segment[5]
    )

    def text(offset: int) -> str:
        return library[strings + offset : library.index(0, strings + offset)].decode()

    return {text(value) for tag, value in entries if tag == DT_NEEDED}


class MojoBuildHook(BuildHookInterface):
    """Named by pyproject.toml; hatchling calls it for wheels and editable installs."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """The compiler, where it can be used."""
        return [] if why_not() or self.target_name != "wheel" else [COMPILER]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add one library a variant to the build; for editable installs put them in the tree."""
        if self.target_name != "wheel":
            return
        package = Path(self.root) / "aiki_kernel" / "compute"
        mojo = compiler()
        reason = why_not() or ("" if mojo else "no mojo compiler")
        if reason or mojo is None:
            for stale in package.glob("native_*.so") if version == "editable" else ():
                stale.unlink()
            self.app.display_warning(f"No Mojo kernels in this build: {reason}. NumPy computes.")
            return
        roots = (Path(self.root) / "mojo").glob("*/native_*.mojo")
        parts = sorted(root.parent.name for root in roots)
        for part, variant in itertools.product(parts, TARGETS):
            library = self.build(mojo, part, variant)
            inside = f"native_{part}_{variant}.so"
            if version == "editable":
                shutil.copyfile(library, package / inside)
            else:
                build_data["force_include"][str(library)] = f"aiki_kernel/compute/{inside}"
        if version != "editable":
            build_data["pure_python"] = False
            build_data["tag"] = TAG

    def build(self, mojo: str, part: str, variant: str) -> Path:
        """A compiled variant of one part, from the cache when nothing changed."""
        here, common = Path(self.root) / "mojo" / part, Path(self.root) / "mojo" / "common"
        sources = sorted([*here.glob("*.mojo"), *common.glob("*.mojo")])
        cpu, features = TARGETS[variant]
        told = subprocess.run(
            [mojo, "--version"], capture_output=True, text=True, check=True, env=os.environ | QUIET
        )
        digest = hashlib.sha256(f"{told.stdout}|{part}|{cpu}|{features}".encode())
        for source in [*sources, Path(__file__)]:
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aiki-kernel"
        folder = cache / "mojo" / digest.hexdigest()[:24]
        library = folder / f"{part}_{variant}.so"
        if library.exists():
            return library
        folder.mkdir(parents=True, exist_ok=True)
        self.app.display_info(f"Compiling the Mojo kernels for {part}, {variant}")
        fresh = folder / f"{part}_{variant}.{os.getpid()}.so"
        made = fresh.with_suffix(".o")
        words = [mojo, "build", "--emit", "object", "--target-cpu", cpu]
        words += ["--target-features", features] if features else []
        words += ["-I", str(common), "-o", str(made), str(here / f"native_{part}.mojo")]
        _call(words, "Mojo could not compile the kernels")
        _call([linker(), *LINK, "-o", str(fresh), str(made)], "The kernels could not be linked")
        made.unlink()
        extra = needed(fresh.read_bytes()) - MAY_NEED
        if extra:
            raise RuntimeError(f"The kernels need more than libc: {', '.join(sorted(extra))}")
        fresh.replace(library)
        return library


def _call(words: list[str], failure: str) -> None:
    """Run a tool; raises RuntimeError with what it said."""
    done = subprocess.run(
        words, env=os.environ | QUIET, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{failure}:\n{done.stderr}")
