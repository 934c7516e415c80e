"""How far engines are from float32: Kullback-Leibler divergence, position by position.

The NumPy engine judges. Every engine reads the same tokens (teacher forcing), ours through its own
passes, llama.cpp through its server, which tells the probabilities of the whole vocabulary before
sampling. At the same positions stands whether the likeliest token is another one than in float32,
and how far apart float32 has the first two there.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.engine import DecodeState, LanguageModel
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.tokenizer import Tokenizer

LONG = 2000  # tokens of a text
_ENDS = (500, 1000, 1500, 1900)  # where a text is looked at on the way, then at its last tokens
_SINGLE = 6  # the last tokens come one by one
_START_S = 60
_ANSWER_S = 120
_LEAST = -80.0  # log-probability below which nothing is told apart
_NEVER = threading.Event()

Logs = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Passage:
    """Tokens, and how many of them have been read where the engines are compared."""

    name: str
    ids: tuple[int, ...]
    ends: tuple[int, ...]


class Reader(Protocol):
    """Something that says how likely each token is after some others."""

    @property
    def name(self) -> str: ...

    def after(self, ids: Sequence[int]) -> Logs:
        """Log-probabilities, float64 (vocabulary,). ``ids`` mostly begin with those before."""
        ...


@dataclass
class EngineReader:
    """An engine of ours, which keeps what it has read."""

    name: str
    model: LanguageModel
    _state: DecodeState | None = None
    _read: tuple[int, ...] = ()

    def after(self, ids: Sequence[int]) -> Logs:
        """See :class:`Reader`."""
        known = len(self._read)
        if self._state is None or known >= len(ids) or tuple(ids[:known]) != self._read:
            self._state, known = self.model.new_state(), 0
        self._read = tuple(ids)
        scores = self.model.forward(list(ids[known:]), self._state, _NEVER).astype(np.float64)
        scores -= scores.max()
        logs: Logs = scores - np.log(np.exp(scores).sum())
        return logs


@dataclass(frozen=True)
class ServerReader:
    """A llama-server with one slot, which keeps what it has read."""

    name: str
    address: str
    vocabulary: int

    def after(self, ids: Sequence[int]) -> Logs:
        """See :class:`Reader`. Raises :class:`ModelError` when the server does not answer so."""
        asked = {
            "prompt": list(ids),
            "n_predict": 1,
            "n_probs": self.vocabulary,
            "post_sampling_probs": False,
            "temperature": 0,
            "cache_prompt": True,
        }
        request = urllib.request.Request(  # noqa: S310 (our own server, on the loopback)
            f"{self.address}/completion",
            json.dumps(asked).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:  # noqa: S310
                found = json.load(answer)["completion_probabilities"][0]["top_logprobs"]
        except (OSError, ValueError, LookupError) as error:
            raise ModelError(f"llama-server gave no probabilities ({error}).") from None
        logs = np.full(self.vocabulary, _LEAST)
        logs[[item["id"] for item in found]] = [item["logprob"] for item in found]
        # The server adds the whole vocabulary up in float32; what is missing to 1 would show.
        normal: Logs = np.maximum(logs - np.log(np.exp(logs).sum()), _LEAST)
        return normal


@contextlib.contextmanager
def serving(program: Path, model: Path, threads: int, vocabulary: int) -> Iterator[ServerReader]:
    """llama-server on the loopback for a while. Raises :class:`ModelError`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(program), "-m", str(model), "--host", "127.0.0.1", "--port", str(port)]
    words += ["-t", str(threads), "-c", "4096", "-np", "1"]
    silent = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=silent, stdout=silent, stderr=silent) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, address)
            yield ServerReader("llama.cpp", address, vocabulary)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise ModelError("llama-server did not start: its divergence is not measured.")


@dataclass
class Score:
    """What is known of one engine."""

    divergences: list[float] = field(default_factory=list)  # nats
    gaps: list[float] = field(default_factory=list)  # where the likeliest token is another one

    def note(self, expected: Logs, found: Logs) -> None:
        """Take one position in."""
        self.divergences.append(float((np.exp(expected) * (expected - found)).sum()))
        if found.argmax() != expected.argmax():
            second, first = np.partition(expected, -2)[-2:]
            self.gaps.append(float(first - second))

    def told(self) -> dict[str, Any]:
        """For JSON; ``widest_gap`` is in nats, 0 where every likeliest token is the same."""
        return {
            "mean": float(np.mean(self.divergences)),
            "max": max(self.divergences),
            "other_tokens": len(self.gaps),
            "widest_gap": max(self.gaps, default=0.0),
        }


def compare(
    judge: Reader, others: Sequence[Reader], passages: Sequence[Passage]
) -> list[dict[str, Any]]:
    """A row a passage: its name, positions, and of each other engine what :class:`Score` tells."""
    rows = []
    for passage in passages:
        scores = {other.name: Score() for other in others}
        for end in passage.ends:
            expected = judge.after(passage.ids[:end])
            for other in others:
                scores[other.name].note(expected, other.after(passage.ids[:end]))
        told = {name: score.told() for name, score in scores.items()}
        rows.append({"text": passage.name, "positions": len(passage.ends), **told})
    return rows


def passages(
    file: GGUF, context: int, texts: dict[str, str], reference: Path | None
) -> list[Passage]:
    """Long texts, and the greedy answers of ``reference`` (JSON, rows of prompt_ids and tokens).

    Without texts there is one, the licence of NumPy. Raises :class:`ModelError`.
    """
    found = []
    if reference is not None:
        try:
            rows = json.loads(reference.read_text("utf-8"))["rows"]
            pairs = [(row["prompt_ids"], row["tokens"]) for row in rows]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ModelError(f"{reference} holds no reference answers ({error}).") from None
        for number, (prompt, answer) in enumerate(pairs, 1):
            ends = tuple(range(len(prompt), len(prompt) + len(answer)))
            found.append(Passage(f"reference {number}", (*prompt, *answer), ends))
    if not texts:
        texts = {"licence of NumPy": distribution("numpy").read_text("licenses/LICENSE.txt") or ""}
    tokenizer = Tokenizer(file)
    for name, text in texts.items():
        ids = tokenizer.encode(text[: 12 * LONG])[: min(LONG, context)]
        looked = {*range(max(1, len(ids) - _SINGLE), len(ids) + 1), *_ENDS}
        kept = tuple(sorted(end for end in looked if end <= len(ids)))
        if kept:
            found.append(Passage(f"{name}, {len(ids)} tokens", tuple(ids), kept))
    return found


def read_text(path: Path) -> str:
    """The text of a file; of JSON, every string in it that holds a space."""
    try:
        text = path.read_text("utf-8")
        return "\n".join(_strings(json.loads(text))) if path.suffix == ".json" else text
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as text ({error}).") from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if " " in value:
            yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def summed(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Of all rows together: positions, and what each engine comes to."""
    positions = sum(row["positions"] for row in rows)
    total: dict[str, Any] = {"positions": positions}
    for name in names:
        total[name] = {
            "mean": sum(row[name]["mean"] * row["positions"] for row in rows) / positions,
            "max": max(row[name]["max"] for row in rows),
            "other_tokens": sum(row[name]["other_tokens"] for row in rows),
            "widest_gap": max(row[name]["widest_gap"] for row in rows),
        }
    return total
