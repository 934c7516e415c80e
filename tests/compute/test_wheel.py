"""The built wheel in an empty environment, and builds without a compiler."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from aiki_kernel.compute.native import cpu_flags, native

ROOT = Path(__file__).parents[2]
pytest.importorskip("hatchling")
SEARCH = """
import numpy as np
from aiki_kernel.compute.index import VectorIndex
rows = np.random.default_rng(0).standard_normal((5000, 384), np.float32)
index = VectorIndex(384)
index.append(rows)
found = index.search(rows[77], 3)
assert found.rows[0] == 77, found
print(index.choice().name, "|", index.choice().reason)
"""
MOJO_HERE = shutil.which("mojo", path=str(Path(sys.executable).parent))


def build(target: Path, source: Path = ROOT, **environment: str) -> tuple[Path, str]:
    """Build a wheel with this environment's own packages: nothing is downloaded."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=source,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return next(target.glob("*.whl")), done.stdout + done.stderr


def searched(wheel: Path, folder: Path) -> str:
    """Unpack the wheel beside NumPy in an empty environment and search, nothing on the PATH."""
    import numpy

    venv.create(folder, symlinks=True)
    site = next((folder / "lib").glob("python3.*")) / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    packages = Path(numpy.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (packages / name).exists():
            (site / name).symlink_to(packages / name)
    done = subprocess.run(
        [str(folder / "bin" / "python"), "-I", "-c", SEARCH],
        env={"PATH": str(folder / "nothing"), "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(MOJO_HERE is None, reason="no Mojo compiler here")
def test_the_wheel_searches_with_mojo_where_no_compiler_is(tmp_path: Path) -> None:
    wheel, _ = build(tmp_path / "dist")
    assert wheel.name.endswith("-py3-none-manylinux_2_17_x86_64.whl")
    with zipfile.ZipFile(wheel) as archive:
        libraries = [one for one in archive.infolist() if "native_search_" in one.filename]
    assert len(libraries) == 3
    assert sum(one.compress_size for one in libraries) < 100_000
    answer = searched(wheel, tmp_path / "env")
    assert answer.startswith("mojo" if "avx2" in cpu_flags() else "numpy"), answer


@pytest.mark.slow
def test_without_mojo_the_wheel_is_pure_and_says_so(tmp_path: Path) -> None:
    wheel, told = build(tmp_path / "dist", AIKI_BUILD_MOJO="0")
    assert "No Mojo kernels in this build: AIKI_BUILD_MOJO=0" in told
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
    answer = searched(wheel, tmp_path / "env")
    assert answer.startswith("numpy | installed without compiled kernels"), answer


@functools.cache
def interpreter(version: str) -> Path | None:
    """A CPython of that version on this machine: on the PATH, of pyenv or of uv."""
    places = [Path(found) for found in [shutil.which(f"python{version}")] if found]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places += sorted(pyenv.glob(f"versions/{version}*/bin/python{version}"))
    places += sorted((Path.home() / ".local/share/uv/python").glob(f"*-{version}*/bin/python3"))
    for place in places:
        told = subprocess.run(
            [place, "-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if told.stdout.strip() == version:
            return place
    return None


@pytest.mark.slow
@pytest.mark.skipif(MOJO_HERE is None, reason="no Mojo compiler here")
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_one_wheel_serves_every_python(version: str, tmp_path: Path) -> None:
    """The wheel built by this Python, installed by pip under another, with NumPy from PyPI."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no CPython {version} on this machine")
    wheel, _ = build(tmp_path / "dist")
    folder = tmp_path / "env"
    subprocess.run([python, "-m", "venv", folder], check=True, capture_output=True)
    inside = folder / "bin" / "python"
    pip = [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", wheel], check=True, capture_output=True)
    fetched = subprocess.run([*pip, "numpy>=2"], check=False, capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"no NumPy for {version} to be had: {fetched.stderr[-200:]}")
    done = subprocess.run(
        [inside, "-I", "-c", SEARCH],
        env={"PATH": str(folder / "nothing"), "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mojo" if "avx2" in cpu_flags() else "numpy"), done.stdout


@pytest.mark.slow
def test_the_source_distribution_builds_the_same_wheel(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (packed,) = tmp_path.glob("*.tar.gz")
    assert packed.stat().st_size < 5_000_000
    with tarfile.open(packed) as archive:
        # Python 3.11.3 and older know no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(tmp_path / "source")
    (source,) = (tmp_path / "source").iterdir()
    assert not list(source.rglob("*.so"))
    assert (source / "mojo" / "search" / "native_search.mojo").exists()
    theirs, told = build(tmp_path / "theirs", source)
    ours, _ = build(tmp_path / "ours")
    assert theirs.name == ours.name
    assert "Compiling" not in told  # the sources are the same, so the cache has them
    with zipfile.ZipFile(theirs) as one, zipfile.ZipFile(ours) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


@pytest.mark.slow
@pytest.mark.skipif(MOJO_HERE is None, reason="no Mojo compiler here")
def test_without_a_c_compiler_the_wheel_is_pure_and_says_so(tmp_path: Path) -> None:
    wheel, told = build(tmp_path / "dist", PATH=str(Path(sys.executable).parent))
    assert "No Mojo kernels in this build: no C compiler for linking" in told
    assert wheel.name.endswith("-py3-none-any.whl")


@pytest.mark.skipif(MOJO_HERE is None, reason="no Mojo compiler here")
def test_an_unchanged_tree_compiles_nothing(tmp_path: Path) -> None:
    build(tmp_path / "one")
    _, told = build(tmp_path / "two")
    assert "Compiling" not in told


@pytest.mark.skipif(native().kernels is None, reason=native().reason)
def test_the_libraries_need_libc_and_name_no_folder_of_the_builder() -> None:
    sys.path.insert(0, str(ROOT / "mojo"))
    try:
        from hatch_build import needed
    finally:
        sys.path.pop(0)
    libraries = list((ROOT / "aiki_kernel" / "compute").glob("native_search_*.so"))
    assert libraries
    for library in libraries:
        image = library.read_bytes()
        assert needed(image) <= {"libc.so.6"}
        assert b"/modular/" not in image
        assert str(ROOT).encode() not in image
