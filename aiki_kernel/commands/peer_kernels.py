"""Kernels and magics that answer in a cell: how each is installed, set up, started and asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiki_kernel.commands.fixed_answer import MODEL
from aiki_kernel.errors import AikiError

_KEEP = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "TEMP")


class PeerError(AikiError):
    """A peer that cannot be compared, with the reason in one line."""


@dataclass(frozen=True)
class Peer:
    """One contestant.

    ``requirements`` are installed into an environment of its own; none means that it runs on this
    very Python. ``files`` gives what must lie in its home, by path, for a server's address.
    ``before`` are the words of a module to run before the clock starts; ``setup`` is a cell that a
    reader has to run first; ``ask`` is put before a question.
    """

    name: str
    module: str
    requirements: tuple[str, ...]
    environment: Callable[[str, Path], Mapping[str, str]]
    files: Callable[[str], Mapping[str, str]] = lambda url: {}
    before: tuple[str, ...] = ()
    setup: str = ""
    ask: str = ""


def _openai(url: str, home: Path) -> dict[str, str]:
    """What the libraries of OpenAI, LangChain and LiteLLM read; nothing else is asked."""
    return {
        "OPENAI_API_KEY": "none",
        "OPENAI_API_BASE": url,
        "OPENAI_BASE_URL": url,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


def _pydantic(url: str, home: Path) -> dict[str, str]:
    return {
        **_openai(url, home),
        "PYDANTIC_AI_KERNEL_CONFIG": str(home / "agent.yaml"),
        "PYDANTIC_AI_KERNEL_LOG_DIR": str(home / "log"),
    }


def _agent(url: str) -> dict[str, str]:
    provider = {"name": "openai", "params": {"base_url": url, "api_key": "none"}}
    model = {"model_type": "openai", "model_name": MODEL, "model_provider": provider}
    model["model_settings"] = {}
    agent = {"agent_name": "bench", "system_prompt": "Answer.", "model": model}
    return {"agent.yaml": json.dumps(agent)}  # JSON is YAML


def _aiki(url: str, home: Path) -> dict[str, str]:
    return {
        "AIKI_HOME": str(home / "aiki"),
        "AIKI_MODEL": f"bench/{MODEL}",
        "AIKI_ENDPOINTS": json.dumps({"bench": {"base_url": url, "models": [MODEL]}}),
        "XDG_RUNTIME_DIR": str(home),
    }


OURS = "aiki"
PEERS = (
    Peer(OURS, "aiki_kernel", (), _aiki),
    Peer(
        "aiki, a second notebook",
        "aiki_kernel",
        (),
        _aiki,
        before=("aiki_kernel.cli", "daemon", "start"),
    ),
    Peer(
        "pydantic-ai-kernel",
        "pydantic_ai_kernel",
        ("pydantic-ai-kernel==1.5.4",),
        _pydantic,
        files=_agent,
    ),
    Peer(
        "jupyter-ai-magics",
        "ipykernel_launcher",
        ("jupyter-ai-magics==2.31.7", "langchain-openai<0.4", "ipykernel>=7.4,<8"),
        _openai,
        setup="%load_ext jupyter_ai_magics",
        ask=f"%%ai openai-chat:{MODEL}\n",
    ),
    Peer(
        "jupyter-ai-magic-commands",
        "ipykernel_launcher",
        ("jupyter-ai-magic-commands==0.0.4", "ipykernel>=7.4,<8"),
        _openai,
        setup="%load_ext jupyter_ai_magic_commands",
        ask=f"%%ai openai/{MODEL}\n",
    ),
)
"""Ours first, as on a new machine and beside another notebook. The last two are jupyter-ai's magics
of its second and of its third line."""


def install(peer: Peer, folder: Path, *, timeout_s: float = 900.0) -> Path:
    """The Python of ``peer``: this one, or that of an environment in ``folder``, made when it is
    missing. Raises :class:`PeerError` with what pip said last."""
    if not peer.requirements:
        return Path(sys.executable)
    place = folder / peer.name
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = place / "installed.json"
    wanted = json.dumps([sys.version, *peer.requirements])
    if done.is_file() and done.read_text("utf-8") == wanted:
        return python
    make = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(place)]
    fetch = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-input"]
    fetch += ["--disable-pip-version-check", *peer.requirements]
    for words in (make, fetch):
        try:
            ran = subprocess.run(
                words, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PeerError(f"{peer.name} was not installed: {error}") from None
        if ran.returncode:
            said = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")]
            last = (said or ran.stderr.splitlines() or ["no reason was given"])[-1]
            raise PeerError(f"{peer.name} was not installed: {last.removeprefix('ERROR: ')}")
    done.write_text(wanted, "utf-8")
    return python


_ASK = """import importlib.metadata, json
found = importlib.metadata.distributions()
print(json.dumps({each.metadata["Name"].lower().replace("_", "-"): each.version for each in found}))
"""
_TOLD = ("ipykernel", "openai", "litellm", "langchain-openai", "pydantic-ai-slim")


def versions(peer: Peer, python: Path) -> dict[str, str]:
    """What runs when ``peer`` does: its own package, and the libraries that do the work."""
    ran = subprocess.run([str(python), "-c", _ASK], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise PeerError(f"{peer.name} does not tell its versions: {ran.stderr.strip()[-300:]}")
    there: dict[str, str] = json.loads(ran.stdout)
    own = peer.requirements[0].partition("==")[0] if peer.requirements else "aiki-kernel"
    return {name: there[name] for name in (own, *_TOLD) if name in there}


def environment(peer: Peer, url: str, home: Path) -> dict[str, str]:
    """All that ``peer`` gets to see: a home of its own, nothing of the user's."""
    home.mkdir(parents=True, exist_ok=True)
    for name, text in peer.files(url).items():
        (home / name).write_text(text, "utf-8")
    return {
        **{name: os.environ[name] for name in _KEEP if name in os.environ},
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "NO_PROXY": "127.0.0.1,localhost",
        **peer.environment(url, home),
    }
