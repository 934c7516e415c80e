"""``aiki bench``: measured figures, each beside what it is compared with."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.progress import progress
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import UsageError

START_TARGET = 1.25
LOOP_TARGET_MS = 15.0


@command("bench recall")
def recall(
    context: Context,
    data: Annotated[Path | None, Arg("LoCoMo, or a list of probes, as JSON")] = None,
    embedder: Annotated[str, Arg("another embedder than that of the settings")] = "",
    cache: Annotated[Path | None, Arg("folder where vectors are kept between runs")] = None,
) -> Result:
    """Measure evidence recall: how many of the memories that answer a question are found.

    Each row is one way to order the same memories for the same questions; the last is ours.
    """
    from aiki_kernel.memory.bench import bench_recall

    if data is None:
        raise UsageError("Name the file with --data: LoCoMo, or a list of probes, as JSON.")
    path = data.expanduser()
    if not path.is_file():
        raise UsageError(f"There is no {path}.")
    with progress(context, "Asking") as step:
        made = bench_recall(
            path, embedder or None, settings=context.settings, cache=cache, progress=step
        )
    rows = [dataclasses.asdict(row) for row in made.rows]
    names = list(rows[0]) if rows else []
    table = Table(
        [name if isinstance(rows[0][name], str) else Column(name, right=True) for name in names],
        [[_figure(row[name]) for name in names] for row in rows],
        title=path.name,
    )
    facts = {k: v for k, v in dataclasses.asdict(made).items() if k != "rows"}
    return Result({**facts, "rows": rows}, table.text(context), table.html())


@command("bench start")
def start(
    context: Context,
    repeats: Annotated[int, Arg("how often each kernel is started")] = 7,
) -> Result:
    """Measure the time to the first kernel_info, against the stock Python kernel.

    Both are started in turn, so that what else the machine does falls on both alike.
    """
    from aiki_kernel.commands.bench_start import measure

    if repeats < 1:
        raise UsageError("--repeats must be at least 1.")
    with progress(context, "Starting kernels") as step:
        data = measure(repeats, step)
    data |= {"target": START_TARGET, "met": data["ratio"] <= START_TARGET}
    table = Table(
        ["kernel", *(Column(name, right=True) for name in ("median s", "least s", "most s"))],
        [
            (name, *(f"{value:.3f}" for value in (row["median_s"], row["min_s"], row["max_s"])))
            for name, row in data["kernels"].items()
        ],
    )
    verdict = f"Ratio of medians {data['ratio']:.2f} (at most {START_TARGET}), {repeats} each."
    return Result(data, f"{table.text(context)}\n\n{verdict}", f"{table.html()}<p>{verdict}</p>")


@command("bench loop")
def loop(
    context: Context,
    memories: Annotated[int, Arg("how many there are already")] = 10_000,
    messages: Annotated[int, Arg("how many are asked")] = 100,
) -> Result:
    """Measure the loop's own time for one message, without embedding and generation.

    A real store in a home of its own, the embedder of the settings, and a model server on
    loopback that answers at once.
    """
    from aiki_kernel.commands.bench_loop import measure

    if messages < 1 or memories < 0:
        raise UsageError("--messages must be at least 1 and --memories at least 0.")
    with progress(context, "Measuring") as step:
        data = measure(context.settings, memories, messages, step)
    own = data["stages"]["own time"]["p50_ms"]
    data |= {"target_ms": LOOP_TARGET_MS, "met": own <= LOOP_TARGET_MS}
    table = Table(
        ["stage", Column("p50 ms", right=True), Column("p95 ms", right=True)],
        [
            (name, f"{row['p50_ms']:.2f}", f"{row['p95_ms']:.2f}")
            for name, row in data["stages"].items()
        ],
    )
    verdict = (
        f"Own time p50 {own:.1f} ms (at most {LOOP_TARGET_MS:.0f}) over {messages} messages "
        f"with {memories:,} memories; every message found {data['hits_per_message']:.1f} memories "
        f"and {data['remembered']} of {messages} were remembered."
    )
    return Result(data, f"{table.text(context)}\n\n{verdict}", f"{table.html()}<p>{verdict}</p>")


@command("bench search")
def search(
    context: Context,
    sizes: Annotated[str, Arg("numbers of memories, with commas between them")] = (
        "922,10000,100000"
    ),
    data: Annotated[Path | None, Arg("an .npz with codes and queries; else made-up ones")] = None,
    peers: Annotated[bool, Arg("also faiss, usearch and qdrant-edge, where installed")] = True,
) -> Result:
    """Measure vector search: our kernels against NumPy and other libraries, recall beside each.

    A ratio is how many times faster a method is than the best NumPy on one thread, same run.
    """
    from aiki_kernel.compute.bench import search_table

    try:
        numbers = [int(size) for size in sizes.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 100:
        raise UsageError("--sizes takes numbers from 100, e.g. 922,10000.")
    if data is not None and not data.expanduser().is_file():
        raise UsageError(f"There is no {data}.")
    found = search_table(
        numbers,
        data=data.expanduser() if data else None,
        peers=peers,
        progress=lambda text: print(text, file=sys.stderr),  # noqa: T201
    )
    table = Table(
        ["method", *(Column(n, right=True) for n in ("memories", "p50 ms", "times", "recall@10"))],
        [
            (
                row["method"],
                f"{row['n']:,}",
                f"{row['p50_ms']:.4f}" if "p50_ms" in row else row.get("missing", ""),
                f"{row['ratio']:.1f}" if "ratio" in row else "",
                f"{row['recall']:.3f}" if "recall" in row else "",
            )
            for row in found["rows"]
        ],
    )
    told = f"{found['data']}, {found['dim']} dimensions; {found['kernels']}."
    return Result(found, f"{table.text(context)}\n\n{told}", f"{table.html()}<p>{told}</p>")


def _figure(value: Any) -> Any:
    return f"{value:.3f}" if isinstance(value, float) else value
