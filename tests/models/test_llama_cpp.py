"""The prebuilt llama.cpp: a peer for the benchmark and a real server for the tests."""

from __future__ import annotations

import subprocess

import pytest

from aiki_kernel.errors import ModelError
from aiki_kernel.models import llama_cpp


def test_its_programs_run() -> None:
    try:
        folder = llama_cpp.fetch()
    except ModelError as error:
        pytest.skip(f"NO LLAMA.CPP ON THIS MACHINE, ITS TESTS DO NOT RUN: {error}")
    for program in ("llama-server", "llama-bench"):
        path = llama_cpp.find(program, folder)
        assert path is not None
        done = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "--threads" in done.stdout
