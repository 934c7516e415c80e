"""Tokens a second: the Mojo engine, the NumPy engine and llama.cpp on the same file, in one run.

Each figure is the median of some repeats; engines are measured in turn, so that what else the
machine does falls on all of them alike. Beside the speeds stand the divergence from the reference
engine, the bytes that a token reads against the memory's measured bandwidth, and what a
conversation costs: its second turn, two at once, and decoding on cores that others keep busy.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiki_kernel.errors import ModelError
from aiki_kernel.models import bench_divergence, bench_torch, llama_cpp
from aiki_kernel.models.bench_busy import busy_rows
from aiki_kernel.models.blas import set_threads
from aiki_kernel.models.engine import Floats, LanguageModel
from aiki_kernel.models.engines import numpy_engine
from aiki_kernel.models.fingerprint import fingerprint
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.memory import resident_bytes
from aiki_kernel.models.mojo_engine import CHUNK, MojoModel, tiles_file

PREFILLS = (128, 512)  # tokens of a prompt
CONTEXTS = (64, 1500)  # tokens before those that are decoded
DECODED = 48
_PROMPTS = (
    5  # times that a prompt is read at least: it is short, and some step tries another number
)
HISTORY = 1000  # tokens of a first turn
_BANDWIDTH_BYTES = 256 << 20
_NEVER = threading.Event()

Say = Callable[[str], None]


def measure(
    path: Path,
    cache: Path,
    *,
    threads: Sequence[int],
    repeats: int,
    peers: bool,
    say: Say,
    texts: dict[str, str] | None = None,
    reference: Path | None = None,
    torch: str = sys.executable,
) -> dict[str, Any]:
    """All rows for the model in ``path``. Raises :class:`ModelError` where Mojo cannot run it.

    ``texts`` and ``reference``: see :func:`~aiki_kernel.models.bench_divergence.passages`;
    ``torch`` is a Python that may have transformers and torch.
    """
    ids = _some_tokens(path)
    digest = fingerprint(path, cache)
    rows: list[dict[str, Any]] = []
    result: dict[str, Any] = {"model": path.name, "rows": rows, "notes": []}
    with GGUF(path) as file:
        for count in threads:
            say(f"Mojo, {count} threads")
            model = MojoModel(file, threads=count, stored=tiles_file(cache, digest))
            bandwidth = _bandwidth(count)
            found = _speeds(model, ids, repeats)
            bandwidth = max(bandwidth, _bandwidth(count))  # other machines on this host take theirs
            rows += [
                {**row, "engine": "mojo", "threads": count, **_roof(row, model, bandwidth)}
                for row in found
            ]
            result[f"bandwidth_{count}_bytes_s"] = bandwidth
            if count == threads[0]:
                result |= {"variant": model.variant, **_turns(model, ids), **_pair(model, ids)}
                result["resident_bytes"] = resident_bytes()
            if peers:
                say(f"llama.cpp, {count} threads")
                rows += _llama_cpp(path, cache, count, repeats, result["notes"])
        if max(threads) > 1:
            say("Busy cores")
            one, every = (
                MojoModel(file, threads=count, stored=tiles_file(cache, digest))
                for count in (1, max(threads))
            )
            result["busy_rows"] = busy_rows(one, every, every.threads, ids)
            del one, every
        say("NumPy")
        judge = numpy_engine(file, threads=threads[0])
        row = _decode(judge, ids, CONTEXTS[0], 1, 8)
        rows.append({**row, "engine": "numpy", "threads": threads[0]})
        if peers:
            say("transformers+torch")
            other, why = bench_torch.measured(torch, path, threads[0], CONTEXTS[0], 16)
            rows += [other] if other else []
            result["notes"] += [why] if why else []
        say("divergence from float32")
        judge = numpy_engine(file, threads=max(threads))
        compared = bench_divergence.passages(file, model.context_length, texts or {}, reference)
        result["kl"] = _divergence(judge, model, compared, path if peers else None, result["notes"])
    _ratios(rows)
    rows += result.pop("busy_rows", [])
    return result


def _some_tokens(path: Path) -> list[int]:
    """Ordinary ids, the same ones each time; speed does not depend on which they are."""
    with GGUF(path) as file:
        vocabulary = file.tensor("token_embd.weight").shape[0]
    random = np.random.default_rng(5)
    return [int(n) for n in random.integers(min(300, vocabulary // 2), vocabulary, 2048)]


def _speeds(model: MojoModel, ids: list[int], repeats: int) -> list[dict[str, Any]]:
    rows = [_prefill(model, ids, length, repeats) for length in PREFILLS]
    fits = [context for context in CONTEXTS if context + DECODED < model.context_length]
    return rows + [_decode(model, ids, context, repeats, DECODED) for context in fits]


def _prefill(model: LanguageModel, ids: list[int], length: int, repeats: int) -> dict[str, Any]:
    model.forward(ids[:length], model.new_state(), _NEVER)
    times = []
    for _ in range(max(repeats, _PROMPTS)):
        state = model.new_state()
        begun = time.perf_counter()
        model.forward(ids[:length], state, _NEVER)
        times.append(time.perf_counter() - begun)
    return {"work": f"prefill {length}", "tokens_s": length / statistics.median(times)}


def _decode(
    model: LanguageModel, ids: list[int], context: int, repeats: int, tokens: int
) -> dict[str, Any]:
    state = model.new_state()
    model.forward(ids[:context], state, _NEVER)
    times = []
    for _ in range(repeats):
        state.truncate(context)
        for token in ids[:tokens]:
            begun = time.perf_counter()
            model.forward([token], state, _NEVER)
            times.append(time.perf_counter() - begun)
    return {"work": f"decode after {context}", "tokens_s": 1 / statistics.median(times)}


def _roof(row: dict[str, Any], model: MojoModel, bandwidth: float) -> dict[str, Any]:
    """Bytes of weights a token, and for decoding a second: their share of what memory gives."""
    read = model.weights.read_bytes
    work, _, count = row["work"].rpartition(" ")
    if work == "prefill":  # a pass reads them once for all its tokens
        return {"token_bytes": read * math.ceil(int(count) / CHUNK) / int(count)}
    speed = row["tokens_s"] * read
    return {"token_bytes": read, "bytes_s": speed, "of_bandwidth": speed / bandwidth}


def _bandwidth(threads: int) -> float:
    """Bytes a second that so many plain dot products read from memory at once; the best of some.

    The threads are ours: BLAS takes only one for a dot product.
    """
    before = set_threads(1)
    data: Floats = np.ones(_BANDWIDTH_BYTES // 4, np.float32)
    parts = np.array_split(data, threads)
    best = float("inf")
    for _ in range(6):
        readers = [threading.Thread(target=np.dot, args=(part, part)) for part in parts]
        begun = time.perf_counter()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        best = min(best, time.perf_counter() - begun)
    if before:
        set_threads(before)
    return data.nbytes / best


def _turns(model: MojoModel, ids: list[int]) -> dict[str, Any]:
    """Seconds to the first scores of a first turn, and of a second one that keeps its state."""
    if model.context_length < HISTORY + 64:
        return {}
    state = model.new_state()
    begun = time.perf_counter()
    model.forward(ids[:HISTORY], state, _NEVER)
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    model.forward(ids[HISTORY : HISTORY + 32], state, _NEVER)
    second = time.perf_counter() - begun
    return {"first_turn_s": first, "second_turn_s": second, "second_of_first": second / first}


def _pair(model: MojoModel, ids: list[int]) -> dict[str, Any]:
    """Tokens a second of one conversation, and of two that decode in the same steps."""
    speeds = []
    for count in (1, 2):
        states = [model.new_state() for _ in range(count)]
        for number, state in enumerate(states):
            model.forward(ids[number : number + 64], state, _NEVER)
        times = []
        for token in ids[:DECODED]:
            begun = time.perf_counter()
            model.step([token] * count, states)
            times.append(time.perf_counter() - begun)
        speeds.append(count / statistics.median(times))
    return {
        "one_tokens_s": speeds[0],
        "two_tokens_s": speeds[1],
        "two_of_one": speeds[1] / speeds[0],
    }


def _divergence(
    judge: LanguageModel,
    model: LanguageModel,
    passages: Sequence[bench_divergence.Passage],
    path: Path | None,
    notes: list[str],
) -> dict[str, Any]:
    """Kullback-Leibler divergence from the reference, in nats; llama.cpp's own on ``path``."""
    with contextlib.ExitStack() as stack:
        others: list[bench_divergence.Reader] = [bench_divergence.EngineReader("mojo", model)]
        if path is not None:
            try:
                program = llama_cpp.find("llama-server", llama_cpp.fetch())
                if program is not None:
                    server = bench_divergence.serving(program, path, 1, model.vocabulary)
                    others.append(stack.enter_context(server))
            except ModelError as error:
                if str(error) not in notes:
                    notes.append(str(error))
        expected = bench_divergence.EngineReader("numpy", judge)
        rows = bench_divergence.compare(expected, others, passages)
        total = bench_divergence.summed(rows, [other.name for other in others])
    return {**total, "texts": rows}


