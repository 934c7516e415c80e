"""The environment of a kernel under test."""

from __future__ import annotations


def home_environment(folder: str, runtime: str) -> dict[str, str]:
    """A private home, the memory in the kernel's own process, nothing recalled by default."""
    return {
        "AIKI_HOME": folder,
        "XDG_RUNTIME_DIR": runtime,
        "AIKI_DAEMON": "off",
        "AIKI_MEMORY__RECALL_K": "0",
        "AIKI_TIMEOUTS__RETRIES": "0",
        "IPYTHONDIR": f"{folder}/ipython",
        "PYTHONWARNINGS": "default",
    }
