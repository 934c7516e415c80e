"""``aiki bench``: measured figures, each beside what it is compared with.

The search of vectors stands in ``bench_search.py``, the embedder in ``bench_embed.py``,
the language model in ``bench_generate.py``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from aiki_kernel.commands import bench_curate as bench_curate
from aiki_kernel.commands import bench_embed as bench_embed
from aiki_kernel.commands import bench_generate as bench_generate
from aiki_kernel.commands import bench_health as bench_health
from aiki_kernel.commands import bench_notebook as bench_notebook
from aiki_kernel.commands import bench_peers as bench_peers
from aiki_kernel.commands import bench_safety as bench_safety
from aiki_kernel.commands import bench_search as bench_search
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

    Each row is one way to order the same memories for the same questions. Ours is `aiki`, and
    after it the same with recency, importance or variety (memory.ranking) turned on.
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


def _figure(value: Any) -> Any:
    return f"{value:.3f}" if isinstance(value, float) else value