def _llama_cpp(
    path: Path, cache: Path, threads: int, repeats: int, notes: list[str]
) -> list[dict[str, Any]]:
    """The same file in llama.cpp, and requantised to Q4_0, for which it has its fastest code."""
    try:
        folder = llama_cpp.fetch()
    except ModelError as error:
        if str(error) not in notes:
            notes.append(str(error))
        return []
    bench = llama_cpp.find("llama-bench", folder)
    quantize = llama_cpp.find("llama-quantize", folder)
    if bench is None or quantize is None:
        return []
    rows = _bench(bench, path, threads, repeats, "llama.cpp", notes)
    quick = cache / f"{path.stem}.peer-q4_0.gguf"
    if not quick.exists():
        command: list[str | Path] = [quantize, "--allow-requantize", path, quick, "Q4_0", "2"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            quick.unlink(missing_ok=True)
            notes.append("llama.cpp could not requantise this file to Q4_0")
            return rows
    return rows + _bench(bench, quick, threads, repeats, "llama.cpp Q4_0", notes)


def _bench(
    program: Path, path: Path, threads: int, repeats: int, name: str, notes: list[str]
) -> list[dict[str, Any]]:
    common = [str(program), "-m", str(path), "-t", str(threads), "-o", "json"]
    prompts = ["-p", ",".join(str(length) for length in PREFILLS), "-n", "0"]
    prompts += ["-r", str(max(repeats, _PROMPTS))]
    answers = [
        ["-p", "0", "-n", str(DECODED), "-d", str(depth), "-r", str(repeats)] for depth in CONTEXTS
    ]
    rows: list[dict[str, Any]] = []
    for words in (prompts, *answers):
        done = subprocess.run(
            common + words, capture_output=True, text=True, check=False, timeout=600
        )
        try:
            found = json.loads(done.stdout)
        except ValueError:
            notes.append(f"llama-bench failed on {path.name}: {done.stderr.strip()[-200:]}")
            return rows
        for item in found:
            work = (
                f"decode after {item['n_depth']}"
                if item["n_gen"]
                else f"prefill {item['n_prompt']}"
            )
            speed = statistics.median(item["samples_ts"])
            rows.append({"work": work, "tokens_s": speed, "engine": name, "threads": threads})
    return rows


def _ratios(rows: list[dict[str, Any]]) -> None:
    """How many times as fast Mojo is, into each other row."""
    ours = {
        (row["work"], row["threads"]): row["tokens_s"] for row in rows if "mojo" in row["engine"]
    }
    for row in rows:
        same = ours.get((row["work"], row["threads"]))
        if same and row["engine"] != "mojo":
            row["mojo_times"] = same / row["tokens_s"]
