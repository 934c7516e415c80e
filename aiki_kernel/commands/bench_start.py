"""Time from starting a kernel's process to its answer to ``kernel_info``."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from aiki_kernel.commands.progress import Step
from aiki_kernel.errors import AikiError

_KERNELS = {"aiki": "aiki_kernel", "python3": "ipykernel_launcher"}
_LIMIT_S = 60.0


def measure(repeats: int, step: Step) -> dict[str, Any]:
    """Seconds for both kernels; ``ratio`` is that of the medians, aiki to python3.

    One start of each goes before and is not counted: it fills the disk cache.
    """
    seconds: dict[str, list[float]] = {name: [] for name in _KERNELS}
    with tempfile.TemporaryDirectory(prefix="aiki-bench-") as folder:
        _write_specs(Path(folder))
        for turn in range(repeats + 1):
            # The order changes each time, so that neither always comes second.
            for name in _KERNELS if turn % 2 else reversed(_KERNELS):
                taken = _start_once(name, folder)
                if turn:
                    seconds[name].append(taken)
            step(turn, repeats)
    kernels = {
        name: {
            "median_s": statistics.median(all_),
            "min_s": min(all_),
            "max_s": max(all_),
            "seconds": [round(one, 4) for one in all_],
        }
        for name, all_ in seconds.items()
    }
    ratio = statistics.median(seconds["aiki"]) / statistics.median(seconds["python3"])
    return {"repeats": repeats, "kernels": kernels, "ratio": round(ratio, 4)}


def _write_specs(folder: Path) -> None:
    """Both kernels under this very Python, with the same words around them."""
    for name, module in _KERNELS.items():
        (folder / name).mkdir()
        spec = {
            "argv": [sys.executable, "-m", module, "-f", "{connection_file}"],
            "display_name": name,
            "language": "python",
        }
        (folder / name / "kernel.json").write_text(json.dumps(spec), "utf-8")


def _start_once(name: str, folder: str) -> float:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

    specs = KernelSpecManager(kernel_dirs=[folder], ensure_native_kernel=False)
    manager = KernelManager(kernel_name=name, kernel_spec_manager=specs)
    began = time.perf_counter()
    manager.start_kernel(stderr=subprocess.DEVNULL)
    client = None
    try:
        # A ZMQ socket that finds no listener tries again only after 100 ms, which would
        # blur the figure; so it is made when the port is there.
        wait_for_port(manager.ip, manager.shell_port, name)
        client = manager.blocking_client()
        client.start_channels(iopub=False, stdin=False, hb=False)
        client.kernel_info()
        client.get_shell_msg(timeout=_LIMIT_S)
        return time.perf_counter() - began
    finally:
        if client is not None:
            client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def wait_for_port(host: str, port: int, name: str, limit_s: float = _LIMIT_S) -> None:
    """Until somebody listens there. Raises :class:`AikiError` when nobody does in time."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), timeout=1.0).close()
        except OSError:
            time.sleep(0.002)
        else:
            return
    raise AikiError(f"The kernel {name} did not open its port in {limit_s:.0f} s: start it alone.")
