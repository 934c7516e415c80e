"""What ``pip install`` brings: kernelspec and logos, the widget, the notebooks, and no more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from aiki_kernel.version import __version__

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("aiki_kernel-*.whl")
    return zipfile.ZipFile(path)


def test_the_kernel_registers_itself(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    folder = "share/jupyter/kernels/aiki/"
    found = {name.rpartition(folder)[2] for name in names if folder in name}
    assert {"kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"} <= found
    (spec_name,) = (name for name in names if name.endswith(folder + "kernel.json"))
    spec = json.loads(wheel.read(spec_name))
    assert spec["interrupt_mode"] == "message"
    assert spec["argv"][:3] == ["python", "-m", "aiki_kernel"]


def test_the_lab_extension_is_listed_as_enabled(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    (share,) = tmp_path.glob("*.data/data/share/jupyter")
    folder = share / "labextensions" / "aiki-kernel"
    source = ROOT / "widgets" / "labextension"
    for file in source.rglob("*.*"):
        assert (folder / file.relative_to(source)).read_bytes() == file.read_bytes()
    assert json.loads((folder / "package.json").read_text())["version"] == __version__

    listed = subprocess.run(
        [sys.executable, "-m", "jupyterlab.labextensions", "list"],
        env={**os.environ, "JUPYTER_PATH": str(share)},
        capture_output=True,
        text=True,
        check=True,
    )
    (ours,) = (
        line for line in (listed.stdout + listed.stderr).splitlines() if "aiki-kernel v" in line
    )
    assert "enabled" in ours
    assert "OK" in ours
    assert str(share / "labextensions") in listed.stdout + listed.stderr


def test_widget_notebook_and_marker_of_types_are_inside(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert "aiki_kernel/py.typed" in names
    assert "aiki_kernel/notebooks/welcome.ipynb" in names
    assert "aiki_kernel/mind/personas/trisha.toml" in names
    for source in (ROOT / "widgets").glob("*.*s"):
        if source.suffix == ".mjs":
            continue  # how vitest is set up
        assert f"aiki_kernel/display/static/{source.name}" in names


def test_notebooks_but_the_welcome_go_without_their_outputs(wheel: zipfile.ZipFile) -> None:
    for source in (ROOT / "notebooks").glob("*.ipynb"):
        ours = json.loads(source.read_text("utf-8"))
        book = json.loads(wheel.read(f"aiki_kernel/notebooks/{source.name}"))
        assert [cell["source"] for cell in book["cells"]] == [c["source"] for c in ours["cells"]]
        assert book["metadata"] == ours["metadata"]
        shown = any(cell.get("outputs") for cell in book["cells"])
        assert shown is (source.stem == "welcome"), source.name


def test_nothing_else_is_inside(wheel: zipfile.ZipFile) -> None:
    for name in wheel.namelist():
        assert name.startswith(("aiki_kernel/", "aiki_kernel-")), name
        assert not name.endswith((".gguf", ".bin", ".npz", ".pyc")), name
    assert Path(str(wheel.filename)).stat().st_size < 1_500_000


def test_the_front_end_is_ours_alone(wheel: zipfile.ZipFile) -> None:
    """LICENSES/README.md says that no JavaScript, style sheet or font of others is in the wheel."""
    sources = {path.name: path for path in (ROOT / "widgets").glob("*.*s")}
    sources |= {path.name: path for path in (ROOT / "widgets/labextension/static").iterdir()}
    for name in wheel.namelist():
        assert not name.endswith((".woff", ".woff2", ".ttf", ".otf", ".map", ".min.js")), name
        if not name.endswith((".js", ".css")):
            continue
        text = wheel.read(name).decode()
        assert text == sources[name.rpartition("/")[2]].read_text("utf-8"), name
        assert max(map(len, text.splitlines())) < 1000, f"{name}: what a bundler writes"
        imported = re.findall(r"""^\s*(?:import|export)\b[^;]*?\bfrom\s+["']([^"']+)""", text, re.M)
        assert all(module.startswith("./") for module in imported), (name, imported)
        assert not re.search(
            r"@import|url\(\s*['\"]?(?:https?:)?//|copyright|@license", text, re.I
        ), name
    notices = next(name for name in wheel.namelist() if name.endswith("LICENSES/README.md"))
    assert wheel.read(notices) == (ROOT / "LICENSES/README.md").read_bytes()


def test_entry_points(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(name).decode()
    assert "aiki = aiki_kernel.cli:main" in text
    assert "[papermill.engine]" in text
