"""``notebooks/benchmark.ipynb``: run by papermill as a user runs it, and its picture."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from aiki_kernel.compute.native import load_best, native
from aiki_kernel.models.bitnet_sample import TINY, write_bitnet

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "benchmark.ipynb"
NUMPY = {"NumPy naive", "NumPy best, 1 thread", "NumPy best, default threads"}
KERNELS = {
    "mojo",
    "mojo, recall high",
    "mojo, exact",
    "mojo, 8bit",
    "mojo, 1bit",
    "mojo-server",
}


def html_of(notebook: Path) -> str:
    """All that a saved notebook shows as HTML."""
    shown: list[dict[str, Any]] = [
        output.get("data", {})
        for cell in json.loads(notebook.read_text("utf-8"))["cells"]
        for output in cell.get("outputs", [])
    ]
    return "".join("".join(data.get("text/html", "")) for data in shown)


def lines_of(html: str, number: int = 0) -> dict[str, int]:
    """The lines of a picture, and how many points each has."""
    images = re.findall(r"src=\"data:image/svg\+xml;base64,([^\"]+)\"", html)
    assert len(images) > number, "no picture"
    drawing = ElementTree.fromstring(base64.b64decode(images[number]))
    return {
        line.attrib["data-line"]: len(line.attrib["points"].split())
        for line in drawing.iter("{http://www.w3.org/2000/svg}polyline")
    }


@pytest.mark.slow
def test_papermill_runs_it_and_it_draws_a_line_a_backend(aiki_home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    words = [sys.executable, "-m", "papermill", "--no-progress-bar", str(NOTEBOOK), str(out)]
    words += ["-p", "sizes", "300,700", "-p", "peers", "False", "-p", "home", str(aiki_home)]
    words += ["-p", "model", str(write_bitnet(tmp_path / "tiny.gguf", TINY))]
    words += ["-p", "generate", str(load_best("language").library is not None)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    html = html_of(out)
    lines = lines_of(html)
    wanted = NUMPY | (KERNELS if native().kernels is not None else set())
    assert wanted <= lines.keys()
    assert sum("memory floor" in name for name in lines) == 2
    assert {lines[name] for name in wanted} == {2}
    assert html.count("recall@10") >= 3
    if load_best("language").library is not None:
        roofline = lines_of(html, 1)
        assert roofline["mojo, 1 thread"] == 3
        assert any(name.startswith("memory, 1 thread") for name in roofline)
        assert "decode after 64" in html
        assert "KL to float32" in html


def test_what_is_saved_was_a_run_of_all_backends() -> None:
    html = html_of(NOTEBOOK)
    lines = lines_of(html)
    assert lines.keys() >= NUMPY | KERNELS
    for library in ("faiss", "usearch", "qdrant-edge"):
        assert any(name.startswith(library) for name in lines), library
    assert "FAILED" not in html
    engines = {name.partition(",")[0] for name in lines_of(html, 1)}
    assert engines == {"mojo", "numpy", "llama.cpp", "llama.cpp Q4_0", "memory"}
    assert "KL to float32" in html
    assert "/root" not in html
    assert "/home" not in html
